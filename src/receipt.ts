/** What became of a message, as far as anybody can honestly know. */

/** How one hand-over ended. `failed` is certainly not taken; `unknown` may have been taken and is never repeated blindly. */
export type Outcome = 'sent' | 'rejected' | 'failed' | 'unknown'

/** Where a message stands. `sent` means a provider took responsibility; it never means delivered. */
export type MessageStatus =
  | 'queued'
  | 'scheduled'
  | 'dispatching'
  | 'sent'
  | 'partial'
  | 'sandboxed'
  | 'suppressed'
  | 'rejected'
  | 'failed'
  | 'unknown'
  | 'cancelled'
  | 'expired'

export type RecipientStatus =
  | 'pending'
  | Outcome
  | 'suppressed'
  | 'sandboxed'
  | 'deferred'
  | 'delivered'
  | 'bounced'
  | 'complained'

export type RecipientField = 'to' | 'cc' | 'bcc'

export interface ReceiptRecipient {
  readonly address: string
  readonly field: RecipientField
  readonly status: RecipientStatus
  /** Why, in at most 200 characters without addresses or secrets. */
  readonly reason?: string
}

/** One hand-over, recorded before it began. */
export interface Attempt {
  /** 1 for the first. */
  readonly number: number
  /** The provider's name in the route. */
  readonly provider: string
  /** ISO 8601. */
  readonly startedAt: string
  /** Milliseconds; absent while it runs, or when the process died in it. */
  readonly duration?: number
  /** Absent while it runs. */
  readonly outcome?: Outcome
  /** The provider's own code: an SMTP reply (`550 5.1.1`), an HTTP status (`http 429`), an error name (`ECONNREFUSED`). */
  readonly code?: string
  /** What the provider said, sanitised to at most 200 characters. */
  readonly evidence?: string
}

export interface Receipt {
  /** Ours: `msg_` and a UUIDv7. Every event, log line and webhook carries it. */
  readonly id: string
  readonly status: MessageStatus
  /** The Message-ID header, with angle brackets. */
  readonly messageId: string
  /** The provider that took it, by its name in the route. */
  readonly provider?: string
  /** The provider's own id, as its events spell it. */
  readonly providerMessageId?: string
  readonly tenant?: string
  readonly from: string
  readonly subject: string
  readonly recipients: readonly ReceiptRecipient[]
  readonly attempts: readonly Attempt[]
  readonly sandbox: boolean
  /** True when this is the answer to an idempotent repeat: nothing was sent by this call. */
  readonly replayed: boolean
  /** ISO 8601. */
  readonly createdAt: string
}

/** One line of a message's timeline. */
export interface TimelineEvent {
  readonly type: string
  /** ISO 8601. */
  readonly at: string
  readonly provider?: string
  readonly outcome?: Outcome
  readonly reason?: string
}

/** The receipt as it stands now, with its timeline. */
export interface MessageRecord extends Receipt {
  readonly sentAt?: string
  /** ISO 8601; when a scheduled or waiting message is next due. */
  readonly dueAt?: string
  readonly lastError?: { readonly code: string; readonly reason: string }
  readonly events: readonly TimelineEvent[]
}
