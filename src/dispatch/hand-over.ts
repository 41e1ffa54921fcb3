import { callOf } from '../call.ts'
import type { Clock, Timer } from '../clock.ts'
import { abortWords, type Deadline } from '../deadline.ts'
import type { Delivery } from '../delivery.ts'
import { MailError, sanitizeReason, withDetails } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { receiptOf } from '../ledger/record.ts'
import { type Exchanged, type HandOverResult, withResult } from '../ledger/row.ts'
import type { Send } from '../policies/policy.ts'
import { type Answer, handOverError, type Provider, type RecipientAnswer, type SendContext } from '../provider.ts'
import type { Outcome } from '../receipt.ts'
import type { BulkCall } from '../routing/bulk.ts'

/** How long a provider may take to settle once it was told to stop. */
const abortGrace = 250

export interface HandOverParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly events: Events
}

/**
 * Dispatch's last step, once the attempt is on record: the provider, and what it answered. Rejects with the provider's
 * error when nobody was mailed; the row holds the outcome of each recipient either way.
 */
export const handOver =
  ({ ledger, clock, events }: HandOverParts): Send =>
  async (delivery) => {
    const { context, deadline, bulk } = callOf(delivery)
    const entry = ledger.entry(delivery.id)
    const name = delivery.attempt!.provider
    const number = entry.row.attempts.length
    const facts = { id: delivery.id, provider: name, number, ...(delivery.tenant ? { tenant: delivery.tenant } : {}) }

    const started = clock.monotonic()
    const provider = context.provider(name)!
    const late = missed(delivery, deadline, clock)
    const result: Exchanged = late
      ? { error: late }
      : bulk && provider.sendMany && provider.capabilities.bulk > 1
        ? await bulk.join(provider, delivery, bulkExchange(clock))
        : await exchange(provider, delivery, deadline, clock)
    const duration = Math.round(clock.monotonic() - started)
    entry.row = withResult(entry.row, delivery, result, duration, clock.now())
    if (result.late) void ledger.learn(entry, delivery, number, result.late)
    const { outcome } = entry.row.attempts.at(-1)! as { outcome: Outcome }
    const error = 'error' in result ? result.error : undefined
    events.emit('outcome', {
      ...facts,
      outcome,
      duration,
      ...(error?.kind === undefined ? {} : { kind: error.kind }),
      ...(error?.providerCode === undefined ? {} : { code: error.providerCode }),
    })
    if (error) throw withDetails(error, { provider: name })
    return receiptOf(entry.row)
  }

/** Why it is too late although the attempt is on record: writing that may have taken a while. */
function missed({ notAfter }: Delivery, { cause }: Deadline, clock: Clock): MailError | undefined {
  if (cause !== undefined) return handOverError({ outcome: 'failed', kind: 'aborted', reason: abortWords[cause] })
  if (notAfter === undefined || clock.now() < notAfter) return undefined
  const details = { outcome: 'failed', kind: 'aborted' } as const
  return new MailError('EXPIRED', 'notAfter passed before the message could be handed over.', details)
}

/** One call of the provider: settles within the deadline whatever it does, and never rejects. */
async function exchange(provider: Provider, delivery: Delivery, deadline: Deadline, clock: Clock): Promise<Exchanged> {
  const answered = resultOf(delivery, async () => provider.send(delivery, contextOf(delivery, deadline)))
  return (await inTime(answered, deadline, clock)) ? answered : { error: gaveUp(deadline), late: answered }
}

/** The same for the deliveries of a merge, which share one deadline. */
const bulkExchange =
  (clock: Clock): BulkCall =>
  async (provider, deliveries) => {
    const [first] = deliveries
    const { deadline } = callOf(first!)
    if (deliveries.length === 1) return [await exchange(provider, first!, deadline, clock)]
    const call = (async () => provider.sendMany!(deliveries, contextOf(first!, deadline)))()
    const answered = Promise.all(
      deliveries.map((delivery, i) =>
        resultOf(delivery, async () => {
          const answer = (await call)[i]
          if (answer instanceof MailError) throw answer
          return answer
        }),
      ),
    )
    if (await inTime(answered, deadline, clock)) return answered
    return deliveries.map((_, i) => ({ error: gaveUp(deadline), late: answered.then((results) => results[i]!) }))
  }

