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

  readonly #onEnd: ((deadline: Deadline) => void) | undefined

  /** `onEnd` is told when the call is over. */
  constructor(clock: Clock, timeout: number, signal?: AbortSignal, onEnd?: (deadline: Deadline) => void) {
    this.#clock = clock
    this.#onEnd = onEnd
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
    this.#controller.abort(givenUp(cause))
    this.#free()
  }

  /** The call is over: frees timer and listener. */
  end(): void {
    this.#free()
    this.#onEnd?.(this)
  }

  /** @throws MailError when the call was given up: `SEND_FAILED` if its time is used up, else `CANCELLED`. */
  check(): void {
    if (this.#cause !== undefined) throw givenUp(this.#cause)
  }

  /** What `work` answers, unless the call is given up first; then it rejects as `check` throws. */
  within<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(this.signal.reason as MailError)
      if (this.signal.aborted) onAbort()
      else this.signal.addEventListener('abort', onAbort, { once: true })
      const forget = () => this.signal.removeEventListener('abort', onAbort)
      work.finally(forget).then(resolve, reject)
    })
  }

  #free(): void {
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

const givenUp = (cause: AbortCause) =>
  new MailError(cause === 'timeout' ? 'SEND_FAILED' : 'CANCELLED', abortWords[cause])

interface Shared {
  readonly callbacks: Set<() => void>
  readonly tell: () => void
}

const listeners = new WeakMap<AbortSignal, Shared>()

/**
 * Calls `callback` when `signal` aborts, at once if it has. However many calls share a signal it gets one listener:
 * removing one of many costs time linear in their number (PERF 6: 100,000 waiting calls blocked for 21 s). The last call
 * takes it away.
 */
function onAbort(signal: AbortSignal, callback: () => void): () => void {
  if (signal.aborted) {
    callback()
    return () => undefined
  }
  const { callbacks, tell } = listeners.get(signal) ?? listenTo(signal)
  callbacks.add(callback)
  return () => {
    if (!callbacks.delete(callback) || callbacks.size > 0) return
    signal.removeEventListener('abort', tell)
    listeners.delete(signal)
  }
}

function listenTo(signal: AbortSignal): Shared {
  const callbacks = new Set<() => void>()
  const shared = {
    callbacks,
    tell() {
      for (const each of [...callbacks]) each()
    },
  }
  listeners.set(signal, shared)
  signal.addEventListener('abort', shared.tell)
  return shared
}
