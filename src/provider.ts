import type { Delivery } from './delivery.ts'
import type { FailureKind, Issue } from './errors.ts'
import { MailError, sanitizeReason } from './errors.ts'
import type { AddressInput } from './message/message.ts'
import type { Outcome } from './receipt.ts'

/**
 * The contract between the mailer and what carries mail out of the process. This file is all a provider imports.
 *
 * A provider makes the payload (pure), calls, and reads the answer. It does not retry, wait, count, log or keep lists:
 * those are policies, once for all. Recipients come from `delivery.envelope`; what people see comes from
 * `delivery.message`. What it cannot carry it names in `capabilities` or `refuse`, and it is then never called.
 */
export interface Provider<O extends object = object> {
  /** The kind: `smtp`, `ses`, `mailgun`. The application gives each instance its own name in `providers`. */
  readonly name: string
  readonly capabilities: Capabilities
  /** Stands in when message, tenant and mailer have no from. */
  readonly from?: AddressInput
  /**
   * Hands one delivery over. Answers when the provider took it for at least one recipient, or when recipients ended
   * differently; when all ended alike and badly it rejects with a `MailError` made by `handOverError`, and with nothing
   * else. After `context.signal` aborts it settles without delay.
   */
  send(delivery: Delivery, context: SendContext<O>): Promise<Answer>
  /**
   * One native bulk call for deliveries of one content, at most `capabilities.bulk` of them; each recipient sees only
   * itself. The answer has one entry per delivery, in order. Rejects only when all ended alike.
   */
  sendMany?(deliveries: readonly Delivery[], context: SendContext<O>): Promise<readonly (Answer | MailError)[]>
  /**
   * Names what of this delivery it cannot carry beyond what `capabilities` says, unknown `providerOptions` included.
   * Pure and quick; called before the wire.
   */
  refuse?(delivery: Delivery, options: unknown): readonly Issue[]
  /** Checks connection and credentials without sending mail. Rejects with a `MailError`. */
  verify?(context: { readonly signal?: AbortSignal }): Promise<void>
  /**
   * Lets running hand-overs finish, then frees every socket and timer. A second call is harmless, and a later `send` opens
   * anew: the mailer closes what has not been used for a while.
   */
  close?(): Promise<void>
  /** Only types: carries the shape of this provider's `providerOptions` to `createMailer`. */
  readonly optionsType?: O
}

export interface SendContext<O extends object = object> {
  /** Aborts when the caller gives up or the deadline passes. */
  readonly signal: AbortSignal
  /** Milliseconds left for this attempt. */
  readonly timeout: number
  /** What the message holds under `providerOptions` for this provider, already accepted by `refuse`. */
  readonly options?: O
}

/** The provider took responsibility, for all recipients of the envelope unless `recipients` says otherwise. */
export interface Answer {
  /** The provider's id as its events spell it; absent when it gives none. */
  readonly providerMessageId?: string
  /** Outcomes that differ: recipients not named here are `sent`. `address` is the envelope's spelling. */
  readonly recipients?: readonly RecipientAnswer[]
  readonly code?: string
  /** What it said; sanitised by `sanitizeReason`. */
  readonly evidence?: string
}

export interface RecipientAnswer {
  readonly address: string
  readonly outcome: Outcome
  readonly code?: string
  readonly reason?: string
}

/** What a provider can be told, as data. Numbers are the most it takes; `Infinity` means no limit of its own. */
export interface Capabilities {
  /** Mailboxes in one hand-over, over to, cc and bcc. */
  readonly recipients: number
  /** Bytes of one message as the provider counts them: after transfer encoding. */
  readonly bytes: number
  /** Custom headers. */
  readonly headers: number
  /** Reply-to addresses; 0 means the field is refused. */
  readonly replyTo: number
  /** Attachments; false refuses them. */
  readonly attachments: boolean
  /** Inline images by `contentId`. */
  readonly inline: boolean
  readonly calendar: boolean
  /** Labels per message, or false when they cannot be told to it and come back in no event. */
  readonly tags: number | false
  /** Whether metadata comes back with events (`events`), travels in the mail (`header`) or is refused (false). */
  readonly metadata: 'events' | 'header' | false
  /** Mailboxes whose local part is not ASCII: always, when the server offers SMTPUTF8, or never (INVARIANTS O9). */
  readonly nonAsciiLocalPart: 'always' | 'negotiated' | 'never'
  /** Whether it can mail fewer people than To and Cc show; without it a partial repeat is never routed here. */
  readonly envelope: boolean
  /** Deliveries of one content in one native call (`sendMany`); 1 means no bulk call. */
  readonly bulk: number
  /** Switches it offers through `providerOptions`. */
  readonly native: readonly NativeFeature[]
}

export type NativeFeature =
  | 'templates'
  | 'tracking'
  | 'scheduling'
  | 'sandbox'
  | 'unsubscribe'
  | 'pools'
  | 'subaccounts'

/** The facts of a failed hand-over. */
export interface HandOverFailure {
  /** `failed` only when it is certain that nothing was taken. */
  readonly outcome: Exclude<Outcome, 'sent'>
  readonly kind: FailureKind
  /** What the provider said; sanitised here. */
  readonly reason: string
  /** The provider's own code: `550 5.1.1`, `http 429`, `ECONNREFUSED`. */
  readonly code?: string
  /** Milliseconds, where the provider gave it. */
  readonly retryAfter?: number
  /** Texts that must not appear in the reason even if the provider echoes them. */
  readonly secrets?: readonly (string | undefined)[]
}

const codeOfOutcome = { rejected: 'REJECTED', failed: 'SEND_FAILED', unknown: 'OUTCOME_UNKNOWN' } as const

const kindsThatPass: ReadonlySet<FailureKind> = new Set(['connection', 'timeout', 'transient', 'throttled'])

/** The error a provider's `send` rejects with. Nothing of an SDK's error object is attached to it. */
export function handOverError(failure: HandOverFailure): MailError {
  const reason = sanitizeReason(failure.reason, failure.secrets) || failure.code || failure.kind
  return new MailError(codeOfOutcome[failure.outcome], reason, {
    outcome: failure.outcome,
    kind: failure.kind,
    retryable: failure.outcome === 'failed' && kindsThatPass.has(failure.kind),
    ...(failure.code === undefined ? {} : { providerCode: failure.code }),
    ...(failure.retryAfter === undefined ? {} : { retryAfter: failure.retryAfter }),
  })
}

export type { Delivery, Envelope, Recipient, Stream } from './delivery.ts'
export { configurationError, type FailureKind, type Issue, MailError, sanitizeReason } from './errors.ts'
export type { AddressInput, Attachment, Calendar, Header, Mailbox, MessageSnapshot } from './message/message.ts'
export type { Outcome } from './receipt.ts'
