import { callOf } from '../call.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { withRecipients } from '../ledger/row.ts'
import type { Policy } from './policy.ts'
import { refund } from './quota.ts'
import { nobodyLeft, rowsOf, suppressedOf, withoutSuppressed } from './suppression.ts'

/** Suppression again, last thing before the provider (INVARIANTS P3): a complaint may have come in while the message waited. */
export const lateSuppression =
  (ledger: Ledger): Policy =>
  (next) =>
  async (delivery) => {
    const hits = await suppressedOf(ledger.store, delivery)
    if (hits.size === 0) return next(delivery)
    const entry = ledger.open.get(delivery.id)
    const { taken } = callOf(delivery)
    if (entry) {
      const rows = rowsOf(delivery, hits)
      entry.row = withRecipients(
        entry.row,
        new Map(rows.map(({ address, reason }) => [address, { status: 'suppressed', ...(reason ? { reason } : {}) }])),
      )
      await refund(ledger.store, taken, rows.length)
    }
    const left = withoutSuppressed(delivery, hits)
    // In a later round the others of To may have been mailed already.
    if (left.envelope.recipients.length === 0) throw nobodyLeft(hits)
    return next(left)
  }
