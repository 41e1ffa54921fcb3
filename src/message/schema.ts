import { types } from 'node:util'
import type * as zod from 'zod'
import type { Issue } from '../errors.ts'
import type { ResolvedLimits } from '../limits.ts'
import { type AddressProblem, isProblem, type ParsedMailbox } from './address.ts'
import {
  type Bytes,
  cleanFilename,
  decodeContent,
  isContentId,
  isContentType,
  mostDecoded,
  within,
} from './attachments.ts'
import { checkHeader, checkMessageId, headerLimits } from './headers.ts'
import { StreamSource } from './plain.ts'
import { pathText } from './refusal.ts'
import { hasControl } from './text-rules.ts'

/** What the schema makes of a message: everything checked, streams still unread, defaults not yet filled in. */
export type ParsedMessage = zod.infer<ReturnType<typeof buildSchema>>
export type MessageSchema = ReturnType<typeof buildSchema>
type Zod = typeof zod
type Context = zod.core.$RefinementCtx

const label = /^[A-Za-z0-9_-]{1,128}$/
const metadataName = /^[A-Za-z0-9_-]{1,64}$/
const forbiddenNames = new Set(['__proto__', 'constructor', 'prototype'])
const mostMetadata = 20
const badCharacter = [
  'invalid_character',
  'Must not hold line breaks, tabs, other controls or broken Unicode.',
] as const
const mostOptionCharacters = 300_000
const mostIssues = 100

