import type { Clock } from '../clock.ts'
import type { FailureKind, MailError } from '../errors.ts'

const failuresToOpen = 5
const openFor = 30_000

/** Kinds that say something about the provider, not about this message. */
const sick: ReadonlySet<FailureKind> = new Set(['connection', 'timeout'])
/** Kinds that nothing but a person mends. */
const fatal: ReadonlySet<FailureKind> = new Set(['login', 'account'])

export type BreakerChange = 'open' | 'closed' | undefined

/** One hand-over as the breaker knows it, from `begin` to its end. */
export type Try = object

/**
 * Keeps mail away from a provider account that does not work: five network failures in a row, or one refused login, open it
 * for 30 s. Then one message at a time probes it. Refusals of a message and throttling do not count (INVARIANTS O8).
 */
export class Breaker {
  readonly #clock: Clock
  #failures = 0
  #openUntil: number | undefined
  #probe: Try | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Milliseconds until it may be tried; 0 when it may be now. */
  get wait(): number {
    if (this.#openUntil === undefined) return 0
    const left = this.#openUntil - this.#clock.monotonic()
    return left > 0 ? left : this.#probe ? openFor : 0
  }

  /** Called before a hand-over that `wait` allowed. While open, it makes that hand-over the one probe. */
  begin(): Try {
    const mine: Try = {}
    if (this.#openUntil !== undefined) this.#probe = mine
    return mine
  }

  /** Called when a hand-over that `begin` announced never took place. */
  withdraw(mine: Try): void {
    this.#ended(mine)
  }

  succeeded(mine: Try): BreakerChange {
    this.#ended(mine)
    this.#failures = 0
    const wasOpen = this.#openUntil !== undefined
    this.#openUntil = undefined
    return wasOpen ? 'closed' : undefined
  }

  failed(mine: Try, { kind, outcome }: Pick<MailError, 'kind' | 'outcome'>): BreakerChange {
    if (kind === 'aborted') {
      this.#ended(mine)
      return undefined
    }
    const counts = (kind !== undefined && sick.has(kind)) || outcome === 'unknown'
    // A message-level answer proves that the provider is there.
    if (!counts && (kind === undefined || !fatal.has(kind))) return this.succeeded(mine)
    const probing = this.#ended(mine)
    if (counts) this.#failures++
    return probing || !counts || this.#failures >= failuresToOpen ? this.#open() : undefined
  }

  /** A hand-over that began before the breaker opened may end during the probe, and is not it. */
  #ended(mine: Try): boolean {
    if (this.#probe !== mine) return false
    this.#probe = undefined
    return true
  }

  #open(): BreakerChange {
    const wasOpen = this.#openUntil !== undefined
    this.#openUntil = this.#clock.monotonic() + openFor
    this.#failures = 0
    return wasOpen ? undefined : 'open'
  }
}
