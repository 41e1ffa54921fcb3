import { configurationError, type FailureKind, type MailErrorCode } from './errors.ts'
import type { MessageStatus, Outcome } from './receipt.ts'

/** What `mailer.on` tells, by type. No event holds an address, a subject or content. */
export interface MailEvents {
  /** The ledger holds the message: the caller may rely on it. */
  accepted: {
    readonly id: string
    readonly tenant?: string
    readonly status: MessageStatus
    readonly recipients: number
  }
  /** A hand-over is about to begin. */
  attempt: { readonly id: string; readonly tenant?: string; readonly provider: string; readonly number: number }
  /** A hand-over ended. */
  outcome: {
    readonly id: string
    readonly tenant?: string
    readonly provider: string
    readonly number: number
    readonly outcome: Outcome
    readonly kind?: FailureKind
    readonly code?: string
    /** Milliseconds. */
    readonly duration: number
  }
  /** A message reached a state it stays in, or is held as `unknown`. */
  settled: { readonly id: string; readonly tenant?: string; readonly status: MessageStatus; readonly provider?: string }
  /** A provider's breaker opened or closed, or its pace changed; `login` and `account` want somebody to act. */
  health: {
    readonly provider: string
    readonly tenant?: string
    /** `slowed`: it throttles us, so mail goes to it at a slower pace until `steady`. */
    readonly state: 'open' | 'closed' | 'slowed' | 'steady'
    readonly kind?: FailureKind
    readonly code?: string
  }
  /** A limit has come to four fifths of its use. */
  limit: {
    /** Mailboxes accepted, or mailboxes handed to a provider. */
    readonly kind: 'quota' | 'provider'
    /** Whose it is; absent for the mailer's own. */
    readonly tenant?: string
    readonly provider?: string
    readonly limit: number
    /** Milliseconds. */
    readonly per: number
    readonly used: number
  }
  /** Something went wrong that no call could be told of. */
  warning: { readonly code: MailErrorCode | 'LISTENER_FAILED'; readonly message: string; readonly id?: string }
}

export type MailEventType = keyof MailEvents

/** What a logger must have; `console` and pino do. */
export interface Logger {
  debug?(facts: object, message?: string): void
  info?(facts: object, message?: string): void
  warn(facts: object, message?: string): void
  error(facts: object, message?: string): void
}

type Listener = (event: never) => unknown

/** Typed events. A listener that throws or rejects is a warning, never a failure of the mail. */
export class Events {
  readonly #listeners = new Map<MailEventType, Set<Listener>>()
  readonly #logger: Logger | undefined

  constructor(logger?: Logger) {
    this.#logger = logger
  }

  /** Answers a function that removes the listener. */
  on<T extends MailEventType>(type: T, listener: (event: MailEvents[T]) => unknown): () => void {
    if (typeof listener !== 'function') throw configurationError('mailer.on needs a listener: on(type, (event) => …).')
    const listeners = this.#listeners.get(type) ?? new Set()
    this.#listeners.set(type, listeners.add(listener as Listener))
    return () => listeners.delete(listener as Listener)
  }

  emit<T extends MailEventType>(type: T, event: MailEvents[T]): void {
    // One listener must not change what the next one hears.
    Object.freeze(event)
    this.#log(type, event)
    const listeners = this.#listeners.get(type)
    if (!listeners || listeners.size === 0) return
    for (const listener of listeners) {
      try {
        const result: unknown = (listener as (event: MailEvents[T]) => unknown)(event)
        if (result instanceof Promise) result.catch(() => this.#listenerFailed(type))
      } catch {
        this.#listenerFailed(type)
      }
    }
  }

  #listenerFailed(type: MailEventType): void {
    if (type === 'warning') return
    this.emit('warning', {
      code: 'LISTENER_FAILED',
      message: `A listener for '${type}' threw; the mail is not affected.`,
    })
  }

  #log(type: MailEventType, event: object): void {
    if (!this.#logger) return
    try {
      if (type === 'warning') this.#logger.warn(event, `mail ${type}`)
      else if (type === 'health') this.#logger.error(event, `mail ${type}`)
      else if (type === 'settled') this.#logger.info?.(event, `mail ${type}`)
      else this.#logger.debug?.(event, `mail ${type}`)
    } catch {
      // A logger that throws must not decide what becomes of a mail, and there is nobody left to tell.
    }
  }
}
