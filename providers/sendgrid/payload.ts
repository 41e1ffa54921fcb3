import type { Delivery, Issue, Mailbox } from '../../src/provider.ts'
import { headersOf, variablesOf } from '../shared/carried.ts'
import { peopleOf, showsOthers } from '../shared/people.ts'
import { flag, integer, json, matching, type OptionRule, refuseOptions, shape } from '../shared/provider-options.ts'
import { encodeText, encodeWords } from '../shared/words.ts'

/** `providerOptions` of one message. */
export interface SendGridProviderOptions {
  /** A dynamic template (`d-…`); its subject and content stand in for the message's. */
  readonly template?: { readonly id: string; readonly data?: Readonly<Record<string, unknown>> }
  readonly ipPool?: string
  /** Switches of native tracking; those not given are the account's. */
  readonly tracking?: { readonly opens?: boolean; readonly clicks?: boolean; readonly subscription?: boolean }
  /** Adds the group's unsubscribe headers and links; at most 25 groups to display. */
  readonly unsubscribeGroup?: { readonly id: number; readonly display?: readonly number[] }
  /** SendGrid's own scheduling, in seconds since 1970, at most 72 hours ahead. */
  readonly sendAt?: number
  /** What scheduled mails are cancelled by. */
  readonly batchId?: string
  /** SendGrid checks the request and delivers nothing. */
  readonly sandbox?: boolean
}

const groups: OptionRule = {
  fits: (value) => Array.isArray(value) && value.length <= 25 && value.every(Number.isSafeInteger),
  must: 'must be at most 25 group ids',
}
const optionRules = {
  template: shape({ id: matching(/^d-[A-Za-z0-9-]{1,100}$/, 'must be the id of a dynamic template'), data: json }, [
    'id',
  ]),
  ipPool: matching(/^[ -~]{2,64}$/, 'must be 2 to 64 printable ASCII characters'),
  tracking: shape({ opens: flag, clicks: flag, subscription: flag }),
  unsubscribeGroup: shape({ id: integer, display: groups }, ['id']),
  sendAt: integer,
  batchId: matching(/^[A-Za-z0-9_-]{1,128}$/, 'must be a batch id'),
  sandbox: flag,
}

const mostCustomArgs = 10_000

// SendGrid answers 400 to these, whatever their value.
const reservedHeaders =
  /^(x-sg-id|x-sg-eid|received|dkim-signature|content-type|content-transfer-encoding|to|from|subject|reply-to|cc|bcc)$/i

interface Person {
  readonly email: string
  readonly name?: string
}

/** The body of Mail Send for one delivery, or for several of one content: one personalization each. */
export function payloadOf(deliveries: readonly [Delivery, ...Delivery[]], options: SendGridProviderOptions): object {
  const [{ message }] = deliveries
  const { template, tracking, unsubscribeGroup, sandbox } = options
  const alone = deliveries.length === 1
  return {
    personalizations: deliveries.map((delivery) => ({
      ...destinationOf(delivery),
      ...(alone ? {} : personalOf(delivery)),
      ...(template ? { dynamic_template_data: template.data ?? {} } : {}),
    })),
    // The API takes no Unicode in the name of from.
    from: personOf(message.from, /[^ -~]|=\?/),
    ...replyToOf(message.replyTo),
    ...(template ? { template_id: template.id } : { subject: message.subject, content: contentOf(deliveries[0]) }),
    attachments: attachmentsOf(deliveries[0]),
    ...(alone ? personalOf(deliveries[0]) : {}),
    categories: message.tags.length > 0 ? [...new Set(message.tags)] : undefined,
    send_at: options.sendAt,
    batch_id: options.batchId,
    asm: unsubscribeGroup && { group_id: unsubscribeGroup.id, groups_to_display: unsubscribeGroup.display },
    ip_pool_name: options.ipPool,
    mail_settings: sandbox === undefined ? undefined : { sandbox_mode: { enable: sandbox } },
    tracking_settings: tracking && {
      open_tracking: toggle(tracking.opens),
      click_tracking: toggle(tracking.clicks),
      subscription_tracking: toggle(tracking.subscription),
    },
  }
}