function contextOf(delivery: Delivery, deadline: Deadline): SendContext {
  const options = delivery.message.providerOptions[delivery.attempt!.provider]
  return { signal: deadline.signal, timeout: deadline.remaining, ...(options ? { options } : {}) }
}

/** What a provider's answer means, whatever it is. */
async function resultOf(delivery: Delivery, call: () => Promise<Answer | undefined>): Promise<HandOverResult> {
  try {
    return { answer: soundAnswer(await call(), delivery) }
  } catch (error) {
    return { error: soundError(error) }
  }
}

/** A provider that throws anything but a `MailError` with an outcome may have handed the mail over. */
function soundError(error: unknown): MailError {
  if (error instanceof MailError && error.outcome !== undefined) {
    const { outcome, kind, retryAfter, providerCode } = error
    const patience = Number.isFinite(retryAfter) && retryAfter! >= 0 ? { retryAfter } : {}
    const code = typeof providerCode === 'string' ? { code: sanitizeReason(providerCode) } : {}
    return handOverError({ outcome, kind: kind ?? 'configuration', reason: error.message, ...code, ...patience })
  }
  const name = error instanceof Error ? error.name.replace(/\W/g, '').slice(0, 40) : 'no error object'
  return brokenContract(`send rejected with ${name} instead of a MailError with an outcome.`)
}

const outcomes: ReadonlySet<unknown> = new Set<Outcome>(['sent', 'rejected', 'failed', 'unknown'])

/**
 * A copy of what the contract knows of an answer, its words sanitised. A provider that answers nonsense has taken the mail
 * for all we know.
 *
 * @throws MailError with the outcome `unknown`.
 */
function soundAnswer(answer: Answer | undefined, { envelope }: Delivery): Answer {
  if (typeof answer !== 'object' || answer === null) throw brokenContract('its answer is no object.')
  const { providerMessageId, recipients, code, evidence } = answer
  if (recipients !== undefined && !Array.isArray(recipients)) throw brokenContract('its answer lists no recipients.')
  return {
    ...(typeof providerMessageId === 'string' ? { providerMessageId } : {}),
    ...(typeof code === 'string' ? { code: sanitizeReason(code) } : {}),
    ...(typeof evidence === 'string' ? { evidence: sanitizeReason(evidence) } : {}),
    ...(recipients === undefined ? {} : { recipients: soundRecipients(recipients, envelope.recipients) }),
  }
}

function soundRecipients(
  answers: readonly RecipientAnswer[],
  recipients: readonly { readonly address: string }[],
): readonly RecipientAnswer[] {
  const waiting = new Set(recipients.map(({ address }) => address))
  return answers.map((answer) => {
    if (!waiting.delete(answer?.address)) throw brokenContract('its answer names a stranger, or somebody twice.')
    const { address, outcome, code, reason } = answer
    if (!outcomes.has(outcome)) throw brokenContract('its answer holds an outcome that does not exist.')
    return {
      address,
      outcome,
      ...(typeof code === 'string' ? { code: sanitizeReason(code) } : {}),
      ...(typeof reason === 'string' ? { reason: sanitizeReason(reason) } : {}),
    }
  })
}

function brokenContract(how: string): MailError {
  const reason = `The provider broke its contract: ${how}`
  return handOverError({ outcome: 'unknown', kind: 'configuration', reason })
}

/** Whether `answered` comes before the call is given up, or soon enough after. */
function inTime(answered: Promise<unknown>, { signal }: Deadline, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    let timer: Timer | undefined
    const onAbort = () => {
      timer = clock.setTimeout(() => resolve(false), abortGrace)
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    void answered.then(() => {
      timer?.cancel()
      signal.removeEventListener('abort', onAbort)
      resolve(true)
    })
  })
}

function gaveUp({ cause = 'timeout' }: Deadline): MailError {
  const reason = `${abortWords[cause]} The provider had not answered.`
  // A provider that lets the time run out is sick; a caller who leaves says nothing about it.
  return handOverError({ outcome: 'unknown', kind: cause === 'timeout' ? 'timeout' : 'aborted', reason })
}
