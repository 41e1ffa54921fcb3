/** What people will read: the loose form callers write, and the strict, frozen snapshot everything after the door uses. */

/** `'ada@example.com'`, `'Ada L. <ada@example.com>'`, or an object whose `address` is a bare mailbox. */
export type AddressInput = string | { readonly name?: string; readonly address: string }

/** One address, or several. A string holds exactly one mailbox; lists are arrays. */
export type AddressList = AddressInput | readonly AddressInput[]

/** Where attachment bytes come from. Streams are read into memory at the door, up to `limits.attachmentBytes`. */
export type AttachmentContent =
  | string
  | Uint8Array
  | ArrayBuffer
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array | string>

/** A file, or an inline image when `contentId` is given. Content only: a path or URL is never read (INVARIANTS F1). */
export interface AttachmentInput {
  /** What the reader sees; made a clean base name (`../a.pdf` becomes `a.pdf`). */
  readonly filename: string
  readonly content: AttachmentContent
  /** Required when `content` is a string: how its characters become bytes. */
  readonly encoding?: 'utf8' | 'base64' | 'hex'
  /** `type/subtype` with parameters. Default: from the file name, else `application/octet-stream`. */
  readonly contentType?: string
  /** Makes it inline: the html refers to it as `cid:<contentId>`. At most 78 visible ASCII characters. */
  readonly contentId?: string
}

/** An invitation (RFC 5546), sent as a `text/calendar` alternative with its method. */
export interface Calendar {
  readonly method: 'PUBLISH' | 'REQUEST' | 'REPLY' | 'ADD' | 'CANCEL' | 'REFRESH' | 'COUNTER' | 'DECLINECOUNTER'
  /** The iCalendar text (RFC 5545). */
  readonly content: string
  /** Default `invite.ics`. */
  readonly filename?: string
}

export interface Header {
  readonly name: string
  readonly value: string
}

/** `{ name: value }` with one or more values a name, or a list that keeps order and repetition. */
export type HeadersInput = Readonly<Record<string, string | readonly string[]>> | readonly Header[]

export type Importance = 'high' | 'normal' | 'low'

/** What a caller hands to `send`. A closed set of fields: an unknown one is a `VALIDATION_ERROR` naming its path. */
export interface Message<O = Readonly<Record<string, object>>> {
  /** Default: the tenant's, else the mailer's, else the first provider's. Exactly one mailbox. */
  readonly from?: AddressInput
  /** At least one. A mailbox named twice over to, cc and bcc is mailed once; its first place wins. */
  readonly to: AddressList
  readonly cc?: AddressList
  /** In the envelope only, never in message bytes. */
  readonly bcc?: AddressList
  /** At most 10. */
  readonly replyTo?: AddressList
  /** 1 to 998 characters. */
  readonly subject?: string
  /** Plain text, as a string or UTF-8 bytes; at most 1,000,000 characters. One of text and html is required. */
  readonly text?: string | Uint8Array
  readonly html?: string | Uint8Array
  readonly attachments?: readonly AttachmentInput[]
  /** At most 30. Address, structural, trace and signature headers are set by their own fields and refused here. */
  readonly headers?: HeadersInput
  /** Labels for statistics and events; at most 10 of 1 to 128 letters, digits, `_` and `-`. */
  readonly tags?: readonly string[]
  /** The subscription this mail belongs to; suppressions may be for one topic only. */
  readonly topic?: string
  readonly campaign?: string
  /** Flat facts that come back with events; at most 20, names `[A-Za-z0-9_-]{1,64}`, values to 500 characters. */
  readonly metadata?: Readonly<Record<string, string | number | boolean>>
  readonly calendar?: Calendar
  readonly importance?: Importance
  /** A Message-ID, with or without its angle brackets. */
  readonly inReplyTo?: string
  readonly references?: string | readonly string[]
  /** What is not portable, by the provider's name in `providers`. */
  readonly providerOptions?: O
  /** Not built yet: refused with `UNSUPPORTED_FEATURE`. */
  readonly template?: { readonly name: string; readonly variables?: Readonly<Record<string, unknown>> }
  /** Not built yet: refused with `UNSUPPORTED_FEATURE`. */
  readonly track?: unknown
  /** Not built yet: refused with `UNSUPPORTED_FEATURE`. */
  readonly unsubscribe?: unknown
}

/** One mailbox in wire form: the local part in the caller's case, the domain as lower-case A-labels. */
export interface Mailbox {
  /** The decoded display name, without control characters. Absent when there is none. */
  readonly name?: string
  readonly address: string
}

export interface Attachment {
  readonly filename: string
  readonly content: Uint8Array
  readonly contentType: string
  readonly contentId?: string
}

/**
 * A message after the door: copied once, checked, normalised, deep-frozen. It is itself a legal `Message`, so a policy
 * may spread it, change a field and pass it on; what changed is checked again.
 */
export interface MessageSnapshot {
  readonly from: Mailbox
  readonly to: readonly Mailbox[]
  readonly cc: readonly Mailbox[]
  readonly bcc: readonly Mailbox[]
  readonly replyTo: readonly Mailbox[]
  readonly subject: string
  readonly text?: string
  readonly html?: string
  readonly attachments: readonly Attachment[]
  /** Custom headers only, in order; values are checked Unicode text, not yet encoded. */
  readonly headers: readonly Header[]
  readonly tags: readonly string[]
  readonly topic?: string
  readonly campaign?: string
  readonly metadata: Readonly<Record<string, string>>
  readonly calendar?: Required<Calendar>
  readonly importance?: Importance
  /** With angle brackets. */
  readonly inReplyTo?: string
  /** Each with angle brackets. */
  readonly references: readonly string[]
  readonly providerOptions: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}
