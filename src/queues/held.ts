import { laterRun } from '../dispatch/conclude.ts'
import { MailError } from '../errors.ts'
import type { Entry } from '../ledger/entry.ts'
import { ended, freesKey, givenUp } from '../ledger/row.ts'
import type { Parts } from '../parts.ts'
import { refund } from '../policies/quota.ts'
import type { Receipt } from '../receipt.ts'
import type { Held, Row } from '../stores/store.ts'
import { contextOf, deliveryOf } from './queued-delivery.ts'

const whenTenantsFail = 60_000

/** Writes a row that was taken and is not worked on; one nobody will dispatch again gives its quota back. */
export async function settleHeld({ ledger, store }: Parts, held: Held, row: Row, delay = 0): Promise<void> {
  if (!(await ledger.settleHeld(held, row, { release: freesKey(row), remove: !row.accepted, delay }))) return
  if (freesKey(row)) await refund(store, held.row.work?.taken ?? [], givenUp(held.row, row))
}

/** Brings a taken row to its end, or to its next wait. Answers it as it was last written. */
export async function runHeld(
  parts: Parts,
  held: Held,
  finish: (entry: Entry) => Promise<Receipt>,
): Promise<Pick<Entry, 'row'> & Partial<Pick<Entry, 'delay'>>> {
  const { ledger, clock, retry, underWay } = parts
  const row = ledger.asFound(held.row)
  const { work } = row
  if ((row.status !== 'queued' && row.status !== 'scheduled') || !work) {
    await settleHeld(parts, held, row)
    return { row }
  }
  const deadline = underWay.begin(work.timeout)
  try {
    const context = await contextOf(parts, row, deadline)
    if (context instanceof MailError) {
      const lastError = { code: context.code, reason: context.message }
      const now = clock.now()
      const later = context.retryable
        ? { dueAt: now + whenTenantsFail, runs: row.runs }
        : laterRun({ clock, schedule: retry.schedule }, row, context)
      const next: Row = later ? { ...row, ...later, status: 'queued', lastError } : ended(row, 'failed', lastError)
      await settleHeld(parts, held, next, later ? later.dueAt - now : 0)
      return { row: next }
    }
    const entry = ledger.adopt({ row, fence: held.fence }, deliveryOf(row, work, context, deadline))
    await finish(entry)
    return entry
  } finally {
    deadline.end()
  }
}