/** The one schema of a message (built once per set of limits: building is dear, parsing cheap). */
export function buildSchema(
  z: Zod,
  limits: ResolvedLimits,
  readAddress: (input: unknown) => ParsedMailbox | AddressProblem,
) {
  const refuse = (ctx: Context, code: string, message: string, path: readonly (string | number)[] = []) => {
    ctx.addIssue({ code: 'custom', message, params: { code }, path: [...path] })
    return z.NEVER
  }

  const text = (limit: number) =>
    z.unknown().transform((value, ctx) => {
      let string = value
      if (types.isUint8Array(value)) {
        if (value.byteLength > 4 * limit) return refuse(ctx, 'too_long', `Is longer than ${limit} characters.`)
        try {
          string = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value)
        } catch {
          return refuse(ctx, 'malformed_unicode', 'Is not valid UTF-8.')
        }
      }
      if (typeof string !== 'string') return refuse(ctx, 'invalid_type', 'Must be a string or UTF-8 bytes.')
      if (string.length > limit) return refuse(ctx, 'too_long', `Is longer than ${limit} characters.`)
      if (!string.isWellFormed()) return refuse(ctx, 'malformed_unicode', 'Holds a lone surrogate.')
      return string
    })

  const line = (most: number) =>
    z.unknown().transform((value, ctx) => {
      if (typeof value !== 'string') return refuse(ctx, 'invalid_type', 'Must be a string.')
      if (value.length === 0) return refuse(ctx, 'too_short', 'Must not be empty.')
      if (value.length > most) return refuse(ctx, 'too_long', `Is longer than ${most} characters.`)
      return hasControl(value) ? refuse(ctx, ...badCharacter) : value
    })

  const addresses = (most: number) =>
    z.unknown().transform((value, ctx) => {
      const list: readonly unknown[] = Array.isArray(value) ? value : [value]
      if (list.length > most) return refuse(ctx, 'too_many', `Holds more than ${most} addresses.`)
      const mailboxes: ParsedMailbox[] = []
      for (const [i, item] of list.entries()) {
        const mailbox = readAddress(item)
        if (isProblem(mailbox)) refuse(ctx, mailbox.code, mailbox.message, Array.isArray(value) ? [i] : [])
        else mailboxes.push(mailbox)
      }
      return mailboxes
    })

  const oneAddress = z.unknown().transform((value, ctx) => {
    const mailbox = readAddress(value)
    return isProblem(mailbox) ? refuse(ctx, mailbox.code, mailbox.message) : mailbox
  })

  const bytes = (content: unknown, encoding: unknown): Bytes | StreamSource => {
    if (typeof content === 'string') {
      if (encoding === 'utf8' || encoding === 'base64' || encoding === 'hex') {
        return decodeContent(content, encoding, limits.attachmentBytes)
      }
      return { code: 'encoding_required', message: "Is a string, so `encoding` must say 'utf8', 'base64' or 'hex'." }
    }
    if (encoding !== undefined) return { code: 'encoding_needless', message: '`encoding` is for string content only.' }
    if (types.isUint8Array(content)) return within(content, limits.attachmentBytes)
    if (content instanceof StreamSource) return content
    return { code: 'invalid_type', message: 'Must be a string with `encoding`, bytes, or a stream of bytes.' }
  }

  const attachment = z
    .strictObject({
      filename: z.string().max(1_000),
      content: z.unknown(),
      encoding: z.unknown().optional(),
      contentType: z.string().max(200).optional(),
      contentId: z.string().max(80).optional(),
    })
    .transform((value, ctx) => {
      const filename = cleanFilename(value.filename)
      if (filename === '' || filename.length > 255) {
        refuse(ctx, 'invalid_filename', 'Must leave 1 to 255 visible characters.', ['filename'])
      }
      if (value.contentType !== undefined && !isContentType(value.contentType)) {
        refuse(ctx, 'invalid_content_type', 'Must be type/subtype with parameters, and no multipart.', ['contentType'])
      }
      const contentId = value.contentId?.replace(/^<(.*)>$/, '$1')
      if (contentId !== undefined && !isContentId(contentId)) {
        refuse(ctx, 'invalid_content_id', 'Must be 1 to 78 visible ASCII characters without < or >.', ['contentId'])
      }
      const content = bytes(value.content, value.encoding)
      if ('code' in content) return refuse(ctx, content.code, content.message, ['content'])
      return { filename, content, contentType: value.contentType, contentId }
    })

  /** Before anything is decoded: how many there are, and what they come to together. */
  const attachments = z
    .unknown()
    .transform((value, ctx) => {
      if (!Array.isArray(value)) return refuse(ctx, 'invalid_type', 'Must be an array.')
      if (value.length > limits.attachments) {
        return refuse(ctx, 'too_many', `Holds more than ${limits.attachments} attachments.`)
      }
      let bytes = 0
      for (const item of value) {
        const { content, encoding } = (item ?? {}) as { content?: unknown; encoding?: unknown }
        if (typeof content === 'string') bytes += mostDecoded(content, encoding)
        else if (types.isUint8Array(content)) bytes += content.byteLength
      }
      return bytes > limits.messageBytes
        ? refuse(ctx, 'too_large', `Come to more than ${limits.messageBytes} bytes together.`)
        : (value as unknown[])
    })
    .pipe(z.array(attachment))

  const header = (ctx: Context, name: string, value: unknown, path: readonly (string | number)[]) => {
    const problem = checkHeader(name, value)
    if (problem) refuse(ctx, problem.code, problem.message, path)
    return { name, value: typeof value === 'string' ? value : '' }
  }

  const withinBytes = (ctx: Context, pairs: { name: string; value: string }[]) => {
    const bytes = pairs.reduce((sum, { name, value }) => sum + name.length + Buffer.byteLength(value), 0)
    return bytes > headerLimits.bytes
      ? refuse(ctx, 'too_large', `Holds more than ${headerLimits.bytes} bytes of names and values.`)
      : pairs
  }

  const headers = z.unknown().transform((value, ctx) => {
    if (typeof value !== 'object' || value === null) {
      return refuse(ctx, 'invalid_type', 'Must be { name: value } or a list of { name, value }.')
    }
    const pairs: { name: string; value: string }[] = []
    if (Array.isArray(value)) {
      if (value.length > limits.headers) return refuse(ctx, 'too_many', `Holds more than ${limits.headers} headers.`)
      for (const [i, item] of value.entries()) {
        const { name, value: text, ...rest } = (item ?? {}) as Record<string, unknown>
        if (Object.keys(rest).length > 0) refuse(ctx, 'unknown_field', 'A header is { name, value }.', [i])
        pairs.push(header(ctx, typeof name === 'string' ? name : '', text, [i]))
      }
      return withinBytes(ctx, pairs)
    }
    for (const [name, entry] of Object.entries(value)) {
      for (const one of Array.isArray(entry) ? entry : [entry]) {
        if (pairs.length >= limits.headers) return refuse(ctx, 'too_many', `Holds more than ${limits.headers} headers.`)
        pairs.push(header(ctx, name, one, [name]))
      }
    }
    return withinBytes(ctx, pairs)
  })

  const metadata = z.unknown().transform((value, ctx) => {
    const pairs: Record<string, string> = {}
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return refuse(ctx, 'invalid_type', 'Must be an object of strings, numbers or booleans.')
    }
    const entries = Object.entries(value)
    if (entries.length > mostMetadata) return refuse(ctx, 'too_many', `Holds more than ${mostMetadata} entries.`)
    for (const [name, entry] of entries) {
      if (!metadataName.test(name) || forbiddenNames.has(name)) {
        refuse(ctx, 'invalid_name', 'Names are 1 to 64 letters, digits, _ and -.', [name])
      } else if (typeof entry === 'boolean' || (typeof entry === 'number' && Number.isFinite(entry))) {
        pairs[name] = String(entry)
      } else if (typeof entry !== 'string') {
        refuse(ctx, 'invalid_type', 'Must be a string, a finite number or a boolean.', [name])
      } else {
        if (entry.length > 500) refuse(ctx, 'too_long', 'Is longer than 500 characters.', [name])
        else if (hasControl(entry)) refuse(ctx, ...badCharacter, [name])
        else pairs[name] = entry
      }
    }
    return pairs
  })

  const messageId = z.unknown().transform((value, ctx) => {
    const id = checkMessageId(value)
    return typeof id === 'string' ? id : refuse(ctx, id.code, id.message)
  })

  // zod leaves `__proto__` out in silence, so it is looked for before.
  const providerOptions = z
    .unknown()
    .superRefine((value, ctx) => {
      if (jsonSize(value) > mostOptionCharacters) {
        refuse(ctx, 'invalid_json', `Must be plain JSON of at most ${mostOptionCharacters} characters.`)
      }
    })
    .pipe(z.record(z.string(), z.record(z.string(), z.unknown())))

  return z.strictObject({
    from: oneAddress.optional(),
    to: addresses(Math.max(1_000, limits.recipients)),
    cc: addresses(Math.max(1_000, limits.recipients)).optional(),
    bcc: addresses(Math.max(1_000, limits.recipients)).optional(),
    replyTo: addresses(limits.replyTo).optional(),
    subject: line(limits.subject).optional(),
    text: text(limits.text).optional(),
    html: text(limits.html).optional(),
    attachments: attachments.optional(),
    headers: headers.optional(),
    tags: z.array(z.string().regex(label, 'Must be 1 to 128 letters, digits, _ and -.')).max(10).optional(),
    topic: z.string().regex(label, 'Must be 1 to 128 letters, digits, _ and -.').optional(),
    campaign: z.string().regex(label, 'Must be 1 to 128 letters, digits, _ and -.').optional(),
    metadata: metadata.optional(),
    calendar: z
      .strictObject({
        method: z.enum(['PUBLISH', 'REQUEST', 'REPLY', 'ADD', 'CANCEL', 'REFRESH', 'COUNTER', 'DECLINECOUNTER']),
        content: text(1_000_000),
        filename: z
          .string()
          .max(1_000)
          .transform((name) => cleanFilename(name) || 'invite.ics')
          .default('invite.ics'),
      })
      .optional(),
    importance: z.enum(['high', 'normal', 'low']).optional(),
    inReplyTo: messageId.optional(),
    references: z.union([z.array(messageId).max(50), messageId.transform((id) => [id])]).optional(),
    providerOptions: providerOptions.optional(),
  })
}

