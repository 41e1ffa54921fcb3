import { callOf } from '../call.ts'
import type { Clock } from '../clock.ts'
import type { Delivery } from '../delivery.ts'
import type { Events } from '../events.ts'
import type { Entry } from '../ledger/entry.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { withAttempt, withRecipients } from '../ledger/row.ts'
import type { StoredSuppression } from '../stores/store.ts'
import type { Policy } from './policy.ts'
import { refund } from './quota.ts'
import { hitsAmong, lookAt, nobodyLeft, rowsOf, withoutSuppressed } from './suppression.ts'

export interface AttemptRecordParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly events: Events
}

/**
 * Writes that a hand-over begins, durably and before it does (INVARIANTS D1), and in the same step of the store looks at
 * suppressions for the last time (P3): a complaint may have come in while the message waited.
 */
export const attemptRecord =
  ({ ledger, clock, events }: AttemptRecordParts): Policy =>
  (next) =>
  async (delivery) => {
    const { deadline, onUnknown } = callOf(delivery)
    const entry = ledger.entry(delivery.id)
    deadline.check()
    entry.beginHandOver(delivery, onUnknown === 'resend')
    try {
      let left = delivery
      for (;;) {
        const before = entry.row
        const found = await ledger.keep(
          entry,
          withAttempt(before, delivery.attempt!.provider, clock.now()),
          deadline.remaining,
          lookAt(left),
        )
        const hits = hitsAmong(left, found)
        if (hits.size === 0) break
        entry.row = before
        left = await leaveOut(ledger, entry, left, hits)
      }
      const { id, tenant, attempt } = left
      events.emit('attempt', { id, ...attempt!, ...(tenant === undefined ? {} : { tenant }) })
      return await next(left)
    } finally {
      entry.endHandOver()
    }
  }

/** @throws MailError `RECIPIENT_SUPPRESSED` when that leaves nobody to mail now. */
async function leaveOut(
  ledger: Ledger,
  entry: Entry,
  delivery: Delivery,
  hits: ReadonlyMap<string, StoredSuppression>,
): Promise<Delivery> {
  const rows = rowsOf(delivery, hits)
  entry.row = withRecipients(
    entry.row,
    new Map(rows.map(({ address, reason }) => [address, { status: 'suppressed', ...(reason ? { reason } : {}) }])),
  )
  await refund(ledger.store, callOf(delivery).taken, rows.length)
  const left = withoutSuppressed(delivery, hits)
  // In a later round the others of To may have been mailed already.
  if (left.envelope.recipients.length === 0) throw nobodyLeft(hits)
  return left
}
