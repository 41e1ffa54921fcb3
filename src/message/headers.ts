import { hasControl } from './text-rules.ts'

export interface HeaderProblem {
  /** Stable: `invalid_type`, `invalid_header`, `reserved_header`, `too_long`, `invalid_character`, `invalid_message_id`. */
  readonly code: string
  /** What is wrong and what to do. Never holds the value. */
  readonly message: string
}

/** What the custom headers of one message may come to: how many, and bytes of names and values together. */
export const headerLimits = Object.freeze({ count: 30, bytes: 64_000 })

const longestName = 76
const longestValue = 10_000
/** A line is folded at white space only; this word, its name and colon still fit into 998 octets. */
const longestWord = 998 - longestName - 2
const longestMessageId = 250

const token = /^[\w!#$%&'*+.^`|~-]+$/

/** Set by fields of their own, by us, or by those who carry the mail (INVARIANTS H2). */
const reserved: ReadonlySet<string> = new Set(
  [
    // addresses
    'from sender reply-to to cc bcc apparently-to delivered-to envelope-to envelope-from errors-to',
    'disposition-notification-to return-receipt-to mail-reply-to mail-followup-to x-envelope-from x-envelope-to',
    'x-original-from x-original-to x-original-sender x-forwarded-to x-rcpt-to x-receiver',
    // structure, and what a field of the message sets
    'subject date message-id in-reply-to references mime-version',
    'importance priority x-priority x-msmail-priority',
    // trace, signatures and verdicts
    'return-path received x-received received-spf authentication-results x-authentication-results',
    'domainkey-signature x-google-dkim-signature x-originating-ip',
    // orders to providers
    'x-smtpapi x-msys-api x-smtp2go',
    // an object with this key would silently lose it
    '__proto__',
  ]
    .join(' ')
    .split(' '),
)

const reservedPrefixes: readonly string[] = [
  'content-',
  'resent-',
  'arc-',
  'dkim-',
  'x-ms-exchange-',
  'x-sendwright-',
  'x-ses-',
  'x-amz-',
  'x-sg-',
  'x-sendgrid-',
  'x-mailgun-',
  'x-mc-',
  'x-mandrill-',
  'x-pm-',
  'x-postmark-',
  'x-mj-',
  'x-mailjet-',
  'x-sib-',
  'x-mailin-',
  'x-elasticemail-',
  'resend-',
]

const problem = (code: string, message: string): HeaderProblem => Object.freeze({ code, message })

const problems = {
  nameType: problem('invalid_type', 'The name of a header must be text.'),
  name: problem('invalid_header', 'The name of a header must be 1 to 76 ASCII letters, digits or hyphens.'),
  reserved: problem(
    'reserved_header',
    'Cannot be set as a custom header; use the field of the message, if it has one.',
  ),
  valueType: problem('invalid_type', 'The value of a header must be text.'),
  empty: problem('invalid_header', 'The value of a header must not be empty; leave the header out.'),
  tooLong: problem('too_long', 'The value may have at most 10,000 bytes, and no ASCII word over 920; shorten it.'),
  character: problem(
    'invalid_character',
    'Must not hold line breaks, tabs, other controls or broken Unicode; remove them.',
  ),
  idType: problem('invalid_type', 'A Message-ID must be text.'),
  id: problem('invalid_message_id', 'A Message-ID must be <left@right> of visible ASCII characters.'),
  idTooLong: problem('too_long', 'A Message-ID may have at most 250 characters with its angle brackets.'),
} as const

/**
 * Whether a custom header may not have this name: address, structural, trace, signature, verdict and provider-control
 * headers, in any case of letters. `List-*`, `Precedence`, `Auto-Submitted` and `Feedback-ID` are free.
 */
export function isReservedHeader(name: string): boolean {
  const lower = name.slice(0, longestName).toLowerCase()
  return reserved.has(lower) || reservedPrefixes.some((prefix) => lower.startsWith(prefix))
}

/**
 * Checks one custom header (INVARIANTS H1 to H3). The name is a token of at most 76 characters and not reserved; the value
 * is Unicode text of at most 10,000 bytes without controls, tab included. Never throws; linear.
 */
export function checkHeader(name: unknown, value: unknown): HeaderProblem | undefined {
  if (typeof name !== 'string') return problems.nameType
  if (name.length > longestName || !token.test(name)) return problems.name
  if (isReservedHeader(name)) return problems.reserved
  if (typeof value !== 'string') return problems.valueType
  if (value.length > longestValue || Buffer.byteLength(value) > longestValue) return problems.tooLong
  if (hasControl(value)) return problems.character
  if (value.trim() === '') return problems.empty
  return value.split(' ').some(isUnfoldable) ? problems.tooLong : undefined
}

/** Words with other characters are encoded, and so cut into short ones. */
function isUnfoldable(word: string): boolean {
  return word.length > longestWord && /^[\x00-\x7f]*$/.test(word)
}

const messageId = /^(?:<([!-;=?A-~]+@[!-;=?A-~]+)>|([!-;=?A-~]+@[!-;=?A-~]+))$/

/**
 * Gives a Message-ID its angle brackets, for In-Reply-To and References. It takes `left@right` or `<left@right>`: one @,
 * visible ASCII, at most 250 characters with brackets.
 */
export function checkMessageId(text: unknown): string | HeaderProblem {
  if (typeof text !== 'string') return problems.idType
  if (text.length > longestMessageId) return problems.idTooLong
  const match = messageId.exec(text)
  if (!match) return problems.id
  const id = `<${match[1] ?? match[2]}>`
  return id.length > longestMessageId ? problems.idTooLong : id
}
