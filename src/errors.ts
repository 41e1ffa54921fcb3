import { inspect } from 'node:util'
import type { Outcome, Receipt } from './receipt.ts'

/** Every code, with the HTTP status a handler would answer. */
const statuses = {
  /** Fields missing or malformed; `issues` names each. */
  VALIDATION_ERROR: 400,
  TENANT_REQUIRED: 400,
  TENANT_NOT_FOUND: 404,
  TENANT_BLOCKED: 403,
  /** More mailboxes than allowed. */
  RECIPIENT_LIMIT_EXCEEDED: 422,
  /** From is not in `senders`. */
  SENDER_NOT_ALLOWED: 422,
  /** Nobody is left to mail. */
  RECIPIENT_SUPPRESSED: 422,
  /** No provider on the route can carry a field, or the store cannot answer; `issues` names it. */
  UNSUPPORTED_FEATURE: 422,
  TEMPLATE_NOT_FOUND: 404,
  TEMPLATE_ERROR: 422,
  /** The tenant or mailer has none configured. */
  NO_PROVIDER: 422,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  /** Cancel, reschedule, resolve or retry came too late. */
  INVALID_STATE: 409,
  /** The key was used for another message. */
  IDEMPOTENCY_MISMATCH: 422,
  /** The first call with this key has not finished. */
  IDEMPOTENCY_IN_PROGRESS: 409,
  /** A rate or quota is used up; `retryAfter` says when it frees. */
  SEND_LIMIT_EXCEEDED: 429,
  QUEUE_FULL: 429,
  /** The provider refused the message, or every recipient, for good. */
  REJECTED: 422,
  /** Certainly not sent; retries and fallbacks are used up. */
  SEND_FAILED: 502,
  /** May have been sent; not repeated. */
  OUTCOME_UNKNOWN: 502,
  /** Before the hand-over: the signal, `cancel` or `close`. */
  CANCELLED: 499,
  /** `notAfter` passed before the hand-over. */
  EXPIRED: 410,
  STORE_UNAVAILABLE: 503,
  CLOSED: 503,
  /** Thrown by factories, before any send. */
  CONFIGURATION_ERROR: 500,
} as const

export type MailErrorCode = keyof typeof statuses

/**
 * Why a hand-over failed, as far as routing cares.
 *
 * - `connection`, `timeout`: the network; the same provider may be tried again in a later round.
 * - `transient`, `throttled`: the provider asked to come back later.
 * - `login`, `account`: nothing will pass until somebody acts; the breaker opens and a health event is raised.
 * - `sender`, `configuration`: this provider will not take it as it is set up; another may.
 * - `recipient`, `content`, `size`: the message itself was refused.
 * - `aborted`: the caller's signal or deadline.
 */
export type FailureKind =
  | 'connection'
  | 'timeout'
  | 'transient'
  | 'throttled'
  | 'login'
  | 'account'
  | 'sender'
  | 'configuration'
  | 'recipient'
  | 'content'
  | 'size'
  | 'aborted'

export interface Issue {
  /** The field, as a caller would write it: `to[2]`, `headers["X-A"]`. */
  readonly path: string
  /** Stable and machine-readable: `invalid_address`, `too_long`, `unknown_field`. */
  readonly code: string
  /** What is wrong and what to do. Never holds the value. */
  readonly message: string
}

export interface MailErrorDetails {
  readonly outcome?: Exclude<Outcome, 'sent'>
  /** Default: true for the codes that time alone can mend. */
  readonly retryable?: boolean
  /** Milliseconds. */
  readonly retryAfter?: number
  readonly issues?: readonly Issue[]
  readonly id?: string
  readonly receipt?: Receipt
  readonly provider?: string
  readonly kind?: FailureKind
  /** The provider's own code, as in `Attempt.code`. */
  readonly providerCode?: string
}

const retryableCodes: ReadonlySet<MailErrorCode> = new Set([
  'IDEMPOTENCY_IN_PROGRESS',
  'SEND_LIMIT_EXCEEDED',
  'QUEUE_FULL',
  'SEND_FAILED',
  'STORE_UNAVAILABLE',
  'CLOSED',
])

/**
 * The one error everything rejects with. It carries facts, never another library's error object: some of those print API
 * keys. Its message, JSON and inspection hold no address, secret or content.
 */
