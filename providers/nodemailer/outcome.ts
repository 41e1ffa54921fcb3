import type { Answer, Delivery, FailureKind, MailError, RecipientAnswer } from '../../src/provider.ts'
import { handOverError, sanitizeReason } from '../../src/provider.ts'
import { fieldOf, textOf } from '../shared/status.ts'

export type Secrets = readonly (string | undefined)[]

/** A resolved promise is the transport's yes, for all it does not name as rejected. */
export function answerOf(info: unknown, delivery: Delivery, secrets: Secrets): Answer {
  const recipients = refusedOf(info, delivery, secrets)
  if (recipients.length === delivery.envelope.recipients.length) throw oneErrorOf(recipients)
  const theirs = textOf(info, 'serverMessageId') ?? textOf(info, 'messageId') ?? textOf(info, 'id')
  const evidence = sanitizeReason(fieldOf(info, 'response'), secrets)
  return {
    // Ours comes back when the transport knows no other.
    ...(theirs === undefined || theirs === delivery.messageId
      ? {}
      : { providerMessageId: theirs.replace(/^<(.*)>$/, '$1') }),
    ...(evidence ? { evidence } : {}),
    ...(recipients.length > 0 ? { recipients } : {}),
  }
}

type Refusal = RecipientAnswer & { readonly outcome: 'rejected' | 'failed' }

function refusedOf(info: unknown, { envelope }: Delivery, secrets: Secrets): Refusal[] {
  const refused = new Map<string, { readonly code?: number; readonly words: string }>()
  const list = (name: string) => {
    const value = fieldOf(info, name)
    return Array.isArray(value) ? value : []
  }
  for (const one of list('rejected')) {
    const address = typeof one === 'string' ? one : textOf(one, 'address')
    if (address !== undefined) refused.set(address.toLowerCase(), { words: '' })
  }
  for (const error of list('rejectedErrors')) {
    const code = responseCodeOf(error)
    const words = wordsOf(error)
    refused.set((textOf(error, 'recipient') ?? '').toLowerCase(), { words, ...(code === undefined ? {} : { code }) })
  }
  return envelope.recipients.flatMap(({ address }): Refusal[] => {
    const refusal = refused.get(address.toLowerCase())
    if (!refusal) return []
    const { code, words } = refusal
    const outcome = code !== undefined && code < 500 ? 'failed' : 'rejected'
    const reason = sanitizeReason(words, secrets) || 'refused'
    return [{ address, outcome, reason, ...(code === undefined ? {} : { code: String(code) }) }]
  })
}

function oneErrorOf(recipients: readonly Refusal[]): MailError {
  const failed = recipients.some(({ outcome }) => outcome === 'failed')
  const reason = recipients[0]?.reason ?? 'refused'
  return handOverError(
    failed ? { outcome: 'failed', kind: 'transient', reason } : { outcome: 'rejected', kind: 'recipient', reason },
  )
}

/** An answer only when every recipient was refused, and not all alike: one error could not say it. */
export function answerOfError(error: unknown, delivery: Delivery, secrets: Secrets): Answer {
  const recipients = refusedOf(error, delivery, secrets)
  const apart = new Set(recipients.map(({ outcome }) => outcome)).size > 1
  if (apart && recipients.length === delivery.envelope.recipients.length) return { recipients }
  throw handOverError({ ...verdictOf(error), reason: wordsOf(error), secrets })
}

export interface Verdict {
  readonly outcome: 'rejected' | 'failed' | 'unknown'
  readonly kind: FailureKind
  readonly code?: string
}

const neverSent: Readonly<Record<string, FailureKind>> = {
  ENOAUTH: 'login',
  EOAUTH2: 'login',
  EDNS: 'connection',
  ETLS: 'connection',
  EREQUIRETLS: 'configuration',
  EPROXY: 'connection',
  ECONFIG: 'configuration',
  EMAXRECIPIENTS: 'configuration',
  EFILEACCESS: 'configuration',
  EURLACCESS: 'configuration',
  EFETCH: 'configuration',
  ESTREAM: 'configuration',
  EOTP: 'configuration',
}
const beforeHandOver =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|CERT_|ERR_SSL_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/
const setUpTimeouts = new Set(['CONNECT_TIMEOUT', 'GREETING_TIMEOUT', 'UPGRADE_TIMEOUT'])

/** Read off nodemailer's codes; what they do not settle is `unknown`. */
export function verdictOf(error: unknown): Verdict {
  const name = textOf(error, 'code')
  const reply = responseCodeOf(error)
  const code = reply === undefined ? name : String(reply)
  const verdict = (outcome: Verdict['outcome'], kind: FailureKind): Verdict =>
    code === undefined ? { outcome, kind } : { outcome, kind, code }
  if (name !== undefined && Object.hasOwn(neverSent, name)) return verdict('failed', neverSent[name] as FailureKind)
  const permanent = reply !== undefined && reply >= 500
  const transient = reply !== undefined && reply >= 400 && reply < 500
  switch (name) {
    case 'EAUTH':
      return verdict('failed', transient ? 'transient' : 'login')
    case 'EPROTOCOL':
      if (permanent) return verdict('failed', 'configuration')
      break
    case 'EENVELOPE':
      if (transient) return verdict('failed', 'transient')
      if (!permanent) return verdict('failed', 'configuration')
      return envelopeVerdict(textOf(error, 'command'), reply, verdict)
    case 'EMESSAGE':
      if (permanent) return verdict('rejected', reply === 552 ? 'size' : 'content')
      break
    case 'EABORT':
      return verdict('unknown', 'aborted')
  }
  // A server that says 4yz and hangs up has not taken the mail.
  if (transient) return verdict('failed', 'transient')
  const timeoutType = textOf(error, 'timeoutType') ?? ''
  if (setUpTimeouts.has(timeoutType)) return verdict('failed', 'timeout')
  const cause = textOf(error, 'originalCode') ?? name ?? ''
  if (textOf(error, 'syscall') === 'connect' || beforeHandOver.test(cause)) return verdict('failed', 'connection')
  return verdict('unknown', timeoutType === 'SOCKET_TIMEOUT' ? 'timeout' : 'connection')
}

function envelopeVerdict(
  command: string | undefined,
  reply: number,
  verdict: (outcome: Verdict['outcome'], kind: FailureKind) => Verdict,
): Verdict {
  if (reply === 530) return verdict('failed', 'login')
  if (command === 'RCPT TO') return verdict('rejected', 'recipient')
  return command === 'DATA' ? verdict('rejected', 'content') : verdict('failed', 'sender')
}

function responseCodeOf(error: unknown): number | undefined {
  const code = fieldOf(error, 'responseCode')
  return typeof code === 'number' ? code : undefined
}

/** The server's reply, if there was one: an error's own text may hold anything. */
export function wordsOf(error: unknown): string {
  return textOf(error, 'response') ?? 'the transport reported an error without a reply'
}
