import { callOf, changeCall, narrow } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import { MailError } from '../errors.ts'
import type { Found, Look, MailStore, RowRecipient, StoredSuppression } from '../stores/store.ts'
import type { Policy } from './policy.ts'

/** At accept: suppressed recipients leave the envelope, and To and Cc; without any `to` left nobody is mailed. */
export const suppression =
  (store: MailStore): Policy =>
  (next) =>
  async (delivery) => {
    const { found } = callOf(delivery)
    const { keys, scopes } = lookAt(delivery)
    const hits = hitsAmong(delivery, found ?? (await store.suppress.hasMany(delivery.tenant, keys, scopes)))
    if (hits.size === 0) return next(delivery)
    const left = withoutSuppressed(delivery, hits)
    const suppressed = [...callOf(delivery).suppressed, ...rowsOf(delivery, hits)]
    return next(changeCall(left, { suppressed }))
  }

/** The question to the store: which of these recipients may not be mailed this. */
export function lookAt({ stream, message, envelope }: Delivery): Look {
  const scopes = ['all', `stream:${stream}`]
  if (message.topic !== undefined) scopes.push(`topic:${message.topic}`)
  return { keys: envelope.recipients.map(({ key }) => key), scopes }
}

/** The store's answer, by address. */
export function hitsAmong({ envelope }: Delivery, found: Found): ReadonlyMap<string, StoredSuppression> {
  const hits = new Map<string, StoredSuppression>()
  for (const [i, { address }] of envelope.recipients.entries()) {
    const entry = found[i]
    if (entry) hits.set(address, entry)
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
