import { domainToASCII } from 'node:url'
import type { AddressInput, Answer, Capabilities, Delivery, Issue, MessageSnapshot, Provider } from '../src/provider.ts'
import { configurationError, type FailureKind, handOverError, type MailError, type Outcome } from '../src/provider.ts'
import { closedOptions } from './shared/options.ts'

export interface MemoryOptions {
  /** Stands in when message, tenant and mailer have no from. */
  readonly from?: AddressInput
  /** What it pretends to be able to do. Default: everything, without limits, and bulk calls of 1,000. */
  readonly capabilities?: Partial<Capabilities>
  /** How many mails are remembered; beyond it the oldest are forgotten. Default 10,000; 0 remembers nothing. */
  readonly limit?: number
  /** Names what it pretends not to carry, as a provider's `refuse`. */
  readonly refuse?: (delivery: Delivery, options: unknown) => readonly Issue[]
}

/** One mail as it was handed over. */
export interface SentMail {
  /** `msg_…`: the id of the receipt. */
  readonly id: string
  readonly messageId: string
  readonly tenant?: string
  readonly message: MessageSnapshot
  /** Every mailbox that would have got a copy, bcc included; those a failure named are not here. */
  readonly recipients: readonly string[]
  readonly providerMessageId: string
  /** Milliseconds since 1970. */
  readonly at: number
}

/** How the next hand-over ends. */
export interface MemoryFailure {
  readonly outcome: Exclude<Outcome, 'sent'>
  /** Default: `content` for rejected, `transient` for failed, `connection` for unknown. */
  readonly kind?: FailureKind
  readonly reason?: string
  /** Milliseconds. */
  readonly retryAfter?: number
  /** Only these recipients end so, the others are sent. Addresses as in `SentMail.recipients`. */
  readonly recipients?: readonly string[]
}

export interface MemoryProvider extends Provider {
  /** The remembered mails, oldest first. A copy: later mails do not appear in it. */
  sent(): readonly SentMail[]
  /** The newest remembered mail to this mailbox, in whichever of to, cc and bcc; letter case does not matter. */
  lastTo(address: string): SentMail | undefined
  /**
   * Makes the next `times` hand-overs (default 1) end this way; several calls queue up. A failed mail is not remembered,
   * whatever the outcome says may have become of it. In a bulk call every mail counts as one hand-over.
   */
  failNext(failure: MemoryFailure['outcome'] | MemoryFailure, times?: number): void
  /** Forgets mails and planned failures. */
  clear(): void
}

const everything: Capabilities = {
  recipients: Infinity,
  bytes: Infinity,
  headers: Infinity,
  replyTo: Infinity,
  attachments: true,
  inline: true,
  calendar: true,
  tags: Infinity,
  metadata: 'events',
  nonAsciiLocalPart: 'always',
  envelope: true,
  bulk: 1000,
  native: [],
}

let instances = 0

/**
 * A provider that sends nothing and remembers everything: for the tests of applications, and for development. Every
 * message passes the same policies as with a real one.
 *
 * @throws MailError `CONFIGURATION_ERROR` for unknown or wrong options.
 */
export function memory(options: MemoryOptions = {}): MemoryProvider {
  closedOptions('memory', options, ['from', 'capabilities', 'limit', 'refuse'])
  const { from, limit = 10_000, refuse } = options
  if (!Number.isSafeInteger(limit) || limit < 0) throw configurationError('memory: limit must be a whole number from 0')
  const prefix = `memory-${++instances}-`
  const planned: { readonly failure: MemoryFailure; times: number }[] = []
  let mails: SentMail[] = []
  let count = 0

  function nextFailure(): MemoryFailure | undefined {
    const next = planned[0]
    if (next && --next.times === 0) planned.shift()
    return next?.failure
  }

  function remember(mail: SentMail): void {
    if (limit === 0) return
    mails.push(mail)
    // Dropping a whole limit at once keeps the cost of one mail constant.
    if (mails.length >= 2 * limit) mails = mails.slice(-limit)
  }

  function handOver(delivery: Delivery, signal: AbortSignal): Answer {
    if (signal.aborted)
      throw handOverError({ outcome: 'failed', kind: 'aborted', reason: 'given up before the hand-over' })
    const failure = planned.length === 0 ? undefined : nextFailure()
    let recipients = delivery.envelope.recipients.map((recipient) => recipient.address)
    let spared: Answer['recipients']
    if (failure) {
      const struck = new Set(failure.recipients ?? recipients)
      const lost = recipients.filter((address) => struck.has(address))
      recipients = recipients.filter((address) => !struck.has(address))
      if (recipients.length === 0) throw failureError(failure)
      const { outcome, reason = plannedReason } = failure
      spared = lost.map((address) => ({ address, outcome, reason }))
    }
    const providerMessageId = `${prefix}${++count}`
    const { id, messageId, tenant, message } = delivery
    const at = Date.now()
    remember(
      tenant === undefined
        ? { id, messageId, message, recipients, providerMessageId, at }
        : { id, messageId, tenant, message, recipients, providerMessageId, at },
    )
    return spared ? { providerMessageId, recipients: spared } : { providerMessageId }
  }

  return {
    name: 'memory',
    capabilities: Object.freeze({ ...everything, ...options.capabilities }),
    ...(from === undefined ? {} : { from }),
    ...(refuse === undefined ? {} : { refuse }),
    async send(delivery, { signal }) {
      return handOver(delivery, signal)
    },
    async sendMany(deliveries, { signal }) {
      return deliveries.map((delivery): Answer | MailError => {
        try {
          return handOver(delivery, signal)
        } catch (error) {
          return error as MailError
        }
      })
    },
    async verify() {},
    async close() {},
    sent: () => (limit === 0 ? [] : mails.slice(-limit)),
    lastTo(address) {
      const wanted = comparable(address)
      const oldest = Math.max(0, mails.length - limit)
      for (let index = mails.length - 1; index >= oldest; index--) {
        const mail = mails[index]
        if (mail?.recipients.some((recipient) => comparable(recipient) === wanted)) return mail
      }
      return undefined
    },
    failNext(failure, times = 1) {
      if (!Number.isSafeInteger(times) || times < 1)
        throw configurationError('failNext: times must be a whole number from 1')
      planned.push({ failure: typeof failure === 'string' ? { outcome: failure } : { ...failure }, times })
    },
    clear() {
      mails = []
      planned.length = 0
    },
  }
}

const plannedReason = 'planned by failNext'
const usualKind = { rejected: 'content', failed: 'transient', unknown: 'connection' } as const

function failureError({
  outcome,
  kind = usualKind[outcome],
  reason = plannedReason,
  retryAfter,
}: MemoryFailure): MailError {
  return handOverError({ outcome, kind, reason, ...(retryAfter === undefined ? {} : { retryAfter }) })
}

function comparable(address: string): string {
  const at = address.lastIndexOf('@')
  return `${address.slice(0, at).toLowerCase()}@${domainToASCII(address.slice(at + 1)) || address.slice(at + 1)}`
}
