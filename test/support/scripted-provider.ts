import type { Answer, Capabilities, Delivery, HandOverFailure, Provider, SendContext } from '../../src/provider.ts'
import { handOverError } from '../../src/provider.ts'

/** What one call does: answers, or whatever else a stranger's provider may do. */
export type Step = (delivery: Delivery, context: SendContext) => unknown

export interface ScriptedProvider extends Provider {
  /** Every delivery handed over, in order, whatever became of it. */
  readonly calls: readonly Delivery[]
  readonly contexts: readonly SendContext[]
  /** Deliveries per native bulk call. */
  readonly bulks: readonly number[]
  readonly closes: number
  /** Plans the next calls; after them every call is `sent`. */
  will(...steps: Step[]): void
  /** Resolves when there have been `count` calls. */
  called(count?: number): Promise<void>
}

export const sent: Step = (): Answer => ({ providerMessageId: `p-${++answers}` })
let answers = 0

export const fails =
  (kind: HandOverFailure['kind'] = 'transient', more: Partial<HandOverFailure> = {}): Step =>
  () => {
    throw handOverError({ outcome: 'failed', kind, reason: `planned ${kind}`, ...more })
  }

export const rejects: Step = () => {
  throw handOverError({ outcome: 'rejected', kind: 'content', reason: 'planned refusal' })
}

export const unknown: Step = () => {
  throw handOverError({ outcome: 'unknown', kind: 'connection', reason: 'planned loss' })
}

/** Each recipient by address; those not named are sent. */
export const partly =
  (outcomes: Readonly<Record<string, 'sent' | 'rejected' | 'failed' | 'unknown'>>): Step =>
  ({ envelope }) => ({
    recipients: envelope.recipients
      .filter(({ address }) => outcomes[address])
      .map(({ address }) => ({ address, outcome: outcomes[address] })),
  })

/** A call that ends when the test says so, and ignores its signal. */
export function pending(): Step & { answer(answer?: unknown): void; fail(error: unknown): void } {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  promise.catch(() => undefined)
  return Object.assign(() => promise, { answer: (answer: unknown = {}) => resolve(answer), fail: reject })
}

export const everything: Capabilities = {
  recipients: Number.POSITIVE_INFINITY,
  bytes: Number.POSITIVE_INFINITY,
  headers: Number.POSITIVE_INFINITY,
  replyTo: Number.POSITIVE_INFINITY,
  attachments: true,
  inline: true,
  calendar: true,
  tags: Number.POSITIVE_INFINITY,
  metadata: 'events',
  nonAsciiLocalPart: 'always',
  envelope: true,
  bulk: 1,
  native: [],
}

/** A user's provider under a test's control. */
export function scripted(name = 'scripted', capabilities: Partial<Capabilities> = {}): ScriptedProvider {
  const calls: Delivery[] = []
  const contexts: SendContext[] = []
  const bulks: number[] = []
  const steps: Step[] = []
  let closes = 0
  let waiting: { count: number; resolve: () => void }[] = []
  const send = async (delivery: Delivery, context: SendContext): Promise<Answer> => {
    calls.push(delivery)
    contexts.push(context)
    for (const { resolve } of waiting.filter(({ count }) => calls.length >= count)) resolve()
    waiting = waiting.filter(({ count }) => calls.length < count)
    return (await (steps.shift() ?? sent)(delivery, context)) as Answer
  }
  return {
    name,
    capabilities: { ...everything, ...capabilities },
    send,
    async sendMany(deliveries, context) {
      bulks.push(deliveries.length)
      const settled = await Promise.allSettled(deliveries.map((delivery) => send(delivery, context)))
      return settled.map((result) => (result.status === 'fulfilled' ? result.value : result.reason))
    },
    async close() {
      closes++
    },
    calls,
    contexts,
    bulks,
    get closes() {
      return closes
    },
    will: (...more) => void steps.push(...more),
    called(count = 1) {
      if (calls.length >= count) return Promise.resolve()
      return new Promise((resolve) => waiting.push({ count, resolve }))
    },
  }
}

/** The mailboxes of each hand-over. */
export const handed = ({ calls }: ScriptedProvider): string[][] =>
  calls.map(({ envelope }) => envelope.recipients.map(({ address }) => address))
