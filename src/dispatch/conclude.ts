import { callOf } from '../call.ts'
import type { Clock } from '../clock.ts'
import { type FailureKind, type MailError, withDetails } from '../errors.ts'
import type { Entry } from '../ledger/entry.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { errorOf, receiptOf } from '../ledger/record.ts'
import { ended, freesKey } from '../ledger/row.ts'
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

/** The store would not take the message: it was not accepted, and nothing of it is left. */
const unwritten: ReadonlySet<MailError['code']> = new Set(['STORE_UNAVAILABLE', 'QUEUE_FULL', 'CLOSED'])

/** A queued message waits for these to be mended, although repeating the call at once would be useless. */
const kindsToWaitFor: ReadonlySet<FailureKind> = new Set(['login', 'account', 'aborted'])
/** The process that accepted it knew better: in a deploy, this one may be older than the message, or newer. */
const codesToWaitFor: ReadonlySet<MailError['code']> = new Set([
  'NO_PROVIDER',
  'TENANT_NOT_FOUND',
  'CONFIGURATION_ERROR',
])

/** Milliseconds a message is put off at most for a limit that is used up: it may be raised, or get something back. */
export const longestForLimit = 3_600_000
/** Else a quarter of the time it has waited, so that those that look in vain leave time to those behind them. */
const forLimit = { least: 60_000, part: 1 / 4 }
/** A provider that asks for more patience than this is asked again sooner, in milliseconds. */
const longestRetryAfter = 86_400_000

/**
 * The end of a dispatch: what the message came to is written and answered, or it goes back to the queue. `failure` is why
 * the dispatch stopped, if it did not simply end.
 */
export async function conclude(parts: ConcludeParts, entry: Entry, failure?: MailError): Promise<Receipt> {
  const { ledger } = parts
  const later = laterRun(parts, entry.row, failure, callOf(entry.delivery).deadline.cause === 'close')
  if (later !== undefined) {
    const lastError = failure ? { lastError: errorFacts(failure) } : {}
    const row: Row = { ...reopened(entry.row), status: 'queued', dueAt: later.dueAt, runs: later.runs, ...lastError }
    // Reckoned once: the wall clock may be set while this is written.
    entry.delay = later.dueAt - parts.clock.now()
    await ledger.settle(entry, row, { delay: entry.delay })
    return receiptOf(row)
  }
  if (failure && !entry.promised && unwritten.has(failure.code)) {
    await ledger.acceptance.refuse(entry.row.id)
    await refund(ledger.store, callOf(entry.delivery).taken, entry.delivery.envelope.recipients.length)
    throw failure
  }
  const row = concluded(entry.row, failure)
  // Refunded only once it is certain that nobody will dispatch it again.
  if (await ledger.settle(entry, row, { release: freesKey(row) })) {
    const untouched = row.recipients.filter(({ status }) => status === 'failed').length
    await refund(ledger.store, callOf(entry.delivery).taken, untouched)
  }
  const error = errorOf(row)
  if (!error) return receiptOf(row)
  throw failure && row.status !== 'unknown' && row.status !== 'rejected' ? withFacts(error, failure) : error
}

/** When a queued message is to be tried again, if it is. */
export function laterRun(
  { clock, schedule }: Pick<ConcludeParts, 'clock' | 'schedule'>,
  row: Row,
  failure: MailError | undefined,
  closing = false,
): { readonly dueAt: number; readonly runs: number } | undefined {
  if (row.kind !== 'queue' || !row.recipients.some(({ status }) => status === 'failed' || status === 'pending')) return
  const now = clock.now()
  if (closing) return { dueAt: now, runs: row.runs }
  // A limit says nothing about the message: it waits its turn, as long as that takes.
  if (failure?.code === 'SEND_LIMIT_EXCEEDED' && failure.retryAfter !== undefined) {
    const longest = Math.min(Math.max((now - row.createdAt) * forLimit.part, forLimit.least), longestForLimit)
    return notLate(row, { dueAt: now + Math.min(failure.retryAfter, longest), runs: row.runs })
  }
  const pause = schedule[row.runs]
  if (pause === undefined || (failure !== undefined && !mayPass(failure))) return
  const dueAt = now + Math.max(pause, Math.min(failure?.retryAfter ?? 0, longestRetryAfter))
  return notLate(row, { dueAt, runs: row.runs + 1 })
}

const notLate = <T extends { readonly dueAt: number }>({ notAfter }: Row, later: T): T | undefined =>
  notAfter !== undefined && later.dueAt >= notAfter ? undefined : later

const mayPass = ({ code, retryable, kind }: MailError): boolean =>
  statusOfCode[code] === undefined &&
  (retryable || codesToWaitFor.has(code) || (kind !== undefined && kindsToWaitFor.has(kind)))

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
  if (!failure) return ended(row, 'failed')
  return ended(row, statusOfCode[failure.code] ?? 'failed', errorFacts(failure))
}

const errorFacts = ({ code, message }: MailError) => ({ code, reason: message })

/** The row's error, with what the last failure knew beside it. */
function withFacts(error: MailError, failure: MailError): MailError {
  const { issues, retryable, retryAfter, kind, provider, providerCode } = failure
  const facts = { issues, retryAfter, kind, provider, providerCode }
  return error.code === 'SEND_FAILED'
    ? withDetails(error, { ...facts, retryable }, failure.code)
    : withDetails(error, facts)
}
