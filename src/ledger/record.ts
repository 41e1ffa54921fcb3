import { MailError, type MailErrorCode } from '../errors.ts'
import type { MessageRecord, MessageStatus, Receipt, TimelineEvent } from '../receipt.ts'
import type { Row } from '../stores/store.ts'

/** What a row says to the caller. */
export function receiptOf(row: Row, replayed = false): Receipt {
  const receipt: Mutable<Receipt> = {
    id: row.id,
    status: row.status,
    messageId: row.messageId,
    from: row.from,
    subject: row.subject,
    // Copies: a row is the store's own, whatever a caller does to its receipt.
    recipients: row.recipients.map((recipient) => ({ ...recipient })),
    attempts: row.attempts.map((attempt) => ({ ...attempt })),
    sandbox: row.sandbox,
    replayed,
    createdAt: isoText(row.createdAt),
  }
  if (row.provider !== undefined) receipt.provider = row.provider
  if (row.providerMessageId !== undefined) receipt.providerMessageId = row.providerMessageId
  if (row.tenant !== undefined) receipt.tenant = row.tenant
  return receipt
}

let lastMoment = Number.NaN
let lastText = ''

/** ISO 8601. One message asks for the same moment several times, and many messages share one. */
export function isoText(moment: number): string {
  if (moment !== lastMoment) {
    lastText = new Date(moment).toISOString()
    lastMoment = moment
  }
  return lastText
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

export function recordOf(row: Row): MessageRecord {
  return {
    ...receiptOf(row),
    ...(row.sentAt === undefined ? {} : { sentAt: new Date(row.sentAt).toISOString() }),
    ...(row.dueAt === undefined ? {} : { dueAt: new Date(row.dueAt).toISOString() }),
    ...(row.lastError === undefined ? {} : { lastError: row.lastError }),
    events: timeline(row),
  }
}

/** Derived, so that a row needs to keep only what cannot be: its attempts, and what arrived from outside. */
function timeline(row: Row): readonly TimelineEvent[] {
  const events: TimelineEvent[] = [{ type: 'accepted', at: new Date(row.createdAt).toISOString() }]
  for (const attempt of row.attempts) {
    events.push({ type: 'attempt', at: attempt.startedAt, provider: attempt.provider })
    if (attempt.outcome !== undefined) {
      events.push({
        type: attempt.outcome,
        at: new Date(Date.parse(attempt.startedAt) + (attempt.duration ?? 0)).toISOString(),
        provider: attempt.provider,
        outcome: attempt.outcome,
        ...(attempt.evidence === undefined ? {} : { reason: attempt.evidence }),
      })
    }
  }
  return [...events, ...(row.events ?? [])]
}

const codes: Partial<Record<MessageStatus, MailErrorCode>> = {
  unknown: 'OUTCOME_UNKNOWN',
  failed: 'SEND_FAILED',
  rejected: 'REJECTED',
  suppressed: 'RECIPIENT_SUPPRESSED',
  cancelled: 'CANCELLED',
  expired: 'EXPIRED',
}

const words: Partial<Record<MessageStatus, string>> = {
  unknown: 'The message may have been sent, so it is not repeated',
  failed: 'The message was certainly not sent',
  rejected: 'The provider refused the message or every recipient for good',
  suppressed: 'Every recipient is suppressed',
  cancelled: 'The message was cancelled before any hand-over',
  expired: 'The message was not sent before its notAfter',
}

/** The error a settled row stands for; undefined for one that `send` resolves with. */
export function errorOf(row: Row, replayed = false): MailError | undefined {
  const code = codes[row.status]
  if (code === undefined) return undefined
  const { outcome } = { outcome: outcomes[row.status] }
  const last = row.attempts.at(-1)
  const reason = row.lastError?.reason ?? last?.evidence
  return new MailError(code, `${words[row.status]}${reason ? `: ${reason}` : ''}`, {
    receipt: receiptOf(row, replayed),
    ...(outcome === undefined || row.attempts.length === 0 ? {} : { outcome }),
    ...(last === undefined ? {} : { provider: last.provider }),
    ...(last?.code === undefined ? {} : { providerCode: last.code }),
  })
}

const outcomes: Partial<Record<MessageStatus, 'unknown' | 'failed' | 'rejected'>> = {
  unknown: 'unknown',
  failed: 'failed',
  rejected: 'rejected',
}
