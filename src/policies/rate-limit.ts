import { callOf } from '../call.ts'
import type { Clock } from '../clock.ts'
import type { Delivery } from '../delivery.ts'
import { MailError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { RecipientStatus } from '../receipt.ts'
import type { Take, Window } from '../stores/store.ts'
import { Windows } from '../stores/window.ts'
import type { Budget } from '../tenants/context.ts'
import type { Charge, InFlight } from './in-flight.ts'
import type { Lines, Refusal } from './line.ts'
import type { NearLimits } from './near-limit.ts'
import type { Policy } from './policy.ts'
import { limitExceeded } from './quota.ts'

export interface RateLimitParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly near: NearLimits
  readonly lines: Lines
  readonly inFlight: InFlight
}

type ProviderTake = (Take & { readonly charge?: () => Charge }) | Refusal

/**
 * Each attempt pays from the provider's own budget; what certainly was not taken is given back. A store that cannot answer
 * does not stop mail here (INVARIANTS S3): this process keeps to the limit by itself until it can.
 */
export const rateLimit = ({ ledger, clock, near, lines, inFlight }: RateLimitParts): Policy => {
  const local = new Windows()
  const known = new Refusals(clock)

  const ask = async (budget: Budget, cost: number): Promise<ProviderTake> => {
    const { key, windows } = budget
    const asked = clock.monotonic()
    try {
      const take = await ledger.store.limits.take(key, windows, cost)
      if (!take.ok) {
        known.add(key, cost, take)
        return take
      }
      const timed = { at: take.at, asked, answered: clock.monotonic() }
      return { ...take, charge: () => inFlight.begin(budget, cost, timed) }
    } catch (error) {
      if (!(error instanceof MailError) || error.code !== 'STORE_UNAVAILABLE') throw error
      ledger.warn(error)
      return askHere(budget, cost)
    }
  }
  const askHere = ({ key, windows }: Budget, cost: number): ProviderTake => {
    const take = local.take(key, windows, cost, clock.monotonic())
    if (!take.ok) return take
    const refund = async (mailboxes: number) => local.refund(key, windows, mailboxes, take.at, clock.monotonic())
    return { ...take, charge: () => ({ refund, end: () => {} }) }
  }
  /** Nobody overtakes those who wait. */
  const refusalFor = (delivery: Delivery, key: string, cost: number): Refusal | undefined => {
    const { context, kind } = callOf(delivery)
    const waits = context.limits.onLimit === 'wait'
    return (waits && (kind === 'queue' ? lines.ahead(key) : lines.refusal(key))) || known.get(key, cost)
  }
  const take = async (delivery: Delivery, budget: Budget, cost: number): Promise<ProviderTake> => {
    const { deadline, patient, kind } = callOf(delivery)
    if (patient) return lines.pass(budget.key, deadline, () => ask(budget, cost))
    const refusal = refusalFor(delivery, budget.key, cost)
    if (refusal) return refusal
    const taken = await ask(budget, cost)
    if (kind === 'queue') lines.queueWent(budget.key)
    return taken
  }

  return (next) => async (delivery) => {
    const { context } = callOf(delivery)
    const { provider } = delivery.attempt!
    const budget = context.budget(provider)
    if (!budget) return next(delivery)
    const cost = delivery.envelope.recipients.length
    const taken = await take(delivery, budget, cost)
    if (!taken.ok) throw limitExceeded(`limits.providers.${provider}`, budget, taken)
    near.tell(budget, taken, cost, { kind: 'provider', provider })
    const charge = taken.charge?.()
    const giveBack = async (mailboxes: number): Promise<void> => {
      if (mailboxes === 0) return
      await charge?.refund(mailboxes)
      known.forget(budget.key)
      lines.wake(budget.key)
    }
    try {
      const receipt = await next(delivery)
      await giveBack(untakenOf(ledger, delivery))
      return receipt
    } catch (error) {
      const { outcome } = error as { outcome?: unknown }
      // Without an outcome nothing was handed over: it expired, or the last look at suppressions stopped it.
      await giveBack(outcome === undefined || outcome === 'failed' ? cost : untakenOf(ledger, delivery))
      throw error
    } finally {
      charge?.end()
    }
  }
}

/** Mailboxes of the attempt that certainly were not mailed, though others were: refused for now, or suppressed since. */
function untakenOf(ledger: Ledger, { id, envelope }: Delivery): number {
  const asked = new Set(envelope.recipients.map(({ address }) => address))
  const recipients = ledger.open.get(id)?.row.recipients ?? []
  return recipients.filter(({ address, status }) => asked.has(address) && untaken.has(status)).length
}

const untaken: ReadonlySet<RecipientStatus> = new Set(['failed', 'suppressed'])

const mostRefusals = 10_000
/** Milliseconds. Another process may give back what it took, and this one would not hear of it. */
const longestKnown = 1_000

interface Remembered {
  /** Monotonic. */
  readonly freeAt: number
  readonly askAt: number
  readonly cost: number
  readonly window: Window
}

/** Limits this process knows to be used up: asking again before there is room would only cost the store. */
class Refusals {
  readonly #clock: Clock
  readonly #byKey = new Map<string, Remembered>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(key: string, cost: number, { window, retryAfter }: Refusal): void {
    if (this.#byKey.size >= mostRefusals) this.#byKey.clear()
    const now = this.#clock.monotonic()
    this.#byKey.set(key, { freeAt: now + retryAfter, askAt: now + Math.min(retryAfter, longestKnown), cost, window })
  }

  get(key: string, cost: number): Refusal | undefined {
    const refused = this.#byKey.get(key)
    if (!refused || cost < refused.cost) return undefined
    const now = this.#clock.monotonic()
    if (now < refused.askAt) return { ok: false, window: refused.window, retryAfter: refused.freeAt - now }
    this.#byKey.delete(key)
    return undefined
  }

  forget(key: string): void {
    this.#byKey.delete(key)
  }
}
