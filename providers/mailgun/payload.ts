import type { Attachment, Delivery, Issue } from '../../src/provider.ts'
import { headersOf, variablesOf } from '../shared/carried.ts'
import { compose } from '../shared/mime.ts'
import { peopleOf, showsOthers } from '../shared/people.ts'
import { flag, integer, json, type OptionRule, refuseOptions, shape, text } from '../shared/provider-options.ts'
import { encodeText, formatMailbox } from '../shared/words.ts'

/** `providerOptions` of one message. */
export interface MailgunProviderOptions {
  /** A stored template; its content stands in for the message's, under the message's subject. */
  readonly template?: {
    readonly name: string
    readonly version?: string
    readonly variables?: Readonly<Record<string, unknown>>
    /** Makes a text part from the template too. */
    readonly text?: boolean
  }
  /** Switches of native tracking; those not given are the domain's. */
  readonly tracking?: { readonly opens?: boolean; readonly clicks?: boolean | 'htmlonly' }
  /** Mailgun's own scheduling, in seconds since 1970, at most 3 or 7 days ahead by plan. */
  readonly sendAt?: number
  readonly ip?: string
  readonly ipPool?: string
  readonly dkim?: boolean
  /** Never hands the mail on without TLS. */
  readonly requireTls?: boolean
  /** Mailgun does all but deliver. */
  readonly testMode?: true
}

const clicks: OptionRule = {
  fits: (value) => typeof value === 'boolean' || value === 'htmlonly',
  must: 'must be true, false or "htmlonly"',
}
const optionRules = {
  template: shape({ name: text, version: text, variables: json, text: flag }, ['name']),
  tracking: shape({ opens: flag, clicks }),
  sendAt: integer,
  ip: text,
  ipPool: text,
  dkim: flag,
  requireTls: flag,
  testMode: { fits: (value: unknown) => value === true, must: 'must be true, or left out' },
}

/** Of all o:, h:, v: and t: fields together, names and values. */
const mostOptionBytes = 16_000

/** A field's values, or files. Lists throughout: single falsy values are dropped by the SDK. */
export type MailgunForm = Record<string, readonly string[] | readonly MailgunFile[] | Blob>

interface MailgunFile {
  readonly data: Blob
  readonly filename: string
}

/** The form of one delivery: fields where they carry everything, else MIME. */
export function formOf(delivery: Delivery, options: MailgunProviderOptions): MailgunForm {
  const { message, envelope } = delivery
  const shared = { ...prefixed('v:', variablesOf(delivery)), ...switchesOf(delivery, options) }
  if (!options.template && beyondFields(delivery, options)) {
    // Tags and metadata travel as options, where recipients do not see them.
    const mime = compose({ ...delivery, message: { ...message, tags: [], metadata: {} } })
    return {
      to: envelope.recipients.map(({ address }) => address),
      message: new Blob([mime as Uint8Array<ArrayBuffer>], { type: 'message/rfc822' }),
      ...shared,
    }
  }
  const { to, cc, bcc } = peopleOf(delivery)
  return {
    to: to.map(formatMailbox),
    cc: cc.map(formatMailbox),
    bcc: bcc.map(formatMailbox),
    ...contentOf(delivery, options),
    ...prefixed('h:', { 'Message-Id': delivery.messageId, ...wireHeadersOf(delivery) }),
    ...shared,
  }
}

/**
 * One form for many deliveries of one content, each with one recipient: what differs stands in recipient variables.
 * Mailgun gives all of them one Message-ID.
 */
export function bulkFormOf(
  deliveries: readonly [Delivery, ...Delivery[]],
  options: MailgunProviderOptions,
): MailgunForm {
  const [first] = deliveries
  const own = new Map(deliveries.map((delivery) => [delivery, {} as Record<string, string>]))
  /** The value all share, or a reference to the recipient's. */
  const joined = (prefix: string, valuesOf: (delivery: Delivery) => Record<string, string>) => {
    const values = new Map(deliveries.map((delivery) => [delivery, valuesOf(delivery)]))
    const names = Object.keys(valuesOf(first))
    return Object.fromEntries(
      names.map((name, index) => {
        const value = values.get(first)?.[name] ?? ''
        if (deliveries.every((delivery) => values.get(delivery)?.[name] === value)) return [name, value]
        const variable = `${prefix}${index}`
        for (const [delivery, variables] of own) variables[variable] = values.get(delivery)?.[name] ?? ''
        return [name, `%recipient.${variable}%`]
      }),
    )
  }
  const headers = joined('h', wireHeadersOf)
  const variables = joined('v', variablesOf)
  const people = deliveries.map((delivery) => ({ delivery, person: peopleOf(delivery).to[0] as { address: string } }))
  return {
    to: people.map(({ person }) => formatMailbox(person)),
    'recipient-variables': [
      JSON.stringify(Object.fromEntries(people.map(({ delivery, person }) => [person.address, own.get(delivery)]))),
    ],
    ...contentOf(first, options),
    ...prefixed('h:', headers),
    ...prefixed('v:', variables),
    ...switchesOf(first, options),
  }
}

/** Those that may leave in one form: the same fields, one recipient each, nobody twice, nothing that reads as a variable. */
export function bulkable(deliveries: readonly Delivery[], options: MailgunProviderOptions): Set<Delivery> {
  const chosen = new Set<Delivery>()
  const addresses = new Set<string>()
  let fields: string | undefined
  for (const delivery of deliveries) {
    const [recipient, ...others] = delivery.envelope.recipients
    const names = JSON.stringify([Object.keys(wireHeadersOf(delivery)), Object.keys(delivery.message.metadata)])
    if (!recipient || others.length > 0 || recipient.field !== 'to' || addresses.has(recipient.address)) continue
    if (names !== (fields ?? names) || speaksOfVariables(delivery)) continue
    if (beyondFields(delivery, options)) continue
    fields = names
    addresses.add(recipient.address)
    chosen.add(delivery)
  }
  return chosen
}

