import type { Recipient } from '../delivery.ts'
import type { ResolvedLimits } from '../limits.ts'
import type { RecipientField } from '../receipt.ts'
import { type AddressRules, createAddressReader, type ParsedMailbox } from './address.ts'
import { readStream } from './attachments.ts'
import type { Attachment, Mailbox, MessageSnapshot } from './message.ts'
import { own, StreamSource } from './plain.ts'
import { invalid } from './refusal.ts'
import { buildSchema, issuesOf, type MessageSchema, type ParsedMessage } from './schema.ts'
import { encodedSize } from './size.ts'
import type { TakenMessage } from './take.ts'
import { textFromHtml } from './text-from-html.ts'

/** A message after the door, with the mailboxes it is for, each once. */
export interface ReadMessage {
  readonly message: MessageSnapshot
  readonly recipients: readonly Recipient[]
}

export interface ReaderOptions {
  /** Makes a missing text part from the html. */
  readonly textFromHtml?: boolean
  readonly addresses?: AddressRules
}

export interface ReadContext {
  readonly limits: ResolvedLimits
  /** Stands in when the message has none. */
  readonly from?: ParsedMailbox
  /** Ends the reading of attachment streams. */
  readonly signal: AbortSignal
}

/** Makes a strict, frozen snapshot of what was taken from a caller, or says what is wrong with it. */
export type MessageReader = (taken: TakenMessage, context: ReadContext) => Promise<ReadMessage>

const schemasKept = 100

/** zod and nodemailer's parser are loaded when the first message is read, so that importing Sendwright costs little. */
export function createMessageReader(options: ReaderOptions = {}): MessageReader {
  const schemas = new Map<string, MessageSchema>()
  const schemaOf = new WeakMap<ResolvedLimits, MessageSchema>()
  let parts: ReturnType<typeof load> | undefined

  const load = async () => {
    const [zod, { default: split }] = await Promise.all([import('zod'), import('nodemailer/lib/addressparser')])
    return { zod, readAddress: createAddressReader(split, options.addresses) }
  }

  const schemaFor = async (limits: ResolvedLimits): Promise<MessageSchema> => {
    const known = schemaOf.get(limits)
    if (known) return known
    parts ??= load()
    const { zod, readAddress } = await parts
    const shape = [
      limits.recipients,
      limits.replyTo,
      limits.subject,
      limits.text,
      limits.html,
      limits.headers,
      limits.attachments,
      limits.attachmentBytes,
      limits.messageBytes,
    ].join()
    let schema = schemas.get(shape)
    if (!schema) {
      if (schemas.size >= schemasKept) schemas.clear()
      schema = buildSchema(zod, limits, readAddress)
      schemas.set(shape, schema)
    }
    schemaOf.set(limits, schema)
    return schema
  }

  return async ({ fields }, { limits, from, signal }) => {
    const schema = await schemaFor(limits)
    const parsed = parse(schema, fields)
    const attachments = await readAttachments(parsed, limits, signal)
    const text =
      parsed.text === undefined && parsed.html !== undefined && options.textFromHtml
        ? await textFromHtml(parsed.html)
        : parsed.text
    return snapshotOf(parsed, from, text, attachments, limits)
  }
}

function parse(schema: MessageSchema, fields: Readonly<Record<string, unknown>>): ParsedMessage {
  const result = schema.safeParse(fields)
  const issues = result.success ? [] : issuesOf(result.error)
  const need = (path: string, missing: boolean, message: string) => {
    if (missing && !issues.some((issue) => issue.path === path)) issues.push({ path, code: 'required', message })
  }
  need('subject', fields.subject === undefined, 'Is required.')
  need('text', fields.text === undefined && fields.html === undefined, 'One of text and html is required.')
  if (result.success) need('to', result.data.to.length === 0, 'Needs at least one address.')
  if (!result.success || issues.length > 0) throw invalid(issues)
  return result.data
}

