import { AssertionError } from 'node:assert'
import { inspect } from 'node:util'
import { configurationError } from '../errors.ts'
import { mailboxKey } from '../message/address.ts'
import type { SentMail, SentSource } from './inbox.ts'
import type { AcceptedMail } from './scripted-server.ts'

/** A text is compared whole, a pattern is searched for. */
export type TextPattern = string | RegExp

/** What a mail has to be. Every field that is given must fit; those that are not may be anything. */
export interface MailPattern {
  /** A mailbox in From, To, Cc or Reply-To; names and letter case do not matter. */
  readonly from?: TextPattern
  readonly to?: TextPattern
  readonly cc?: TextPattern
  readonly replyTo?: TextPattern
  /** A mailbox that got a copy without standing in To or Cc. */
  readonly bcc?: TextPattern
  /** A mailbox that got a copy, from whichever field. */
  readonly recipient?: TextPattern
  readonly subject?: TextPattern
  /** Compared with LF as line ends, and without those at the end. */
  readonly text?: TextPattern
  readonly html?: TextPattern
  /** At least these custom headers; letter case of the names does not matter. */
  readonly headers?: Readonly<Record<string, TextPattern>>
  /** At least these tags. */
  readonly tags?: readonly string[]
  /** At least these entries. */
  readonly metadata?: Readonly<Record<string, TextPattern>>
  /** At least these file names. */
  readonly attachments?: readonly string[]
  readonly tenant?: string
}

export interface ExpectOptions {
  /** Exactly so many mails must fit; 0 is allowed. */
  readonly count: number
}

/** The memory provider, an inbox, or a list: `sent()` of either, or `accepted()` of a scripted server. */
export type Mails<M extends SentMail | AcceptedMail> = SentSource<M> | readonly M[]

/**
 * Expects exactly one mail that fits and answers it: a second copy is a failure, too. With `count`, expects so many and
 * answers all. It looks at what is there now and waits for nothing.
 *
 * @throws AssertionError naming what was found and where the nearest mails differ; bodies are not shown.
 * @throws MailError `CONFIGURATION_ERROR` for an unknown field of the pattern.
 */
export function expectSent<M extends SentMail | AcceptedMail>(mails: Mails<M>, pattern?: MailPattern): M
export function expectSent<M extends SentMail | AcceptedMail>(
  mails: Mails<M>,
  pattern: MailPattern,
  options: ExpectOptions,
): readonly M[]
export function expectSent<M extends SentMail | AcceptedMail>(
  mails: Mails<M>,
  pattern: MailPattern = {},
  options?: ExpectOptions,
): M | readonly M[] {
  const found = looked(mails, pattern)
  const fitting = found.filter(({ differences }) => differences.length === 0).map(({ mail }) => mail)
  const wanted = options?.count ?? 1
  if (fitting.length !== wanted) {
    const message = report(pattern, wanted, fitting.length, found)
    throw new AssertionError({ message, actual: fitting.length, expected: wanted, stackStartFn: expectSent })
  }
  return options === undefined ? fitting[0]! : fitting
}

/** Expects that no mail fits; without a pattern, that there is none at all. Throws like `expectSent`. */
export function expectNotSent<M extends SentMail | AcceptedMail>(mails: Mails<M>, pattern: MailPattern = {}): void {
  expectSent(mails, pattern, { count: 0 })
}

interface Look<M> {
  readonly mail: M
  readonly subject: string
  readonly differences: readonly string[]
}

function looked<M extends SentMail | AcceptedMail>(mails: Mails<M>, pattern: MailPattern): Look<M>[] {
  const unknown = Object.keys(pattern).find((name) => !Object.hasOwn(checks, name))
  if (unknown !== undefined) {
    throw configurationError(
      `expectSent: ${unknown} is no field of a pattern; there are ${Object.keys(checks).join(', ')}`,
    )
  }
  const list = 'sent' in mails ? mails.sent() : mails
  return list.map((mail) => {
    const facts = factsOf(mail)
    const differences = Object.entries(pattern).flatMap(([name, wanted]) => {
      const check = checks[name as keyof MailPattern] as Check
      const difference = wanted === undefined ? undefined : check(facts, wanted)
      return difference === undefined ? [] : [`${name} ${difference}`]
    })
    return { mail, subject: facts.subject, differences }
  })
}

/** What both kinds of mail have in common. */
interface Facts {
  readonly from: readonly string[]
  readonly to: readonly string[]
  readonly cc: readonly string[]
  readonly bcc: readonly string[]
  readonly replyTo: readonly string[]
  readonly recipient: readonly string[]
  readonly subject: string
  readonly text?: string | undefined
  readonly html?: string | undefined
  readonly headers: ReadonlyMap<string, readonly string[]>
  readonly tags: readonly string[]
  readonly metadata: Readonly<Record<string, string>>
  readonly attachments: readonly string[]
  readonly tenant?: string | undefined
}

