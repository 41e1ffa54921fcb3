import { callOf } from '../call.ts'
import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Entry } from '../ledger/entry.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { errorOf, receiptOf, verdict } from '../ledger/row.ts'
import { refund } from '../policies/quota.ts'
import type { MessageStatus, Receipt } from '../receipt.ts'
import type { Row } from '../stores/store.ts'

export interface ConcludeParts {
  readonly ledger: Ledger
  readonly clock: Clock
  /** Milliseconds until each later run of a queued message. */
  readonly schedule: readonly number[]
}

const statusOfCode: Partial<Record<MailError['code'], MessageStatus>> = {
  EXPIRED: 'expired',
  CANCELLED: 'cancelled',
  RECIPIENT_SUPPRESSED: 'suppressed',
}

/**
 * The end of a dispatch: what the message came to is written and answered, or it goes back to the queue. `failure` is why
 * the dispatch stopped, if it did not simply end.
 */
export async function conclude(parts: ConcludeParts, entry: Entry, failure?: MailError): Promise<Receipt> {
  const { ledger } = parts
  const later = laterRun(parts, entry, failure)
  if (later !== undefined) {
    const row: Row = { ...reopened(entry.row), status: 'queued', dueAt: later.dueAt, runs: later.runs }
    await ledger.settle(entry, row)
    return receiptOf(row)
  }
  const row = concluded(entry.row, failure)
  const untouched = row.recipients.filter(({ status }) => status === 'failed').length
  await refund(ledger.store, callOf(entry.delivery).taken, untouched)
  await ledger.settle(entry, row, { release: releases.has(row.status) })
  const error = errorOf(row)
  if (!error) return receiptOf(row)
  throw failure && row.status !== 'unknown' && row.status !== 'rejected' ? withFacts(error, failure) : error
}

/** After these the same key may be used again (INVARIANTS K4). */
const releases: ReadonlySet<MessageStatus> = new Set(['failed', 'cancelled', 'expired', 'suppressed'])

function laterRun(
  { clock, schedule }: ConcludeParts,
  { row, delivery }: Entry,
  failure: MailError | undefined,
): { dueAt: number; runs: number } | undefined {
  if (row.kind !== 'queue' || !row.recipients.some(({ status }) => status === 'failed' || status === 'pending')) return
  const now = clock.now()
  if (callOf(delivery).deadline.cause === 'close') return { dueAt: now, runs: row.runs }
  const pause = schedule[row.runs]
  if (pause === undefined || (failure !== undefined && !failure.retryable)) return
  const dueAt = now + Math.max(pause, failure?.retryAfter ?? 0)
  return row.notAfter !== undefined && dueAt >= row.notAfter ? undefined : { dueAt, runs: row.runs + 1 }
}

function reopened(row: Row): Row {
  return {
    ...row,
    recipients: row.recipients.map((recipient) =>
      recipient.status === 'failed'
        ? { address: recipient.address, field: recipient.field, status: 'pending' }
        : recipient,
    ),
  }
}

function concluded(row: Row, failure: MailError | undefined): Row {
  const reason = failure?.message
  const recipients = row.recipients.map((recipient) =>
    recipient.status === 'pending'
      ? { ...recipient, status: 'failed' as const, ...(reason ? { reason } : {}) }
      : recipient,
  )
  const outcome = verdict(recipients)
  const status = outcome === 'failed' ? ((failure && statusOfCode[failure.code]) ?? outcome) : outcome
  const { work, dueAt: _, ...rest } = row
  const keeps = row.kind === 'queue' && (status === 'failed' || status === 'unknown')
  return {
    ...rest,
    status,
    recipients,
    ...(failure ? { lastError: { code: failure.code, reason: failure.message } } : {}),
    ...(keeps && work ? { work } : {}),
  }
}

function withFacts(error: MailError, failure: MailError): MailError {
  const code = error.code === 'SEND_FAILED' ? failure.code : error.code
  return new MailError(code, error.message, {
    issues: failure.issues,
    retryable: error.code === 'SEND_FAILED' ? failure.retryable : error.retryable,
    ...(failure.retryAfter === undefined ? {} : { retryAfter: failure.retryAfter }),
    ...(failure.kind === undefined ? {} : { kind: failure.kind }),
    ...(error.outcome === undefined ? {} : { outcome: error.outcome }),
    ...(error.receipt === undefined ? {} : { receipt: error.receipt }),
    ...(failure.provider === undefined ? {} : { provider: failure.provider }),
    ...(failure.providerCode === undefined ? {} : { providerCode: failure.providerCode }),
  })
}
