import { callOf, changeCall, narrow } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import { MailError } from '../errors.ts'
import type { MailStore, RowRecipient, StoredSuppression } from '../stores/store.ts'
import type { Policy } from './policy.ts'

/** At accept: suppressed recipients leave the envelope, and To and Cc; without any `to` left nobody is mailed. */
export const suppression =
  (store: MailStore): Policy =>
  (next) =>
  async (delivery) => {
    const hits = await suppressedOf(store, delivery)
    if (hits.size === 0) return next(delivery)
    const left = withoutSuppressed(delivery, hits)
    const suppressed = [...callOf(delivery).suppressed, ...rowsOf(delivery, hits)]
    return next(changeCall(left, { suppressed }))
  }

/** The suppressed among the recipients, by address. */
export async function suppressedOf(
  store: MailStore,
  delivery: Delivery,
): Promise<ReadonlyMap<string, StoredSuppression>> {
  const scopes = ['all', `stream:${delivery.stream}`]
  if (delivery.message.topic !== undefined) scopes.push(`topic:${delivery.message.topic}`)
  const { recipients } = delivery.envelope
  const answer = store.suppress.hasMany(
    delivery.tenant,
    recipients.map(({ key }) => key),
    scopes,
  )
  const entries = await answer
  const hits = new Map<string, StoredSuppression>()
  for (const [i, recipient] of recipients.entries()) {
    const entry = entries[i]
    if (entry) hits.set(recipient.address, entry)
  }
  return hits
}

/** @throws MailError `RECIPIENT_SUPPRESSED` when no `to` is left. */
export function withoutSuppressed(delivery: Delivery, hits: ReadonlyMap<string, StoredSuppression>): Delivery {
  const left = narrow(delivery, ({ address }) => !hits.has(address), true)
  if (left.message.to.length === 0) throw nobodyLeft(hits)
  return left
}

export function nobodyLeft(hits: ReadonlyMap<string, StoredSuppression>): MailError {
  const reasons = [...new Set([...hits.values()].map(({ reason }) => reason))].join(', ')
  return new MailError('RECIPIENT_SUPPRESSED', `Every \`to\` is suppressed (${reasons}); nobody is mailed.`, {
    issues: [{ path: 'to', code: 'suppressed', message: `Suppressed: ${reasons}.` }],
  })
}

export function rowsOf(delivery: Delivery, hits: ReadonlyMap<string, StoredSuppression>): RowRecipient[] {
  return delivery.envelope.recipients
    .filter(({ address }) => hits.has(address))
    .map(({ address, field }) => ({ address, field, status: 'suppressed', reason: hits.get(address)!.reason }))
}
