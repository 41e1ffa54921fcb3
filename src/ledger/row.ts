import type { Delivery } from '../delivery.ts'
import type { MailError } from '../errors.ts'
import type { Answer } from '../provider.ts'
import type { Attempt, MessageStatus, Outcome, RecipientStatus, TimelineEvent } from '../receipt.ts'
import type { Row, RowRecipient, Taken } from '../stores/store.ts'
import { isoText } from './record.ts'

/** How a hand-over ended: the provider's answer, or the error it rejected with. */
export type HandOverResult = { readonly answer: Answer } | { readonly error: MailError }

/** A result, and for a provider that was given up the one it may still come to. */
export type Exchanged = HandOverResult & { readonly late?: Promise<HandOverResult> }

/** How many recipients a change of the row gave up: what was taken for them goes back, once. */
export function givenUp(before: Row, after: Row): number {
  const failed = (row: Row) => row.recipients.filter(({ status }) => status === 'failed').length
  return Math.max(0, failed(after) - failed(before))
}

/** Rows are values: each function answers a new one and changes nothing. */
export function withAttempt(row: Row, provider: string, now: number): Row {
  const attempt: Attempt = { number: row.attempts.length + 1, provider, startedAt: isoText(now) }
  return { ...row, status: 'dispatching', attempts: [...row.attempts, attempt] }
}

/** The attempt that runs ended, for the recipients of this delivery's envelope. */
export function withResult(row: Row, delivery: Delivery, result: HandOverResult, duration: number, now: number): Row {
  const inEnvelope = new Set(delivery.envelope.recipients.map(({ address }) => address))
  const own = 'answer' in result ? result.answer.recipients : undefined
  const named = own && new Map(own.map((recipient) => [recipient.address, recipient]))
  const overall: Outcome = 'answer' in result ? 'sent' : (result.error.outcome ?? 'unknown')
  const said = 'answer' in result ? result.answer.evidence : result.error.message
  const recipients = row.recipients.map((recipient): RowRecipient => {
    if (!inEnvelope.has(recipient.address)) return recipient
    const differs = named?.get(recipient.address)
    const status = differs?.outcome ?? overall
    const reason = status === 'sent' ? undefined : (differs?.reason ?? said)
    return { address: recipient.address, field: recipient.field, status, ...(reason ? { reason } : {}) }
  })
  const outcome = outcomeOf(recipients.filter(({ address }) => inEnvelope.has(address)))
  const code = 'answer' in result ? result.answer.code : result.error.providerCode
  const ended: Attempt = {
    ...row.attempts.at(-1)!,
    duration,
    outcome,
    ...(code === undefined ? {} : { code }),
    ...(said === undefined || said === '' ? {} : { evidence: said }),
  }
  const took = recipients.some(({ status }) => status === 'sent') && 'answer' in result
  return {
    ...row,
    recipients,
    attempts: [...row.attempts.slice(0, -1), ended],
    ...(took ? { provider: ended.provider, sentAt: row.sentAt ?? now } : {}),
    ...(took && result.answer.providerMessageId !== undefined
      ? { providerMessageId: result.answer.providerMessageId }
      : {}),
  }
}

/** One outcome for several recipients: what an attempt is filed under. */
function outcomeOf(recipients: readonly RowRecipient[]): Outcome {
  for (const outcome of ['sent', 'unknown', 'failed'] as const) {
    if (recipients.some(({ status }) => status === outcome)) return outcome
  }
  return 'rejected'
}

export function withRecipients(
  row: Row,
  changed: ReadonlyMap<string, { status: RecipientStatus; reason?: string }>,
): Row {
  return {
    ...row,
    recipients: row.recipients.map((recipient) => {
      const change = changed.get(recipient.address)
      return change ? { address: recipient.address, field: recipient.field, ...change } : recipient
    }),
  }
}

/** What the whole message came to (DESIGN "Mixed outcomes"): suppressed recipients do not count. */
export function verdict(recipients: readonly RowRecipient[]): MessageStatus {
  const live = recipients.filter(({ status }) => status !== 'suppressed')
  const sent = live.filter(({ status }) => status === 'sent').length
  if (sent > 0) return sent === live.length ? 'sent' : 'partial'
  if (live.some(({ status }) => status === 'unknown')) return 'unknown'
  if (live.some(({ status }) => status === 'failed' || status === 'pending')) return 'failed'
  if (live.length > 0) return 'rejected'
  return 'suppressed'
}

/** After these the same key may be used again (INVARIANTS K4). */
export const freesKey = ({ status }: Row): boolean => freeing.has(status)

const freeing: ReadonlySet<MessageStatus> = new Set(['failed', 'cancelled', 'expired', 'suppressed'])

/**
 * The last word on a message: whoever is still pending counts as failed, and what happened to the others decides.
 * `nobody` is the status when not one was mailed or refused.
 */
