import type { Attachment, Delivery, Mailbox, MessageSnapshot } from '../../src/provider.ts'
import { headersOf, idHeader } from './carried.ts'
import { base64Length, encodingOf, quotedPrintable, writeBase64 } from './transfer.ts'
import { encodeText, encodeWords, formatMailbox } from './words.ts'

/** A stretch of the finished message: as it is, or bytes still to be written as base64. */
type Piece = { readonly bytes: Buffer } | { readonly base64: Uint8Array }

const bytes = (text: string): Piece => ({ bytes: Buffer.from(text) })

/** A node of the MIME tree: its own header lines, and what follows them. */
interface Part {
  readonly headers: readonly string[]
  readonly content: readonly Piece[]
}

const crlf = '\r\n'

/**
 * The delivery's message as MIME bytes: lines end in CRLF and nothing else, none is over 998 octets, header bytes are
 * ASCII but for mailboxes whose local part is not. Bcc is never in it. The same delivery always gives the same bytes.
 *
 * Our id travels as `X-Sendwright-Id`, each tag as an `X-Sendwright-Tag`, metadata as JSON in `X-Sendwright-Metadata`;
 * recipients can see them. Line ends in text and html become CRLF; attachments arrive byte by byte.
 */
export function compose(delivery: Delivery): Buffer {
  const { message } = delivery
  let boundaries = 0
  // Neither base64 nor quoted-printable can hold "=_", and no line of plain text begins with hyphens.
  const boundary = () => `=_${delivery.id.replace(/[^\w-]/g, '').slice(0, 50)}_${++boundaries}`
  const root = rootOf(message, boundary)
  const head = [...headOf(delivery), 'MIME-Version: 1.0', ...root.headers]
  return joined([bytes(`${head.join(crlf)}${crlf}${crlf}`), ...root.content])
}

function headOf({ id, messageId, createdAt, message }: Delivery): string[] {
  const { metadata } = message
  const lines = [field('From', formatMailbox(message.from)), field('To', mailboxes(message.to))]
  if (message.cc.length > 0) lines.push(field('Cc', mailboxes(message.cc)))
  if (message.replyTo.length > 0) lines.push(field('Reply-To', mailboxes(message.replyTo)))
  lines.push(
    field('Subject', encodeText(message.subject)),
    `Date: ${new Date(createdAt).toUTCString().replace('GMT', '+0000')}`,
    field('Message-ID', messageId),
  )
  for (const { name, value } of headersOf(message)) lines.push(field(name, encodeText(value)))
  lines.push(field(idHeader, id))
  for (const tag of message.tags) lines.push(field('X-Sendwright-Tag', encodeText(tag)))
  if (Object.keys(metadata).length > 0) lines.push(field('X-Sendwright-Metadata', encodeLong(JSON.stringify(metadata))))
  return lines
}

const mailboxes = (list: readonly Mailbox[]) => list.map(formatMailbox).join(', ')

/** Metadata is a line without blanks to fold at, however long: cut into encoded words when it would not fit. */
const encodeLong = (text: string) => (text.length > 900 ? encodeWords(text) : encodeText(text))

/** One header field, folded. Whatever would end the line early has been refused at the door; here it is taken out. */
function field(name: string, value: string): string {
  const line = `${name}: ${value}`.replace(/[\0-\x1f\x7f]/g, '')
  return line.length <= 76 ? line : folded(line, name.length + 2)
}

/** Breaks before blanks, so that unfolding gives the same text; never in the blanks at `from` or before. */
function folded(line: string, from: number): string {
  let result = ''
  let start = 0
  let last = -1
  for (let at = line.indexOf(' ', from); at !== -1; at = line.indexOf(' ', at + 1)) {
    const breaks = line[at + 1] !== ' ' && at + 1 < line.length
    if (at - start > 76 && last > start) {
      result += `${line.slice(start, last)}${crlf}`
      start = last
    }
    if (breaks) last = at
  }
  if (line.length - start > 76 && last > start) {
    result += `${line.slice(start, last)}${crlf}`
    start = last
  }
  return result + line.slice(start)
}