export class MailError extends Error {
  override readonly name = 'MailError'
  readonly code: MailErrorCode
  /** The HTTP status a handler would answer. */
  readonly status: number
  /** How the hand-over ended; absent when nothing was attempted. */
  readonly outcome?: Exclude<Outcome, 'sent'>
  /** Whether the same call may succeed later, unchanged. Says nothing about duplicates: that is `outcome`. */
  readonly retryable: boolean
  /** Milliseconds until a repeat makes sense, where somebody said so. */
  readonly retryAfter?: number
  readonly issues: readonly Issue[]
  /** The message, where one exists. */
  readonly id?: string
  readonly provider?: string
  readonly kind?: FailureKind
  readonly providerCode?: string
  readonly #receipt: Receipt | undefined

  constructor(code: MailErrorCode, message: string, details: MailErrorDetails = {}) {
    super(message)
    this.code = code
    this.status = statuses[code]
    this.retryable = details.retryable ?? retryableCodes.has(code)
    this.issues = details.issues ?? []
    if (details.outcome !== undefined) this.outcome = details.outcome
    if (details.retryAfter !== undefined) this.retryAfter = details.retryAfter
    const id = details.id ?? details.receipt?.id
    if (id !== undefined) this.id = id
    if (details.provider !== undefined) this.provider = details.provider
    if (details.kind !== undefined) this.kind = details.kind
    if (details.providerCode !== undefined) this.providerCode = details.providerCode
    this.#receipt = details.receipt
  }

  /** The receipt, where a message exists. It holds addresses, so neither JSON nor inspection shows it. */
  get receipt(): Receipt | undefined {
    return this.#receipt
  }

  toJSON(): Record<string, unknown> {
    return {
      name: this.name,
      code: this.code,
      status: this.status,
      message: this.message,
      outcome: this.outcome,
      retryable: this.retryable,
      retryAfter: this.retryAfter,
      issues: this.issues.length > 0 ? this.issues : undefined,
      id: this.id,
      provider: this.provider,
      kind: this.kind,
      providerCode: this.providerCode,
    }
  }

  [inspect.custom](): string {
    const facts = Object.entries(this.toJSON()).filter(
      ([name, value]) => value !== undefined && !['name', 'message', 'status', 'code'].includes(name),
    )
    const stack = this.stack ?? `MailError: ${this.message}`
    return `${stack.replace('MailError', `MailError [${this.code}]`)} ${inspect(Object.fromEntries(facts), { depth: 4 })}`
  }
}

/** The same error with some facts added or replaced; its message stays. */
export function withDetails(error: MailError, details: MailErrorDetails, code: MailErrorCode = error.code): MailError {
  const { outcome, retryable, retryAfter, issues, id, receipt, provider, kind, providerCode } = error
  const own = { outcome, retryable, retryAfter, issues, id, receipt, provider, kind, providerCode }
  const given = Object.entries(details).filter(([, value]) => value !== undefined)
  return new MailError(code, error.message, { ...own, ...Object.fromEntries(given) })
}

/** A refusal of options, thrown by factories at once. */
export function configurationError(message: string): MailError {
  return new MailError('CONFIGURATION_ERROR', message, { retryable: false })
}

/** Whatever was thrown, as the one error calls reject with. */
export function asMailError(error: unknown): MailError {
  if (error instanceof MailError) return error
  const failure = new MailError('CONFIGURATION_ERROR', 'Something threw what is no MailError; see `cause`.')
  failure.cause = error
  return failure
}

const longestReason = 200

/**
 * Makes a provider's words fit for logs: one line, no addresses, none of `secrets`, at most 200 characters.
 * Linear in the input, of which only the first 2,000 characters are read.
 */
export function sanitizeReason(text: unknown, secrets: readonly (string | undefined)[] = []): string {
  if (typeof text !== 'string') return ''
  let reason = text.slice(0, 2_000)
  for (const secret of secrets) {
    if (secret) reason = reason.replaceAll(secret, '<secret>')
  }
  reason = reason.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\s]+/g, ' ')
  reason = reason
    .split(' ')
    .map((word) => (word.includes('@') ? '<address>' : word))
    .join(' ')
    .trim()
  return reason.length > longestReason ? `${reason.slice(0, longestReason - 1)}…` : reason
}
