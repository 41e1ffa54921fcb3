import { callOf } from '../call.ts'
import type { Clock } from '../clock.ts'
import { abortWords, type Deadline } from '../deadline.ts'
import type { Delivery } from '../delivery.ts'
import { MailError, type MailErrorDetails } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { type HandOverResult, receiptOf, withAttempt, withResult } from '../ledger/row.ts'
import type { Send } from '../policies/policy.ts'
import { type Answer, handOverError, type Provider, type SendContext } from '../provider.ts'
import type { Outcome } from '../receipt.ts'
import type { BulkCall } from './bulk.ts'

/** How long a provider may take to settle once it was told to stop. */
const abortGrace = 250

export interface HandOverParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly events: Events
}

/**
 * Dispatch's last step: the attempt record, the provider, the outcome record. Rejects with the provider's error when
 * nobody was mailed; the row holds the outcome of each recipient either way.
 */
export const handOver =
  ({ ledger, clock, events }: HandOverParts): Send =>
  async (delivery) => {
    const { context, deadline, bulk } = callOf(delivery)
    const entry = ledger.open.get(delivery.id)!
    const name = delivery.attempt!.provider
    const number = entry.row.attempts.length + 1
    const facts = { id: delivery.id, provider: name, number, ...(delivery.tenant ? { tenant: delivery.tenant } : {}) }

    await ledger.keep(entry, withAttempt(entry.row, name, clock.now()), deadline.remaining)
    events.emit('attempt', facts)
    const started = clock.monotonic()
    const provider = context.provider(name)!
    const result =
      bulk && provider.sendMany && provider.capabilities.bulk > 1
        ? await bulk.join(name, provider, delivery, bulkExchange(clock))
        : await exchange(provider, delivery, deadline, clock)
    const duration = Math.round(clock.monotonic() - started)
    entry.row = withResult(entry.row, delivery, result, duration, clock.now())
    const { outcome } = entry.row.attempts.at(-1)! as { outcome: Outcome }
    const error = 'error' in result ? result.error : undefined
    events.emit('outcome', {
      ...facts,
      outcome,
      duration,
      ...(error?.kind === undefined ? {} : { kind: error.kind }),
      ...(error?.providerCode === undefined ? {} : { code: error.providerCode }),
    })
    if (error) throw withProvider(error, name)
    return receiptOf(entry.row)
  }

/** One call of the provider: settles within the deadline whatever it does, and never rejects. */
async function exchange(
  provider: Provider,
  delivery: Delivery,
  deadline: Deadline,
  clock: Clock,
): Promise<HandOverResult> {
  try {
    const answer = await withGrace(() => provider.send(delivery, contextOf(delivery, deadline)), deadline, clock)
    return answer === givenUp ? { error: gaveUp(deadline) } : { answer: checkAnswer(answer, delivery) }
  } catch (error) {
    return { error: contractError(error) }
  }
}

/** The same for the deliveries of a merge, which share one deadline. */
const bulkExchange =
  (clock: Clock): BulkCall =>
  async (provider, _name, deliveries) => {
    const [first] = deliveries
    const { deadline } = callOf(first!)
    if (deliveries.length === 1) return [await exchange(provider, first!, deadline, clock)]
    try {
      const answers = await withGrace(
        () => provider.sendMany!(deliveries, contextOf(first!, deadline)),
        deadline,
        clock,
      )
      return deliveries.map((delivery, i) => {
        if (answers === givenUp) return { error: gaveUp(deadline) }
        const answer = answers[i]
        if (answer instanceof MailError) return { error: contractError(answer) }
        try {
          return { answer: checkAnswer(answer, delivery) }
        } catch (error) {
          return { error: contractError(error) }
        }
      })
    } catch (error) {
      return deliveries.map(() => ({ error: contractError(error) }))
    }
  }

function contextOf(delivery: Delivery, deadline: Deadline): SendContext {
  const options = delivery.message.providerOptions[delivery.attempt!.provider]
  return { signal: deadline.signal, timeout: deadline.remaining, ...(options ? { options } : {}) }
}

/** A provider that throws anything but a `MailError` with an outcome may have handed the mail over. */
function contractError(error: unknown): MailError {
  if (error instanceof MailError && error.outcome !== undefined) return error
  const name = error instanceof Error ? error.name.replace(/\W/g, '').slice(0, 40) : 'no error object'
  const reason = `The provider broke its contract: send rejected with ${name} instead of a MailError with an outcome.`
  return handOverError({ outcome: 'unknown', kind: 'configuration', reason })
}

const givenUp = Symbol('given up')

/** The answer, or `givenUp` when the provider does not settle soon after its signal aborted. */
function withGrace<T>(call: () => Promise<T>, { signal }: Deadline, clock: Clock): Promise<T | typeof givenUp> {
  return new Promise((resolve, reject) => {
    const answer = call()
    const onAbort = () => {
      const timer = clock.setTimeout(() => resolve(givenUp), abortGrace)
      const cancel = () => timer.cancel()
      answer.then(cancel, cancel)
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    const forget = () => signal.removeEventListener('abort', onAbort)
    answer.then(
      (value) => {
        forget()
        resolve(value)
      },
      (error: unknown) => {
        forget()
        reject(error as Error)
      },
    )
  })
}

function gaveUp(deadline: Deadline): MailError {
  const reason = `${abortWords[deadline.cause ?? 'timeout']} The provider had not answered.`
  return handOverError({ outcome: 'unknown', kind: 'aborted', reason })
}

/** A provider that answers nonsense has taken the mail for all we know. */
function checkAnswer(answer: Answer | undefined, delivery: Delivery): Answer {
  const known = new Set(delivery.envelope.recipients.map(({ address }) => address))
  const sound =
    typeof answer === 'object' &&
    answer !== null &&
    (answer.recipients ?? []).every(({ address }) => known.has(address))
  if (sound) return answer
  const reason = 'The provider broke its contract: its answer names strangers or is no object.'
  throw handOverError({ outcome: 'unknown', kind: 'configuration', reason })
}

function withProvider(error: MailError, provider: string): MailError {
  const { outcome, kind, retryAfter, retryable, providerCode } = error
  const details: MailErrorDetails = {
    provider,
    retryable,
    ...(outcome === undefined ? {} : { outcome }),
    ...(kind === undefined ? {} : { kind }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
    ...(providerCode === undefined ? {} : { providerCode }),
  }
  return new MailError(error.code, error.message, details)
}
