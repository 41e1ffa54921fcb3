import type { Delivery, Header, MessageSnapshot } from '../../src/provider.ts'

/**
 * How our own facts travel where an API has fields for data of the sender. Parsers of events read them back by these
 * names; the prefix keeps them apart from the provider's own.
 */
export const idName = 'sendwright_id'
export const metadataPrefix = 'sw_m_'
export const idHeader = 'X-Sendwright-Id'

/** Our id and the metadata as flat variables. */
export function variablesOf({ id, message }: Delivery): Record<string, string> {
  const variables: Record<string, string> = { [idName]: id }
  for (const [name, value] of Object.entries(message.metadata)) variables[metadataPrefix + name] = value
  return variables
}

/** The headers an API has no field for: custom ones in their order, then importance and the thread. */
export function headersOf(message: MessageSnapshot): Header[] {
  const headers = [...message.headers]
  if (message.importance === 'high' || message.importance === 'low') {
    headers.push({ name: 'Importance', value: message.importance })
    headers.push({ name: 'X-Priority', value: message.importance === 'high' ? '1' : '5' })
  }
  if (message.inReplyTo !== undefined) headers.push({ name: 'In-Reply-To', value: message.inReplyTo })
  if (message.references.length > 0) headers.push({ name: 'References', value: message.references.join(' ') })
  return headers
}

const plainLabel = /^[A-Za-z0-9_-]{1,256}$/
const encodedMark = 'b64_'

/** Any text as `[A-Za-z0-9_-]{1,256}`, reversible: itself, or base64url behind `b64_`. Undefined when it does not fit. */
export function encodeLabel(value: string): string | undefined {
  if (plainLabel.test(value) && !value.startsWith(encodedMark)) return value
  const label = encodedMark + Buffer.from(value).toString('base64url')
  return label.length <= 256 ? label : undefined
}

export function decodeLabel(label: string): string {
  return label.startsWith(encodedMark) ? Buffer.from(label.slice(encodedMark.length), 'base64url').toString() : label
}