function factsOf(mail: SentMail | AcceptedMail): Facts {
  const { recipients } = mail
  const content = 'message' in mail ? mail.message : mail
  const { subject, text, html, tags, metadata } = content
  const addresses = (list: readonly { readonly address: string }[]) => list.map(({ address }) => address)
  const [to, cc] = [addresses(content.to), addresses(content.cc)]
  const shown = new Set([...to, ...cc].map(keyOf))
  return {
    from: [content.from.address],
    to,
    cc,
    bcc: recipients.filter((address) => !shown.has(keyOf(address))),
    replyTo: addresses(content.replyTo),
    recipient: recipients,
    subject,
    text,
    html,
    headers: 'message' in mail ? headersOf(mail.message.headers) : new Map(Object.entries(mail.headers)),
    tags,
    metadata,
    attachments: content.attachments.map(({ filename = '' }) => filename),
    tenant: 'tenant' in mail ? mail.tenant : undefined,
  }
}

function headersOf(headers: readonly { readonly name: string; readonly value: string }[]): Map<string, string[]> {
  const byName = new Map<string, string[]>()
  for (const { name, value } of headers) {
    const key = name.toLowerCase()
    byName.set(key, [...(byName.get(key) ?? []), value])
  }
  return byName
}

/** Says how the mail differs; undefined when it fits. */
type Check<W = unknown> = (facts: Facts, wanted: W) => string | undefined

const mailbox =
  (field: 'from' | 'to' | 'cc' | 'bcc' | 'replyTo' | 'recipient'): Check<TextPattern> =>
  (facts, wanted) => {
    const found = facts[field].some((address) =>
      typeof wanted === 'string' ? keyOf(address) === keyOf(wanted) : fits(address, wanted),
    )
    return found ? undefined : `is ${shown(facts[field].join(', '))}`
  }

// A body may hold a login code or a link: the report of a failed test is no place for it.
const body =
  (field: 'text' | 'html'): Check<TextPattern> =>
  (facts, wanted) => {
    const found = facts[field]
    if (found === undefined) return 'is absent'
    return fits(unbroken(found), typeof wanted === 'string' ? unbroken(wanted) : wanted) ? undefined : 'differs'
  }

/** Line ends are the transport's, and so is whether the last line has one, or several. */
const unbroken = (text: string) => text.replaceAll('\r\n', '\n').replace(/\n+$/, '')

const all =
  (field: 'tags' | 'attachments'): Check<readonly string[]> =>
  (facts, wanted) =>
    wanted.every((one) => facts[field].includes(one)) ? undefined : `are ${shown(facts[field].join(', '))}`

const checks: { readonly [N in keyof Required<MailPattern>]: Check<Required<MailPattern>[N]> } = {
  from: mailbox('from'),
  to: mailbox('to'),
  cc: mailbox('cc'),
  bcc: mailbox('bcc'),
  replyTo: mailbox('replyTo'),
  recipient: mailbox('recipient'),
  subject: ({ subject }, wanted) => (fits(subject, wanted) ? undefined : `is ${shown(subject)}`),
  text: body('text'),
  html: body('html'),
  headers({ headers }, wanted) {
    for (const [name, value] of Object.entries(wanted)) {
      const values = headers.get(name.toLowerCase())
      if (values === undefined) return `has no ${name}`
      if (!values.some((one) => fits(one, value))) return `has ${name} ${shown(values.join(', '))}`
    }
    return undefined
  },
  tags: all('tags'),
  metadata({ metadata }, wanted) {
    for (const [name, value] of Object.entries(wanted)) {
      if (!Object.hasOwn(metadata, name)) return `has no ${name}`
      if (!fits(metadata[name]!, value)) return `has ${name} ${shown(metadata[name]!)}`
    }
    return undefined
  },
  attachments: all('attachments'),
  tenant: ({ tenant }, wanted) => (tenant === wanted ? undefined : `is ${tenant ?? 'absent'}`),
}

/** `search` minds neither the `g` flag nor what was searched before. */
const fits = (text: string, wanted: TextPattern) =>
  typeof wanted === 'string' ? text === wanted : text.search(wanted) !== -1

const keyOf = (address: string) => mailboxKey(address) ?? address.toLowerCase()

const longest = 100
const shown = (text: string) =>
  text === '' ? 'empty' : JSON.stringify(text.length > longest ? `${text.slice(0, longest)}…` : text)

const nearest = 5

function report(pattern: MailPattern, wanted: number, count: number, found: readonly Look<unknown>[]): string {
  const wish = Object.keys(pattern).length === 0 ? '' : ` with ${inspect(pattern, { breakLength: Infinity })}`
  const head = `expected ${wanted === 0 ? 'no mail' : wanted === 1 ? 'one mail' : `${wanted} mails`}${wish}`
  const lines = [...found]
    .sort((a, b) => a.differences.length - b.differences.length)
    .slice(0, nearest)
    .map(({ subject, differences }) => `  ${shown(subject)}: ${differences.join('; ') || 'fits'}`)
  const among = found.length === 0 ? 'nothing was sent' : `${count} of ${found.length} fit`
  const more = found.length > nearest ? [`  and ${found.length - nearest} more`] : []
  return [`${head}; ${among}`, ...lines, ...more].join('\n')
}