export function ended(row: Row, nobody: MessageStatus, error?: { code: string; reason: string }): Row {
  const recipients = row.recipients.map(
    (recipient): RowRecipient =>
      recipient.status === 'pending'
        ? { ...recipient, status: 'failed', ...(error ? { reason: error.reason } : {}) }
        : recipient,
  )
  const outcome = verdict(recipients)
  const status = outcome === 'failed' ? nobody : outcome
  const { work, dueAt: _, lastError: _before, ...rest } = row
  const keeps = row.kind === 'queue' && (status === 'failed' || status === 'unknown')
  return {
    ...rest,
    status,
    recipients,
    ...(error && status !== 'sent' ? { lastError: error } : {}),
    ...(keeps && work ? { work } : {}),
  }
}

/**
 * What is certain of a row whose worker vanished (INVARIANTS D1): an attempt without an outcome may have been sent; a
 * direct send without one was not, and nobody will repeat it; a queued message goes back to the queue.
 */
export function abandoned(row: Row): Row {
  const last = row.attempts.at(-1)
  if (last && last.outcome === undefined) {
    const reason = 'The process ended during the hand-over.'
    const known: Row = {
      ...row,
      attempts: [...row.attempts.slice(0, -1), { ...last, outcome: 'unknown', evidence: reason }],
      recipients: row.recipients.map((recipient) =>
        recipient.status === 'pending' || recipient.status === 'failed'
          ? { ...recipient, status: 'unknown', reason }
          : recipient,
      ),
    }
    return row.work?.onUnknown === 'resend' ? { ...known, status: 'queued' } : ended(known, 'failed')
  }
  if (row.kind === 'queue') return { ...row, status: 'queued' }
  return ended(row, 'failed', { code: 'SEND_FAILED', reason: 'The process ended before the next hand-over.' })
}

/**
 * The row of a message whose provider answered hand-over `number` after it was given up; undefined when that teaches
 * nothing. What certainly was not taken then counts only if nothing was handed over since.
 */
export function withLateAnswer(row: Row, number: number, delivery: Delivery, result: HandOverResult, now: number) {
  const inEnvelope = new Set(delivery.envelope.recipients.map(({ address }) => address))
  const attempt = row.attempts[number - 1]
  if (!attempt) return undefined
  const since = row.attempts.length > number
  const told = withResult({ ...row, attempts: [attempt] }, delivery, result, 0, now)
  const learnt = new Set<string>()
  const recipients = row.recipients.map((recipient, i) => {
    const { status } = told.recipients[i]!
    if (recipient.status !== 'unknown' || !inEnvelope.has(recipient.address)) return recipient
    if (status === 'unknown' || (since && status !== 'sent')) return recipient
    learnt.add(recipient.address)
    return told.recipients[i]!
  })
  if (learnt.size === 0) return undefined
  const { outcome, evidence } = told.attempts[0]!
  const event: TimelineEvent = {
    type: 'late_answer',
    at: new Date(now).toISOString(),
    provider: attempt.provider,
    ...(outcome === undefined ? {} : { outcome }),
    ...(evidence === undefined ? {} : { reason: evidence }),
  }
  const { provider, providerMessageId, sentAt } = told
  const known: Row = {
    ...row,
    recipients,
    events: [...(row.events ?? []), event],
    ...(provider === undefined ? {} : { provider }),
    ...(providerMessageId === undefined ? {} : { providerMessageId }),
    ...(sentAt === undefined ? {} : { sentAt }),
  }
  return row.status === 'queued' ? known : ended(known, 'failed')
}

/** A dead letter on its way back into the queue; undefined for what is none, or has lost its content. */
export function withRetry(row: Row, taken: readonly Taken[], now: number): Row | undefined {
  if (row.kind !== 'queue' || row.status !== 'failed' || !row.work) return undefined
  const { lastError: _, ...rest } = row
  return {
    ...rest,
    status: 'queued',
    runs: 0,
    work: { ...row.work, taken },
    recipients: row.recipients.map(({ address, field, ...known }) =>
      known.status === 'failed' ? { address, field, status: 'pending' } : { address, field, ...known },
    ),
    events: [...(row.events ?? []), { type: 'retried', at: isoText(now) }],
  }
}

/** The row after an operator's word on those who may have been mailed; undefined when there is nobody like that. */
export function withResolution(row: Row, outcome: Exclude<Outcome, 'unknown'>, now: number): Row | undefined {
  if (!row.recipients.some(({ status }) => status === 'unknown')) return undefined
  const { provider } = row.attempts.at(-1) ?? {}
  const known: Row = {
    ...row,
    recipients: row.recipients.map(({ address, field, ...rest }) =>
      rest.status === 'unknown'
        ? { address, field, status: outcome, ...(outcome === 'sent' ? {} : { reason: resolvedReason }) }
        : { address, field, ...rest },
    ),
    events: [...(row.events ?? []), { type: 'resolved', at: isoText(now), outcome }],
    ...(outcome === 'sent' ? { sentAt: row.sentAt ?? now, ...(provider === undefined ? {} : { provider }) } : {}),
  }
  return ended(known, 'failed', outcome === 'failed' ? { code: 'SEND_FAILED', reason: resolvedReason } : undefined)
}

const resolvedReason = 'Resolved by an operator.'
