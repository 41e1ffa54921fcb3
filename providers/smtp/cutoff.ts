/** What ends a hand-over from outside: the caller's signal, or its time running out. */
export class Cutoff {
  /** Milliseconds left when the hand-over began. */
  readonly timeout: number
  /** Set once it has struck. */
  cause: 'aborted' | 'timeout' | undefined
  /** What to do when it strikes: one thing at a time. */
  onCut: (() => void) | undefined
  readonly #signal: AbortSignal | undefined
  readonly #timer: NodeJS.Timeout
  readonly #abort = () => this.#strike('aborted')

  constructor(signal: AbortSignal | undefined, timeout: number) {
    this.timeout = timeout
    this.#signal = signal
    this.#timer = setTimeout(() => this.#strike('timeout'), Math.min(timeout, 2_147_483_647))
    if (signal?.aborted) this.#strike('aborted')
    else signal?.addEventListener('abort', this.#abort, { once: true })
  }

  /** It can no longer strike. */
  lift(): void {
    clearTimeout(this.#timer)
    this.#signal?.removeEventListener('abort', this.#abort)
    this.onCut = undefined
  }

  #strike(cause: 'aborted' | 'timeout'): void {
    if (this.cause !== undefined) return
    this.cause = cause
    this.onCut?.()
  }
}