async function readAttachments(
  parsed: ParsedMessage,
  limits: ResolvedLimits,
  signal: AbortSignal,
): Promise<readonly Attachment[]> {
  const attachments: Attachment[] = []
  let left = limits.messageBytes
  for (const [i, { filename, content, contentType, contentId }] of (parsed.attachments ?? []).entries()) {
    const bytes =
      content instanceof StreamSource
        ? await readStream(content, Math.min(limits.attachmentBytes, left), signal)
        : content
    if ('code' in bytes)
      throw invalid([{ path: `attachments[${i}].content`, code: bytes.code, message: bytes.message }])
    left -= bytes.byteLength
    attachments.push(
      Object.freeze({
        filename,
        content: own(bytes),
        contentType: contentType ?? (await typeOfFile(filename)),
        ...(contentId === undefined ? {} : { contentId }),
      }),
    )
  }
  return attachments
}

async function typeOfFile(filename: string): Promise<string> {
  const { detectMimeType } = await import('nodemailer/lib/mime-funcs')
  return detectMimeType(filename.slice(filename.lastIndexOf('.') + 1))
}

const none: readonly never[] = Object.freeze([])
const noMetadata: Readonly<Record<string, string>> = Object.freeze({})

function snapshotOf(
  parsed: ParsedMessage,
  defaultFrom: ParsedMailbox | undefined,
  text: string | undefined,
  attachments: readonly Attachment[],
  limits: ResolvedLimits,
): ReadMessage {
  const from = parsed.from ?? defaultFrom
  if (!from) {
    throw invalid([
      {
        path: 'from',
        code: 'required',
        message: 'Is required: in the message, or as `from` of mailer, tenant or provider.',
      },
    ])
  }
  const seen = new Set<string>()
  const recipients: Recipient[] = []
  const mailboxes = (field: RecipientField): readonly Mailbox[] => {
    const list = parsed[field]
    if (!list) return none
    const unique: Mailbox[] = []
    for (const mailbox of list) {
      if (seen.has(mailbox.key)) continue
      seen.add(mailbox.key)
      recipients.push(Object.freeze({ address: mailbox.address, key: mailbox.key, field }))
      unique.push(mailboxOf(mailbox))
    }
    return Object.freeze(unique)
  }
  const message: MessageSnapshot = Object.freeze({
    from: mailboxOf(from),
    to: mailboxes('to'),
    cc: mailboxes('cc'),
    bcc: mailboxes('bcc'),
    replyTo: parsed.replyTo ? Object.freeze(parsed.replyTo.map(mailboxOf)) : none,
    subject: parsed.subject!,
    ...(text === undefined ? {} : { text }),
    ...(parsed.html === undefined ? {} : { html: parsed.html }),
    attachments: Object.freeze(attachments),
    headers: parsed.headers ? Object.freeze(parsed.headers.map((header) => Object.freeze(header))) : none,
    tags: parsed.tags ? Object.freeze([...new Set(parsed.tags)]) : none,
    ...(parsed.topic === undefined ? {} : { topic: parsed.topic }),
    ...(parsed.campaign === undefined ? {} : { campaign: parsed.campaign }),
    metadata: parsed.metadata ? Object.freeze(parsed.metadata) : noMetadata,
    ...(parsed.calendar === undefined ? {} : { calendar: Object.freeze(parsed.calendar) }),
    ...(parsed.importance === undefined ? {} : { importance: parsed.importance }),
    ...(parsed.inReplyTo === undefined ? {} : { inReplyTo: parsed.inReplyTo }),
    references: parsed.references ? Object.freeze(parsed.references) : none,
    providerOptions: freezeDeep(parsed.providerOptions ?? {}),
  })
  const bytes = encodedSize(message)
  if (bytes > limits.messageBytes) {
    throw invalid([
      {
        path: 'attachments',
        code: 'too_large',
        message: `The encoded message takes about ${bytes} bytes; at most ${limits.messageBytes} are allowed.`,
      },
    ])
  }
  return { message, recipients: Object.freeze(recipients) }
}

function mailboxOf({ name, address }: ParsedMailbox): Mailbox {
  return Object.freeze(name === undefined || name === '' ? { address } : { name, address })
}

/** Depth is bounded by `copyPlain`. */
function freezeDeep<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const entry of Object.values(value)) freezeDeep(entry)
    Object.freeze(value)
  }
  return value
}
