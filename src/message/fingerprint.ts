import { createHash, type Hash } from 'node:crypto'
import type { Mailbox, MessageSnapshot } from './message.ts'

/**
 * A digest over the normalised snapshot in a canonical, length-prefixed encoding (INVARIANTS K2): the order of keys,
 * absent or undefined fields and the container of bytes make no difference; any difference in what is sent does.
 */
export function fingerprint(message: MessageSnapshot): string {
  const hash = createHash('sha256')
  const field = (name: string, value: string | undefined) => {
    if (value !== undefined) hash.update(`${name}:${Buffer.byteLength(value)}:${value};`)
  }
  field('from', mailboxText(message.from))
  for (const name of ['to', 'cc', 'bcc', 'replyTo'] as const) {
    for (const mailbox of message[name]) field(name, mailboxText(mailbox))
  }
  field('subject', message.subject)
  field('text', message.text)
  field('html', message.html)
  for (const attachment of message.attachments) {
    field('filename', attachment.filename)
    field('contentType', attachment.contentType)
    field('contentId', attachment.contentId)
    hashBytes(hash, attachment.content)
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
  if (Object.keys(message.providerOptions).length > 0) field('providerOptions', canonicalJson(message.providerOptions))
  return hash.digest('base64url')
}

/** A key of fixed length from parts of any text; no two lists of parts give the same (INVARIANTS S2). */
export function hashKey(...parts: readonly (string | undefined)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part === undefined ? '-;' : `${Buffer.byteLength(part)}:${part};`)
  return hash.digest('base64url')
}

const mailboxText = ({ name, address }: Mailbox) => `${address} ${name ?? ''}`

function hashBytes(hash: Hash, bytes: Uint8Array): void {
  hash.update(`content:${bytes.byteLength}:`)
  hash.update(bytes)
  hash.update(';')
}

/** JSON with sorted keys. The value is plain and its depth bounded. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, entry: unknown) =>
    typeof entry === 'object' && entry !== null && !Array.isArray(entry)
      ? Object.fromEntries(Object.entries(entry).sort(([a], [b]) => (a < b ? -1 : 1)))
      : entry,
  )
}