const toggle = (enable: boolean | undefined) => (enable === undefined ? undefined : { enable })

function destinationOf(delivery: Delivery) {
  const { to, cc, bcc } = peopleOf(delivery)
  const people = (mailboxes: readonly Mailbox[]) => mailboxes.map((mailbox) => personOf(mailbox, /[,;]|=\?/))
  return {
    to: people(to),
    ...(cc.length > 0 ? { cc: people(cc) } : {}),
    ...(bcc.length > 0 ? { bcc: people(bcc) } : {}),
  }
}

/** A name the API would refuse or tear apart goes as encoded words. */
function personOf({ name, address }: Mailbox, refused: RegExp): Person {
  if (!name) return { email: address }
  return { email: address, name: refused.test(name) ? encodeWords(name) : name }
}

function replyToOf(mailboxes: readonly Mailbox[]) {
  const people = mailboxes.map((mailbox) => personOf(mailbox, /[,;]|=\?/))
  if (people.length === 0) return {}
  return people.length === 1 ? { reply_to: people[0] } : { reply_to_list: people }
}

function personalOf(delivery: Delivery) {
  const headers = headersOf(delivery.message).map(({ name, value }) => [name, encodeText(value)])
  return {
    headers: Object.fromEntries([['Message-ID', delivery.messageId], ...headers]) as Record<string, string>,
    custom_args: variablesOf(delivery),
  }
}

/** In the order the API asks for; an empty value would be refused and shows nothing. */
function contentOf({ message: { text, html, calendar } }: Delivery) {
  return [
    { type: 'text/plain', value: text },
    { type: 'text/html', value: html },
    { type: `text/calendar; method=${calendar?.method}`, value: calendar?.content },
  ].filter(({ value }) => value !== undefined && value !== '')
}

function attachmentsOf({ message }: Delivery) {
  const files = message.attachments.map(({ filename, content, contentType, contentId }) => ({
    content: base64(content),
    filename,
    // Parameters are refused.
    type: contentType.split(';', 1)[0]?.trim(),
    ...(contentId === undefined ? { disposition: 'attachment' } : { disposition: 'inline', content_id: contentId }),
  }))
  // Beside the alternative, for readers that know no invitations.
  if (message.calendar) {
    const { content, filename } = message.calendar
    files.push({ content: base64(Buffer.from(content)), filename, type: 'application/ics', disposition: 'attachment' })
  }
  return files.length > 0 ? files : undefined
}

const base64 = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')

/** Names what SendGrid cannot carry of this delivery, and options it does not know. */
export function refuseDelivery(delivery: Delivery, options: unknown): Issue[] {
  const { message } = delivery
  const issues = refuseOptions(optionRules, delivery, 'sendgrid', options)
  const refuse = (path: string, code: string, text: string) => issues.push({ path, code, message: text })
  const seen = new Set(['message-id'])
  for (const { name } of headersOf(message)) {
    const path = `headers[${JSON.stringify(name)}]`
    const key = name.toLowerCase()
    if (seen.has(key)) refuse(path, 'repeated', 'SendGrid carries one value for each header')
    if (reservedHeaders.test(name)) refuse(path, 'reserved', 'SendGrid sets this header itself')
    seen.add(key)
  }
  for (const [index, { content }] of message.attachments.entries()) {
    if (content.length === 0) refuse(`attachments[${index}]`, 'empty', 'SendGrid carries no empty attachment')
  }
  const variables = Object.keys(message.metadata).length === 0 ? '' : JSON.stringify(variablesOf(delivery))
  if (Buffer.byteLength(variables) > mostCustomArgs) {
    refuse('metadata', 'too_long', `SendGrid carries ${mostCustomArgs} bytes of metadata, our id included`)
  }
  if (message.calendar && (options as SendGridProviderOptions | undefined)?.template) {
    refuse('calendar', 'unsupported', 'SendGrid cannot carry this beside a stored template')
  }
  if (showsOthers(delivery)) refuse('to', 'partial', 'SendGrid mails everybody whom To and Cc show')
  return issues
}