/** Characters of the value as JSON; Infinity for what JSON cannot hold. */
function jsonSize(value: unknown): number {
  if (value === null || typeof value === 'boolean') return 4
  if (typeof value === 'string') return value.isWellFormed() ? value.length + 2 : Number.POSITIVE_INFINITY
  if (typeof value === 'number') return Number.isFinite(value) ? 8 : Number.POSITIVE_INFINITY
  if (typeof value !== 'object' || types.isUint8Array(value) || value instanceof StreamSource) {
    return Number.POSITIVE_INFINITY
  }
  let size = 2
  for (const [name, entry] of Object.entries(value)) {
    if (forbiddenNames.has(name) || !name.isWellFormed()) return Number.POSITIVE_INFINITY
    if (entry === undefined && !Array.isArray(value)) continue
    size += name.length + 3 + jsonSize(entry)
  }
  return size
}

/** Our issues for zod's: stable codes, the caller's path, and no value of the input. */
export function issuesOf(error: zod.ZodError, prefix: readonly (string | number)[] = []): Issue[] {
  const issues: Issue[] = []
  for (const issue of error.issues) {
    const path = [...prefix, ...issue.path]
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys.slice(0, mostIssues)) {
        issues.push({
          path: pathText([...path, key]),
          code: 'unknown_field',
          message: 'Is no field of a message; remove it or correct its name.',
        })
      }
    } else if (issue.code === 'custom') {
      const code: unknown = issue.params?.code
      issues.push({ path: pathText(path), code: typeof code === 'string' ? code : 'invalid', message: issue.message })
    } else {
      issues.push({ path: pathText(path), ...wordsFor(issue) })
    }
    if (issues.length >= mostIssues) break
  }
  return issues
}

function wordsFor(issue: zod.core.$ZodIssue): { code: string; message: string } {
  switch (issue.code) {
    case 'invalid_type':
      return { code: 'invalid_type', message: `Must be of type ${issue.expected}.` }
    case 'too_big':
      return { code: issue.origin === 'array' ? 'too_many' : 'too_long', message: `Holds more than ${issue.maximum}.` }
    case 'too_small':
      return { code: 'too_short', message: `Holds fewer than ${issue.minimum}.` }
    case 'invalid_value':
      return { code: 'invalid_value', message: `Must be one of ${issue.values.map(String).join(', ')}.` }
    case 'invalid_format':
      return { code: 'invalid_format', message: issue.message }
    default:
      return { code: 'invalid', message: 'Is malformed.' }
  }
}
