import { callOf } from '../call.ts'
import type { Clock } from '../clock.ts'
import type { Delivery } from '../delivery.ts'
import { MailError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Take, Window } from '../stores/store.ts'
import { Windows } from '../stores/window.ts'
import type { Policy } from './policy.ts'
import { limitExceeded, refund } from './quota.ts'

/**
 * Each attempt pays from the provider's own budget; what certainly was not taken is given back. A store that cannot answer
 * does not stop mail here (INVARIANTS S3): this process keeps to the limit by itself until it can.
 */
export const rateLimit = (ledger: Ledger, clock: Clock): Policy => {
  const local = new Windows()
  const take = async (key: string, windows: readonly Window[], cost: number): Promise<Take & { stored: boolean }> => {
    try {
      return { ...(await ledger.store.limits.take(key, windows, cost)), stored: true }
    } catch (error) {
      if (!(error instanceof MailError) || error.code !== 'STORE_UNAVAILABLE') throw error
      ledger.warn(error)
      return { ...local.take(key, windows, cost, clock.monotonic()), stored: false }
    }
  }
  return (next) => async (delivery) => {
    const budget = budgetOf(delivery)
    if (!budget) return next(delivery)
    const { key, windows } = budget
    const cost = delivery.envelope.recipients.length
    const taken = await take(key, windows, cost)
    if (!taken.ok)
      throw limitExceeded(`limit of provider '${delivery.attempt!.provider}'`, taken.window, taken.retryAfter)
    try {
      return await next(delivery)
    } catch (error) {
      const { outcome } = error as { outcome?: unknown }
      // Without an outcome nothing was handed over: it expired, or the last look at suppressions stopped it.
      if (taken.stored && (outcome === undefined || outcome === 'failed')) {
        await refund(ledger.store, [{ key, windows, at: taken.at }], cost)
      }
      throw error
    }
  }
}

function budgetOf(delivery: Delivery) {
  const { attempt } = delivery
  return attempt && callOf(delivery).context.budget(attempt.provider)
}
