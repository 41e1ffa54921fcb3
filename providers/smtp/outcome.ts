import type { Answer, FailureKind, MailError, Outcome, Recipient, RecipientAnswer } from '../../src/provider.ts'
import { handOverError, sanitizeReason } from '../../src/provider.ts'

/** Where a conversation stood. Everything before `end` is certainly not taken (INVARIANTS O3). */
export type Stage =
  | 'connect'
  | 'greeting'
  | 'hello'
  | 'tls'
  | 'login'
  | 'sender'
  | 'recipient'
  | 'data'
  /** The server asked for the message, and the terminating dot cannot have left. */
  | 'body'
  /** The terminating dot may have been given to the socket. */
  | 'end'

/** What broke a conversation off when no whole reply did. */
export type Break =
  /** Reset, closed, refused, not found. */
  | 'lost'
  /** Bytes that are no SMTP reply. */
  | 'garbage'
  | 'timeout'
  | 'aborted'
  /** The certificate does not hold, or the server does not offer what we insist on. */
  | 'unfit'
  /** No OAuth2 token was given out. */
  | 'token'
  /** Larger than the server said it takes. */
  | 'size'
  /** A mailbox that needs SMTPUTF8, which the server does not offer. */
  | 'utf8'

/** Why a conversation ended without the message being taken for anybody, or without our knowing. */
export interface Failure {
  readonly stage: Stage
  /** The server's whole reply, where one ended it. */
  readonly reply?: string
  readonly cause?: Break
  /** The network's own code: `ECONNREFUSED`. */
  readonly code?: string
  readonly text?: string
}

/** What happened to one message on one connection. */
export interface Transcript {
  /** The server's final 2yz reply: it took the message for everybody not in `refused`. */
  readonly taken?: string
  /** Absent exactly when `taken` is there. */
  readonly failure?: Failure
  /** Replies to RCPT TO that were no 2yz, by the envelope's spelling. */
  readonly refused: ReadonlyMap<string, string>
}

export interface Verdict {
  readonly outcome: Exclude<Outcome, 'sent'>
  readonly kind: FailureKind
}

interface Reply {
  readonly code: number
  /** RFC 3463, `5.1.1`. */
  readonly enhanced?: string
}

/** Reads the codes off a reply; undefined when it is none. */
export function parseReply(text: string): Reply | undefined {
  const match = /^([2-5]\d\d)(?:[ -](?:([245]\.\d{1,3}\.\d{1,3})(?=\s|$))?|$)/.exec(text)
  if (match === null) return undefined
  return { code: Number(match[1]), ...(match[2] === undefined ? {} : { enhanced: match[2] }) }
}

const verdicts = {
  login: { outcome: 'failed', kind: 'login' },
  account: { outcome: 'failed', kind: 'account' },
  configuration: { outcome: 'failed', kind: 'configuration' },
  sender: { outcome: 'failed', kind: 'sender' },
  transient: { outcome: 'failed', kind: 'transient' },
  throttled: { outcome: 'failed', kind: 'throttled' },
  connection: { outcome: 'failed', kind: 'connection' },
  tooLargeHere: { outcome: 'failed', kind: 'size' },
  tooLarge: { outcome: 'rejected', kind: 'size' },
  recipient: { outcome: 'rejected', kind: 'recipient' },
  content: { outcome: 'rejected', kind: 'content' },
} as const satisfies Record<string, Verdict>

/** Enhanced codes that mean one thing wherever they stand (RFC 3463, RFC 7372, RFC 8616). */
const byEnhanced: Readonly<Record<string, Verdict>> = {
  '4.7.0': verdicts.throttled,
  '4.7.28': verdicts.throttled,
  // Gmail: the daily quota of the account.
  '5.4.5': verdicts.throttled,
  '5.1.7': verdicts.sender,
  '5.1.8': verdicts.sender,
  '5.7.8': verdicts.login,
  '5.7.9': verdicts.login,
  '5.7.11': verdicts.login,
  '5.7.14': verdicts.login,
  '5.7.20': verdicts.sender,
  '5.7.21': verdicts.sender,
  '5.7.22': verdicts.sender,
  '5.7.23': verdicts.sender,
  '5.7.24': verdicts.sender,
  '5.7.25': verdicts.sender,
  '5.7.26': verdicts.sender,
  '5.7.27': verdicts.sender,
}

const aboutLogin: ReadonlySet<number> = new Set([530, 534, 535, 538])

/**
 * What a refusal means: the enhanced code first, the three digits second, the first digit last, always in the light of
 * the command that was refused. A refusal of DATA itself counts like one after the dot: the server knows sender and
 * recipients and will not have the message.
 */
