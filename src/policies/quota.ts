import { callOf, changeCall } from '../call.ts'
import type { Deadline } from '../deadline.ts'
import { MailError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { MailStore, Taken, Window } from '../stores/store.ts'
import type { TenantContext } from '../tenants/context.ts'
import type { Lines } from './line.ts'
import { tellUse } from './near-limit.ts'
import type { Policy } from './policy.ts'

export interface QuotaParts {
  readonly store: MailStore
  readonly events: Events
  readonly lines: Lines
}

/**
 * Takes the mailboxes of the message from the mailer's quota and the tenant's. What was taken goes back when a later one
 * refuses or accept fails, so a quota may be under-used but never exceeded.
 */
export const quota =
  ({ store, events, lines }: QuotaParts): Policy =>
  (next) =>
  async (delivery) => {
    const { context, deadline } = callOf(delivery)
    const { quotas } = context
    if (quotas.length === 0) return next(delivery)
    const cost = delivery.envelope.recipients.length
    const patience = context.limits.onLimit === 'wait' ? { lines, deadline } : undefined
    const taken = await takeQuotas({ store, events }, quotas, cost, patience)
    try {
      return await next(changeCall(delivery, { taken }))
    } catch (error) {
      if (!mayBeKept(error)) await refund(store, taken, cost)
      throw error
    }
  }

/** The store failed and may hold the message all the same; whoever finds it there gives back what it took. */
const mayBeKept = (error: unknown): boolean =>
  error instanceof MailError && error.code === 'STORE_UNAVAILABLE' && error.id !== undefined

/** All of them or none. With `patience` it waits its turn for each. @throws MailError `SEND_LIMIT_EXCEEDED`. */
export async function takeQuotas(
  { store, events }: Pick<QuotaParts, 'store' | 'events'>,
  quotas: TenantContext['quotas'],
  cost: number,
  patience?: { readonly lines: Lines; readonly deadline: Deadline },
): Promise<readonly Taken[]> {
  const taken: Taken[] = []
  try {
    for (const { key, windows, tenant } of quotas) {
      const ask = async () => store.limits.take(key, windows, cost)
      const take = patience ? await patience.lines.pass(key, patience.deadline, ask) : await ask()
      if (!take.ok) throw limitExceeded('quota', take.window, take.retryAfter)
      taken.push({ key, windows, at: take.at })
      tellUse(events, { kind: 'quota', ...(tenant === undefined ? {} : { tenant }) }, windows, take, cost)
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
