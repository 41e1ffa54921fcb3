import { callOf } from '../call.ts'
import type { Clock } from '../clock.ts'
import type { Delivery } from '../delivery.ts'
import { MailError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Receipt, RecipientStatus } from '../receipt.ts'
import type { Take, Window } from '../stores/store.ts'
import { Windows } from '../stores/window.ts'
import type { Budget, TenantContext } from '../tenants/context.ts'
import type { InFlight, TimedTake } from './in-flight.ts'
import type { Lines } from './line.ts'
import { tellUse } from './near-limit.ts'
import type { Policy } from './policy.ts'
import { limitExceeded } from './quota.ts'

export interface RateLimitParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly events: Events
  readonly lines: Lines
  readonly inFlight: InFlight
}

/** `timed` when the store counted it. */
type ProviderTake = Take & { readonly timed?: TimedTake }

/**
 * Each attempt pays from the provider's own budget; what certainly was not taken is given back. A store that cannot answer
 * does not stop mail here (INVARIANTS S3): this process keeps to the limit by itself until it can.
 */
export const rateLimit = ({ ledger, clock, events, lines, inFlight }: RateLimitParts): Policy => {
  const local = new Windows()
  const known = new Refusals(clock)
  const ask = async (key: string, windows: readonly Window[], cost: number): Promise<ProviderTake> => {
    const asked = clock.monotonic()
    try {
      const take = await ledger.store.limits.take(key, windows, cost)
      if (take.ok) return { ...take, timed: { at: take.at, asked, answered: clock.monotonic() } }
      known.add(key, cost, take)
      return take
    } catch (error) {
      if (!(error instanceof MailError) || error.code !== 'STORE_UNAVAILABLE') throw error
      ledger.warn(error)
      return local.take(key, windows, cost, clock.monotonic())
    }
  }
  return (next) => async (delivery) => {
    const { context, deadline, patient = false } = callOf(delivery)
    const { provider } = delivery.attempt!
    const budget = context.budget(provider)
    if (!budget) return next(delivery)
    const { key, windows } = budget
    const cost = delivery.envelope.recipients.length
    const refusal = patient ? undefined : (known.get(key, cost) ?? behind(lines, context, budget))
    const taken: ProviderTake =
      refusal ??
      (patient ? await lines.pass(key, deadline, () => ask(key, windows, cost)) : await ask(key, windows, cost))
    if (!taken.ok) throw limitExceeded(`limit of provider '${provider}'`, taken.window, taken.retryAfter)
    tellUse(events, { kind: 'provider', provider, ...tenantOf(delivery) }, windows, taken, cost)
    const charge = taken.timed && inFlight.begin(budget, cost, taken.timed)
    const giveBack = async (mailboxes: number): Promise<void> => {
      if (mailboxes === 0) return
      await charge?.refund(mailboxes)
      known.forget(key)
    }
    try {
      const receipt = await next(delivery)
      await giveBack(untakenIn(receipt, delivery))
      return receipt
    } catch (error) {
      const { outcome } = error as { outcome?: unknown }
      // Without an outcome nothing was handed over: it expired, or the last look at suppressions stopped it.
      if (outcome === undefined || outcome === 'failed') await giveBack(cost)
      throw error
    } finally {
      charge?.end()
    }
  }
}

/** Mailboxes of the attempt that certainly were not mailed, though others were: refused for now, or suppressed since. */
function untakenIn({ recipients }: Receipt, { envelope }: Delivery): number {
  const asked = new Set(envelope.recipients.map(({ address }) => address))
  return recipients.filter(({ address, status }) => asked.has(address) && untaken.has(status)).length
}

const untaken: ReadonlySet<RecipientStatus> = new Set(['failed', 'suppressed'])

/** Who would wait for room may not overtake those who do. */
const behind = (lines: Lines, { limits }: TenantContext, { key, windows }: Budget): Refusal | undefined =>
  limits.onLimit === 'wait' && lines.has(key) ? { ok: false, window: windows[0]!, retryAfter: 1 } : undefined

const tenantOf = ({ tenant }: Delivery) => (tenant === undefined ? {} : { tenant })

type Refusal = Extract<Take, { ok: false }>

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