function rootOf(message: MessageSnapshot, boundary: () => string): Part {
  const { text, html, calendar } = message
  const inline = html === undefined ? [] : message.attachments.filter(({ contentId }) => contentId !== undefined)
  const attached = message.attachments.filter((attachment) => !inline.includes(attachment))
  const alternatives: Part[] = []
  if (text !== undefined) alternatives.push(textPart('text/plain; charset=utf-8', text))
  if (html !== undefined) {
    const page = textPart('text/html; charset=utf-8', html)
    const related = [page, ...inline.map((attachment) => filePart(attachment))]
    alternatives.push(inline.length === 0 ? page : multipart('related; type="text/html"', related, boundary()))
  }
  if (calendar !== undefined) {
    const type = `text/calendar; charset=utf-8; method=${calendar.method}`
    alternatives.push(textPart(`${type};${crlf} ${parameters('name', calendar.filename)}`, calendar.content))
  }
  const [only] = alternatives
  const body =
    alternatives.length === 1 && only !== undefined ? only : multipart('alternative', alternatives, boundary())
  return attached.length === 0 ? body : multipart('mixed', [body, ...attached.map(filePart)], boundary())
}

function multipart(type: string, parts: readonly Part[], boundary: string): Part {
  const content: Piece[] = []
  for (const part of parts) {
    content.push(bytes(`--${boundary}${crlf}${part.headers.join(crlf)}${crlf}${crlf}`), ...part.content, bytes(crlf))
  }
  content.push(bytes(`--${boundary}--${crlf}`))
  return { headers: [`Content-Type: multipart/${type};${crlf} boundary="${boundary}"`], content }
}

function textPart(type: string, text: string): Part {
  const lines = Buffer.from(text.includes('\r') ? text.replace(/\r\n?|\n/g, crlf) : text.replaceAll('\n', crlf))
  const encoding = encodingOf(lines)
  return {
    headers: [`Content-Type: ${type}`, `Content-Transfer-Encoding: ${encoding}`],
    content:
      encoding === 'base64'
        ? [{ base64: lines }]
        : [{ bytes: encoding === '7bit' ? lines : quotedPrintable(lines) }, bytes(crlf)],
  }
}

function filePart({ filename, content, contentType, contentId }: Attachment): Part {
  const type = contentType.replace(/[^\x20-\x7e]/g, '')
  // Readers run inline text into the message's own.
  const inline = contentId !== undefined && !/^(?:text|message)\//i.test(type)
  return {
    headers: [
      `Content-Type: ${type};${crlf} ${parameters('name', filename)}`,
      `Content-Disposition: ${inline ? 'inline' : 'attachment'};${crlf} ${parameters('filename', filename)}`,
      ...(contentId === undefined ? [] : [field('Content-ID', `<${contentId}>`)]),
      'Content-Transfer-Encoding: base64',
    ],
    content: [{ base64: content }],
  }
}

/** A parameter of any text and length: quoted, or in percent-encoded sections (RFC 2231). */
function parameters(name: string, value: string): string {
  if (/^[ -~]{1,60}$/.test(value)) return `${name}="${value.replace(/["\\]/g, '\\$&')}"`
  const encoded = [...value].map((character) =>
    /^[A-Za-z0-9._-]$/.test(character) ? character : percentEncoded(character),
  )
  const sections: string[] = ['']
  for (const unit of encoded) {
    if ((sections.at(-1)?.length ?? 0) + unit.length > 54) sections.push('')
    sections[sections.length - 1] += unit
  }
  return sections
    .map((section, index) => `${name}*${index}*=${index === 0 ? "utf-8''" : ''}${section}`)
    .join(`;${crlf} `)
}

const percentEncoded = (character: string) => Buffer.from(character).toString('hex').toUpperCase().replace(/../g, '%$&')

/** All pieces in one buffer, each written once. */
function joined(pieces: readonly Piece[]): Buffer {
  let length = 0
  for (const piece of pieces) length += 'bytes' in piece ? piece.bytes.length : base64Length(piece.base64.length)
  const target = Buffer.allocUnsafe(length)
  let at = 0
  for (const piece of pieces) {
    if ('bytes' in piece) at += piece.bytes.copy(target, at)
    else at = writeBase64(piece.base64, target, at)
  }
  return target
}
