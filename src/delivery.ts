import type { MessageSnapshot } from './message/message.ts'
import type { RecipientField } from './receipt.ts'

/** What kind of mail this is; suppressions may hold for one stream only. */
export type Stream = 'transactional' | 'marketing'

/** One mailbox in the envelope. */
export interface Recipient {
  /** Wire form: the caller's local part, the domain as A-labels. */
  readonly address: string
  /** The mailbox key (INVARIANTS A5): what is counted, deduplicated and suppressed. */
  readonly key: string
  readonly field: RecipientField
}

/** What the wire is told: one sender, and the recipients to be handed over. */
export interface Envelope {
  readonly from: string
  readonly recipients: readonly Recipient[]
}

/**
 * A message with its envelope on its way: what policies and providers are given. Frozen; a policy that changes something
 * passes a new one on.
 */
export interface Delivery {
  /** `msg_` and a UUIDv7. */
  readonly id: string
  /** The Message-ID header, with angle brackets; the same over every attempt and provider. */
  readonly messageId: string
  /** Milliseconds since 1970; also the Date header. */
  readonly createdAt: number
  readonly tenant?: string
  readonly stream: Stream
  readonly sandbox: boolean
  /** Never handed over at or after this moment, in milliseconds since 1970. */
  readonly notAfter?: number
  readonly message: MessageSnapshot
  readonly envelope: Envelope
  /** Present from the route on: which try this is (the first is 1), and through which provider. */
  readonly attempt?: { readonly number: number; readonly provider: string }
}
