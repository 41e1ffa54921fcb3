import type { TenantContext } from './context.ts'

interface Opened {
  inFlight: number
  retired: boolean
}

/**
 * Bounds how many tenants have providers open at once. Over the cap the longest unused are closed (they open anew when
 * needed); when all are busy a hand-over waits for one to fall idle.
 */
export class OpenProviders {
  readonly #cap: number
  /** Least recently used first. */
  readonly #opened = new Map<TenantContext, Opened>()
  readonly #waiting: (() => void)[] = []
  readonly #closing = new Set<Promise<unknown>>()

  constructor(cap: number) {
    this.#cap = cap
  }

  /** Call the answer when the hand-over is over. Waits while `cap` other tenants are busy, until `signal` aborts. */
  async acquire(context: TenantContext, signal: AbortSignal): Promise<() => void> {
    if (context.own.size === 0) return () => undefined
    while (!this.#opened.has(context) && this.#opened.size >= this.#cap && !signal.aborted) {
      const idle = [...this.#opened].find(([, { inFlight }]) => inFlight === 0)?.[0]
      if (idle) await this.#close(idle)
      else await this.#turn(signal)
    }
    const opened = this.#opened.get(context) ?? { inFlight: 0, retired: false }
    opened.inFlight++
    this.#opened.delete(context)
    this.#opened.set(context, opened)
    return () => this.#release(context, opened)
  }

  /** Closes a replaced tenant's providers as soon as nothing is in flight through them. */
  retire(context: TenantContext): void {
    const opened = this.#opened.get(context)
    if (!opened) return
    opened.retired = true
    if (opened.inFlight === 0) void this.#close(context)
  }

  /** Closes all; running hand-overs finish. */
  async close(): Promise<void> {
    await Promise.all([...this.#opened.keys()].map((context) => this.#close(context)))
    await Promise.all(this.#closing)
  }

  #release(context: TenantContext, opened: Opened): void {
    opened.inFlight--
    if (opened.inFlight > 0) return
    if (opened.retired && this.#opened.get(context) === opened) void this.#close(context)
    this.#waiting.shift()?.()
  }

  async #close(context: TenantContext): Promise<void> {
    this.#opened.delete(context)
    const closing = Promise.allSettled([...context.own.values()].map((provider) => provider.close?.()))
    this.#closing.add(closing)
    await closing
    this.#closing.delete(closing)
    this.#waiting.shift()?.()
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener('abort', done)
        const at = this.#waiting.indexOf(done)
        if (at >= 0) this.#waiting.splice(at, 1)
        resolve()
      }
      this.#waiting.push(done)
      signal.addEventListener('abort', done, { once: true })
    })
  }
}
