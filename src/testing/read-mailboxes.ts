import { configurationError } from '../errors.ts'
import type { AcceptedAddress } from './scripted-server.ts'

/** Mailboxes of one header-like text, encoded words decoded: read by `postal-mime`, not by what wrote them. */
export async function readMailboxes(...texts: readonly string[]): Promise<AcceptedAddress[]> {
  const { addressParser } = await import('postal-mime').catch(() => {
    throw configurationError('reading accepted mail needs the package postal-mime: npm install --save-dev postal-mime')
  })
  return texts
    .flatMap((text) => addressParser(text, { flatten: true }))
    .map(({ name, address = '' }) => ({ name, address: quotedAgain(address) }))
}

/** The parser takes the quotes off the local part of a mailbox that stands without angle brackets. */
function quotedAgain(address: string): string {
  const at = address.lastIndexOf('@')
  const local = address.slice(0, at)
  if (local.startsWith('"') || !/[\s"(),:;<>@[\\\]]/.test(local)) return address
  return `"${local.replace(/["\\]/g, '\\$&')}"${address.slice(at)}`
}

/** A header value with its encoded words (RFC 2047) decoded. */
export async function readText(text: string): Promise<string> {
  const { decodeWords } = await import('postal-mime')
  return decodeWords(text)
}
