import { callOf } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import type { MailStore } from '../stores/store.ts'
import type { Policy } from './policy.ts'
import { limitExceeded, refund } from './quota.ts'

/** Each attempt pays from the provider's own budget; what certainly was not taken is given back. */
export const rateLimit =
  (store: MailStore): Policy =>
  (next) =>
  async (delivery) => {
    const budget = budgetOf(delivery)
    if (!budget) return next(delivery)
    const { key, windows } = budget
    const cost = delivery.envelope.recipients.length
    const take = await store.limits.take(key, windows, cost)
    if (!take.ok) throw limitExceeded(`limit of provider '${delivery.attempt!.provider}'`, take.window, take.retryAfter)
    try {
      return await next(delivery)
    } catch (error) {
      const { outcome } = error as { outcome?: unknown }
      // Without an outcome nothing was handed over: it expired, or the last look at suppressions stopped it.
      if (outcome === undefined || outcome === 'failed') await refund(store, [{ key, windows, at: take.at }], cost)
      throw error
    }
  }

function budgetOf(delivery: Delivery) {
  const { attempt } = delivery
  return attempt && callOf(delivery).context.budget(attempt.provider)
}
