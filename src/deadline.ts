import type { Clock, Timer } from './clock.ts'
import { MailError } from './errors.ts'

/** Why a call was given up: the caller's signal, its time, or `close`. */
export type AbortCause = 'signal' | 'timeout' | 'close'

/** The time one call has, waits included, and the signal that ends it. */
export class Deadline {
  readonly #controller = new AbortController()
  readonly #clock: Clock
  readonly #endsAt: number
  #timer: Timer | undefined
  #forget: (() => void) | undefined
  #cause: AbortCause | undefined

  constructor(clock: Clock, timeout: number, signal?: AbortSignal) {
    this.#clock = clock
    this.#endsAt = clock.monotonic() + timeout
    if (signal) this.#forget = onAbort(signal, () => this.abort('signal'))
    if (this.#cause === undefined) this.#timer = clock.setTimeout(() => this.abort('timeout'), timeout)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get cause(): AbortCause | undefined {
    return this.#cause
  }

  /** Milliseconds left, never negative. */
  get remaining(): number {
    return Math.max(0, this.#endsAt - this.#clock.monotonic())
  }

  abort(cause: AbortCause): void {
    if (this.#cause !== undefined) return
    this.#cause = cause
    this.#controller.abort(new MailError(cause === 'timeout' ? 'SEND_FAILED' : 'CANCELLED', abortWords[cause]))
    this.end()
  }

  /** Frees timer and listener. */
  end(): void {
    this.#timer?.cancel()
    this.#forget?.()
    this.#timer = undefined
    this.#forget = undefined
  }

  /**
   * Resolves after `ms`, when `early` does, or at once when the call is given up; tells whether there is still time.
   */
  async wait(ms: number, early?: Promise<unknown>): Promise<boolean> {
    if (this.#cause !== undefined) return false
    await new Promise<void>((resolve) => {
      const done = () => {
        timer.cancel()
        this.signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = this.#clock.setTimeout(done, Math.min(ms, this.remaining))
      this.signal.addEventListener('abort', done, { once: true })
      early?.then(done, done)
    })
    return this.#cause === undefined
  }
}

export const abortWords: Record<AbortCause, string> = {
  signal: 'The caller’s signal aborted the call.',
  timeout: 'The time allowed for the call is used up.',
  close: 'The mailer was closed.',
}

const listeners = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Calls `callback` when `signal` aborts, at once if it has. However many calls share a signal it gets one listener:
 * removing one of many costs time linear in their number (PERF 6: 100,000 waiting calls blocked for 21 s).
 */
function onAbort(signal: AbortSignal, callback: () => void): () => void {
  if (signal.aborted) {
    callback()
    return () => undefined
  }
  let callbacks = listeners.get(signal)
  if (!callbacks) {
    const shared = new Set<() => void>()
    callbacks = shared
    listeners.set(signal, shared)
    signal.addEventListener('abort', () => {
      for (const each of [...shared]) each()
      shared.clear()
    })
  }
  callbacks.add(callback)
  return () => callbacks.delete(callback)
}