function speaksOfVariables({ message }: Delivery): boolean {
  const texts = [message.subject, message.text, message.html, ...Object.values(message.metadata)]
  return [...texts, ...message.headers.map(({ value }) => value)].some((one) => one?.includes('%recipient'))
}

function contentOf({ message }: Delivery, { template }: MailgunProviderOptions): MailgunForm {
  const files = (list: readonly Attachment[]) =>
    list.map(({ filename, content, contentType, contentId }) => ({
      data: new Blob([content as Uint8Array<ArrayBuffer>], { type: contentType }),
      // Inline, the cid is the file name.
      filename: contentId ?? filename,
    }))
  return {
    from: [formatMailbox(message.from)],
    subject: [message.subject],
    ...(template ? templateOf(template) : { text: given(message.text), html: given(message.html) }),
    attachment: files(message.attachments.filter(({ contentId }) => contentId === undefined)),
    inline: files(message.attachments.filter(({ contentId }) => contentId !== undefined)),
  }
}

const given = (value: string | undefined) => (value === undefined ? [] : [value])
const word = (on: boolean | undefined) => (on === undefined ? [] : [on ? 'yes' : 'no'])

function templateOf({ name, version, variables, text }: NonNullable<MailgunProviderOptions['template']>): MailgunForm {
  return {
    template: [name],
    't:version': given(version),
    't:variables': variables ? [JSON.stringify(variables)] : [],
    't:text': text ? ['yes'] : [],
  }
}

function switchesOf({ message }: Delivery, options: MailgunProviderOptions): Record<string, readonly string[]> {
  const { tracking = {}, sendAt, ip, ipPool, dkim, requireTls, testMode } = options
  return {
    'o:tag': message.tags,
    // Mailgun would show variables and tags to the reader.
    'o:suppress-headers': ['X-Mailgun-Variables,X-Mailgun-Tag'],
    'o:tracking-opens': word(tracking.opens),
    'o:tracking-clicks': tracking.clicks === 'htmlonly' ? ['htmlonly'] : word(tracking.clicks),
    'o:deliverytime': sendAt === undefined ? [] : [new Date(sendAt * 1000).toUTCString().replace('GMT', '+0000')],
    'o:sending-ip': given(ip),
    'o:sending-ip-pool': given(ipPool),
    'o:dkim': word(dkim),
    'o:require-tls': word(requireTls),
    'o:testmode': testMode ? ['yes'] : [],
  }
}

function wireHeadersOf({ message }: Delivery): Record<string, string> {
  const headers = headersOf(message).map(({ name, value }) => [name, encodeText(value)])
  if (message.replyTo.length > 0) headers.push(['Reply-To', message.replyTo.map(formatMailbox).join(', ')])
  return Object.fromEntries(headers) as Record<string, string>
}

function prefixed(prefix: string, values: Readonly<Record<string, string>>): Record<string, readonly string[]> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, [value]]))
}

/** Names the field that only MIME can carry to Mailgun. */
function beyondFields(delivery: Delivery, options: MailgunProviderOptions): string | undefined {
  const { message } = delivery
  if (message.calendar) return 'calendar'
  if (showsOthers(delivery)) return 'to'
  const names = headersOf(message).map(({ name }) => name.toLowerCase())
  if (new Set(names).size < names.length) return 'headers'
  // Other names would reach the reader as the form escapes them.
  const awkward = ({ filename, contentId }: Attachment) =>
    contentId === undefined ? !/^[ !#-$&-[\]-~]+$/.test(filename) : contentId !== filename
  if (message.attachments.some(awkward)) return 'attachments'
  const bytes = optionBytes(delivery, options) + sizeOf(prefixed('h:', wireHeadersOf(delivery)))
  return bytes > mostOptionBytes ? 'headers' : undefined
}

function optionBytes(delivery: Delivery, options: MailgunProviderOptions): number {
  const template = options.template ? templateOf(options.template) : {}
  const fields = { ...prefixed('v:', variablesOf(delivery)), ...switchesOf(delivery, options), ...template }
  return sizeOf(fields as Record<string, readonly string[]>)
}

function sizeOf(fields: Readonly<Record<string, readonly string[]>>): number {
  let bytes = 0
  for (const [name, values] of Object.entries(fields)) {
    if (!/^[ohvt]:/.test(name)) continue
    for (const value of values) bytes += name.length + Buffer.byteLength(value)
  }
  return bytes
}

/** Names what Mailgun cannot carry of this delivery, and options it does not know. */
export function refuseDelivery(delivery: Delivery, options: unknown): Issue[] {
  const issues = refuseOptions(optionRules, delivery, 'mailgun', options)
  if (issues.length > 0) return issues
  const given = (options ?? {}) as MailgunProviderOptions
  if (optionBytes(delivery, given) > mostOptionBytes) {
    const path = given.template ? `providerOptions.${delivery.attempt?.provider ?? 'mailgun'}.template` : 'metadata'
    const message = `Mailgun carries ${mostOptionBytes} bytes of metadata, tags and template variables`
    issues.push({ path, code: 'too_long', message })
  }
  const field = given.template && beyondFields(delivery, given)
  if (field)
    issues.push({ path: field, code: 'unsupported', message: 'Mailgun cannot carry this beside a stored template' })
  return issues
}
