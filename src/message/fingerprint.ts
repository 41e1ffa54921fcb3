import { createHash, hash } from 'node:crypto'
import type { Mailbox, MessageSnapshot } from './message.ts'

/**
 * A digest over the normalised snapshot in a canonical, length-prefixed encoding (INVARIANTS K2): the order of keys,
 * absent or undefined fields and the container of bytes make no difference; any difference in what is sent does.
 */
export function fingerprint(message: MessageSnapshot): string {
  const encoding = encode(message)
  if (message.attachments.length === 0) return hash('sha256', encoding, 'base64url')
  const digest = createHash('sha256').update(encoding)
  for (const { content } of message.attachments) digest.update(`content:${content.byteLength}:`).update(content)
  return digest.digest('base64url')
}

/** Everything but attachment bytes; lengths are in UTF-16 units, which a well-formed text determines. */
function encode(message: MessageSnapshot): string {
  let text = ''
  const field = (name: string, value: string | undefined) => {
    if (value !== undefined) text += `${name}:${value.length}:${value};`
  }
  field('from', mailboxText(message.from))
  for (const mailbox of message.to) field('to', mailboxText(mailbox))
  for (const mailbox of message.cc) field('cc', mailboxText(mailbox))
  for (const mailbox of message.bcc) field('bcc', mailboxText(mailbox))
  for (const mailbox of message.replyTo) field('replyTo', mailboxText(mailbox))
  field('subject', message.subject)
  field('text', message.text)
  field('html', message.html)
  for (const attachment of message.attachments) {
    field('filename', attachment.filename)
    field('contentType', attachment.contentType)
    field('contentId', attachment.contentId)
    field('bytes', String(attachment.content.byteLength))
  }
  for (const { name, value } of message.headers) {
    field('headerName', name.toLowerCase())
    field('headerValue', value)
  }
  for (const tag of message.tags) field('tag', tag)
  field('topic', message.topic)
  field('campaign', message.campaign)
  for (const name of Object.keys(message.metadata).sort()) {
    field('metadataName', name)
    field('metadataValue', message.metadata[name])
  }
  field('calendar', message.calendar && canonicalJson(message.calendar))
  field('importance', message.importance)
  field('inReplyTo', message.inReplyTo)
  for (const reference of message.references) field('reference', reference)
  for (const name of Object.keys(message.providerOptions).sort()) {
    field('providerName', name)
    field('providerOptions', canonicalJson(message.providerOptions[name]))
  }
  return text
}

/** A key of fixed length from parts of any text; no two lists of parts give the same (INVARIANTS S2). */
export function hashKey(...parts: readonly (string | undefined)[]): string {
  let text = ''
  for (const part of parts) text += part === undefined ? '-;' : `${part.length}:${part};`
  return hash('sha256', text, 'base64url')
}

const mailboxText = ({ name, address }: Mailbox) => `${address} ${name ?? ''}`

/** JSON with sorted keys. The value is plain and its depth bounded. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, entry: unknown) =>
    typeof entry === 'object' && entry !== null && !Array.isArray(entry)
      ? Object.fromEntries(Object.entries(entry).sort(([a], [b]) => (a < b ? -1 : 1)))
      : entry,
  )
}
