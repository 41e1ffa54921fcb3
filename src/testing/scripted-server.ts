/**
 * What the scripted servers have in common: each speaks one provider's dialect on loopback, fails where it is told to, and
 * keeps a log of what it accepted. That log is the ground truth a test compares receipts with.
 */

/** Where in one hand-over a fault strikes. */
export type FaultPoint =
  /** TCP: the port answers with a reset, or nobody listens. */
  | 'connect'
  /** SMTP: the greeting. HTTP: before a byte of the request is read. */
  | 'greeting'
  /** SMTP only: EHLO. */
  | 'hello'
  /** The TLS handshake, or the answer to STARTTLS. */
  | 'tls'
  /** SMTP AUTH; HTTP 401 and 403. */
  | 'login'
  /** SMTP only: MAIL FROM. */
  | 'sender'
  /** SMTP: RCPT TO. HTTP: once the request head was read. */
  | 'envelope'
  /** SMTP only: the answer to DATA. */
  | 'data'
  /** After part of the body was read. */
  | 'midBody'
  /** The whole body was read and nothing was answered; the mail is accepted unless the kind refuses it. */
  | 'afterBody'
  /** The mail is accepted, and the answer breaks off half-way. */
  | 'midAnswer'

export type FaultKind =
  /** A plain refusal in the dialect: 5yz, or HTTP 400. */
  | 'refuse'
  /** TCP RST. */
  | 'reset'
  /** FIN. */
  | 'close'
  /** Silence, with the connection open. */
  | 'stall'
  /** Bytes that are no answer in this dialect. */
  | 'garbage'
  /** SMTP 4yz; HTTP 4xx about the request. */
  | '4xx'
  /** SMTP 5yz; HTTP 503. */
  | '5xx'
  /** SMTP 421 or 451 with a rate text; HTTP 429 with Retry-After. */
  | 'throttle'

export interface Fault {
  readonly at: FaultPoint
  readonly kind: FaultKind
  /** How many hand-overs it strikes before the server is well again. Default 1. */
  readonly times?: number
  /** Seconds, for `throttle`. Default 1. */
  readonly retryAfter?: number
  /** Strikes only recipients whose address equals this one (SMTP `envelope`). */
  readonly recipient?: string
}

export interface AcceptedAttachment {
  readonly filename?: string
  readonly contentType: string
  readonly content: Uint8Array
  readonly contentId?: string
  readonly inline: boolean
}

export interface AcceptedAddress {
  readonly name: string
  readonly address: string
}

/** One accepted mail in a neutral form, whatever the dialect: what a reader would see, and whom the wire was told. */
export interface AcceptedMail {
  /** The id the server answered. */
  readonly providerMessageId: string
  /** The `msg_…` id that travelled with the mail. */
  readonly sendwrightId?: string
  /** Envelope: every mailbox that gets a copy, bcc included. */
  readonly recipients: readonly string[]
  readonly envelopeFrom?: string
  readonly from: AcceptedAddress
  readonly to: readonly AcceptedAddress[]
  readonly cc: readonly AcceptedAddress[]
  readonly replyTo: readonly AcceptedAddress[]
  readonly subject: string
  readonly text?: string
  readonly html?: string
  /** Custom headers by lower-case name, decoded. */
  readonly headers: Readonly<Record<string, readonly string[]>>
  readonly attachments: readonly AcceptedAttachment[]
  readonly calendar?: { readonly method: string; readonly content: string }
  readonly tags: readonly string[]
  readonly metadata: Readonly<Record<string, string>>
  /** What came over the wire: MIME bytes for SMTP, the request body otherwise. */
  readonly raw: Uint8Array
}

export interface ScriptedServer {
  readonly host: string
  readonly port: number
  /** What to give the provider: `smtp://…` or `http://…`. */
  readonly url: string
  /** Every mail taken, in order. */
  accepted(): Promise<readonly AcceptedMail[]>
  /** How many hand-overs reached the server with a whole body, taken or not. */
  readonly bodies: number
  /** How many connections were opened since the start. */
  readonly connections: number
  /** Adds a fault; several are struck in the order given. */
  fail(fault: Fault): void
  /** Forgets faults and the log. */
  reset(): void
  /** Ends every connection and frees the port. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
