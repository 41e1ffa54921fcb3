import type { Clock } from '../clock.ts'
import type { FailureKind, MailError } from '../errors.ts'

const failuresToOpen = 5
const openFor = 30_000

/** Kinds that say something about the provider, not about this message. */
const sick: ReadonlySet<FailureKind> = new Set(['connection', 'timeout'])
/** Kinds that nothing but a person mends. */
const fatal: ReadonlySet<FailureKind> = new Set(['login', 'account'])

export type BreakerChange = 'open' | 'closed' | undefined

/**
 * Keeps mail away from a provider account that does not work: five network failures in a row, or one refused login, open it
 * for 30 s. Then one message at a time probes it. Refusals of a message and throttling do not count (INVARIANTS O8).
 */
export class Breaker {
  readonly #clock: Clock
  #failures = 0
  #openUntil: number | undefined
  #probing = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Milliseconds until it may be tried; 0 when it may be now. */
  get wait(): number {
    if (this.#openUntil === undefined) return 0
    const left = this.#openUntil - this.#clock.monotonic()
    return left > 0 ? left : this.#probing ? openFor : 0
  }

  /** Called before a hand-over that `wait` allowed. While open, it makes that hand-over the one probe. */
  begin(): void {
    if (this.#openUntil !== undefined) this.#probing = true
  }

  /** Called when a hand-over that `begin` announced never took place. */
  withdraw(): void {
    this.#probing = false
  }

  succeeded(): BreakerChange {
    this.#failures = 0
    this.#probing = false
    const wasOpen = this.#openUntil !== undefined
    this.#openUntil = undefined
    return wasOpen ? 'closed' : undefined
  }

  failed({ kind, outcome }: Pick<MailError, 'kind' | 'outcome'>): BreakerChange {
    const probing = this.#probing
    this.#probing = false
    const counts = kind !== 'aborted' && ((kind !== undefined && sick.has(kind)) || outcome === 'unknown')
    if (kind !== undefined && fatal.has(kind)) return this.#open()
    if (counts) {
      this.#failures++
      return probing || this.#failures >= failuresToOpen ? this.#open() : undefined
    }
    // A message-level answer proves that the provider is there.
    return kind === 'aborted' ? undefined : this.succeeded()
  }

  #open(): BreakerChange {
    const wasOpen = this.#openUntil !== undefined
    this.#openUntil = this.#clock.monotonic() + openFor
    this.#failures = 0
    return wasOpen ? undefined : 'open'
  }
}
