import { callOf, changeCall } from '../call.ts'
import { MailError } from '../errors.ts'
import type { MailStore, Taken, Window } from '../stores/store.ts'
import type { TenantContext } from '../tenants/context.ts'
import type { Policy } from './policy.ts'

/**
 * Takes the mailboxes of the message from the mailer's quota and the tenant's. What was taken goes back when a later one
 * refuses or accept fails, so a quota may be under-used but never exceeded.
 */
export const quota =
  (store: MailStore): Policy =>
  (next) =>
  async (delivery) => {
    const { quotas } = callOf(delivery).context
    if (quotas.length === 0) return next(delivery)
    const cost = delivery.envelope.recipients.length
    const taken = await takeQuotas(store, quotas, cost)
    try {
      return await next(changeCall(delivery, { taken }))
    } catch (error) {
      await refund(store, taken, cost)
      throw error
    }
  }

/** All of them or none. @throws MailError `SEND_LIMIT_EXCEEDED`. */
export async function takeQuotas(
  store: MailStore,
  quotas: TenantContext['quotas'],
  cost: number,
): Promise<readonly Taken[]> {
  const taken: Taken[] = []
  try {
    for (const { key, windows } of quotas) {
      const take = await store.limits.take(key, windows, cost)
      if (!take.ok) throw limitExceeded('quota', take.window, take.retryAfter)
      taken.push({ key, windows, at: take.at })
    }
    return taken
  } catch (error) {
    await refund(store, taken, cost)
    throw error
  }
}

/** A store that fails here leaves the quota under-used. */
export async function refund(store: MailStore, taken: readonly Taken[], cost: number): Promise<void> {
  if (cost === 0) return
  for (const { key, windows, at } of taken) {
    try {
      await store.limits.refund(key, windows, cost, at)
    } catch {
      return
    }
  }
}

export function limitExceeded(what: string, { limit, per }: Window, retryAfter: number): MailError {
  const never = retryAfter === Number.POSITIVE_INFINITY
  const when = never ? 'The message alone is over it; raise it.' : `It frees in ${Math.ceil(retryAfter)} ms.`
  return new MailError('SEND_LIMIT_EXCEEDED', `The ${what} of ${limit} mailboxes in ${per} ms is used up. ${when}`, {
    retryable: !never,
    ...(never ? {} : { retryAfter }),
  })
}