export function verdictOf(stage: Stage, reply: Reply): Verdict {
  const { code, enhanced } = reply
  const permanent = code >= 500
  if (stage === 'login') return permanent ? verdicts.login : verdicts.transient
  if (permanent && (stage === 'greeting' || stage === 'hello' || stage === 'tls')) return verdicts.configuration
  const known = enhanced === undefined ? undefined : byEnhanced[enhanced]
  if (known !== undefined && enhanced?.startsWith('5') === permanent) return known
  if (!permanent) return code === 454 && stage !== 'tls' ? verdicts.throttled : verdicts.transient
  if (aboutLogin.has(code)) return verdicts.login
  // The session is out of step (503): another connection may do.
  if (code === 503) return verdicts.transient
  if (code <= 504 || enhanced?.startsWith('5.5.')) {
    return stage === 'recipient' && enhanced === undefined ? verdicts.recipient : verdicts.configuration
  }
  switch (stage) {
    case 'sender':
      if (enhanced === '5.6.7') return verdicts.content
      return code === 552 || enhanced === '5.3.4' || enhanced === '5.2.3' ? verdicts.tooLargeHere : verdicts.sender
    case 'recipient':
      // RFC 5321 4.5.3.1.10: an old spelling of 452, too many recipients.
      return code === 552 && enhanced === undefined ? verdicts.transient : verdicts.recipient
    case 'data':
    case 'body':
    case 'end':
      if (enhanced === '5.3.4' || enhanced === '5.2.3') return verdicts.tooLarge
      if (code === 552 && enhanced === undefined) return verdicts.tooLarge
      return enhanced?.startsWith('5.1.') || enhanced?.startsWith('5.2.') ? verdicts.recipient : verdicts.content
    default:
      return verdicts.configuration
  }
}

const byBreak: Readonly<Record<Break, Verdict>> = {
  lost: verdicts.connection,
  garbage: verdicts.connection,
  timeout: { outcome: 'failed', kind: 'timeout' },
  aborted: { outcome: 'failed', kind: 'aborted' },
  unfit: verdicts.configuration,
  token: verdicts.login,
  size: verdicts.tooLargeHere,
  utf8: { outcome: 'rejected', kind: 'recipient' },
}

const saidOf: Readonly<Record<Break, string>> = {
  lost: 'the connection was lost',
  garbage: 'the server answered something that is no SMTP reply',
  timeout: 'the server did not answer in time',
  aborted: 'aborted',
  unfit: 'the server does not offer what this provider insists on',
  token: 'no OAuth2 token could be had',
  size: 'the message is larger than the server takes',
  utf8: 'the server does not offer SMTPUTF8, which a mailbox needs',
}

const placeOf: Readonly<Record<Stage, string>> = {
  connect: 'while connecting',
  greeting: 'at the greeting',
  hello: 'at EHLO',
  tls: 'at STARTTLS',
  login: 'at login',
  sender: 'at MAIL FROM',
  recipient: 'at RCPT TO',
  data: 'at DATA',
  body: 'before the message was complete',
  end: 'after the message was complete',
}

interface Judgement extends Verdict {
  readonly code?: string
  readonly reason: string
}

function judge(failure: Failure): Judgement {
  const reply = failure.reply === undefined ? undefined : parseReply(failure.reply)
  if (reply !== undefined && failure.reply !== undefined) {
    return { ...verdictOf(failure.stage, reply), code: codeOf(reply), reason: textOf(failure.reply) }
  }
  const cause = failure.reply === undefined ? (failure.cause ?? 'lost') : 'garbage'
  const verdict = byBreak[cause]
  return {
    outcome: failure.stage === 'end' ? 'unknown' : verdict.outcome,
    kind: verdict.kind,
    code: failure.code,
    reason: `${failure.text ?? saidOf[cause]} ${placeOf[failure.stage]}`,
  }
}

const codeOf = ({ code, enhanced }: Reply) => (enhanced === undefined ? String(code) : `${code} ${enhanced}`)

const textOf = (reply: string) => reply.replace(/^\d{3}[ -]/gm, '')

/**
 * What became of each recipient. Answers when somebody was taken, or when recipients ended differently so that one error
 * could not say it; else throws `handOverError`.
 */
export function answerOf(
  transcript: Transcript,
  recipients: readonly Recipient[],
  secrets: readonly (string | undefined)[],
): Answer {
  const { taken, failure, refused } = transcript
  const rest = failure && judge(failure)
  const named: (RecipientAnswer & Verdict)[] = []
  for (const { address } of recipients) {
    const reply = refused.get(address)
    const fate = reply === undefined ? rest : judge({ stage: 'recipient', reply })
    if (fate === undefined) continue
    const reason = sanitizeReason(fate.reason, secrets)
    named.push({ address, outcome: fate.outcome, kind: fate.kind, code: fate.code, reason })
  }
  const first = named[0]
  if (taken === undefined && rest !== undefined && named.every(({ outcome }) => outcome === first?.outcome)) {
    // Of several refusals that end alike, the one that started it all speaks for them.
    throw handOverError({ ...rest, outcome: first?.outcome ?? rest.outcome, kind: first?.kind ?? rest.kind, secrets })
  }
  const reply = taken === undefined ? undefined : parseReply(taken)
  return {
    ...(taken === undefined ? {} : { providerMessageId: queueIdOf(taken), evidence: sanitizeReason(taken, secrets) }),
    ...(reply === undefined ? {} : { code: codeOf(reply) }),
    ...(named.length === 0 ? {} : { recipients: named.map(({ kind: _, ...answer }) => answer) }),
  }
}

/** The error of a failure that concerns no recipient. */
export function errorOf(failure: Failure, secrets: readonly (string | undefined)[]): MailError {
  return handOverError({ ...judge(failure), secrets })
}

/** The queue id in a final reply, as Postfix, Exim and Amazon write it; there is no standard for it. */
export function queueIdOf(reply: string): string | undefined {
  return (
    /\bqueued as ([A-Za-z0-9._-]{4,100})/.exec(reply)?.[1] ??
    /\bid=([A-Za-z0-9._-]{4,100})/.exec(reply)?.[1] ??
    /^250[ -](?:2\.0\.0 )?Ok:? ([0-9a-f]{16}-[0-9a-f-]{20,60})$/im.exec(reply)?.[1]
  )
}
