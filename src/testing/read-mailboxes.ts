import { configurationError } from '../errors.ts'
import type { AcceptedAddress } from './scripted-server.ts'

/** Mailboxes of one header-like text, encoded words decoded: read by `postal-mime`, not by what wrote them. */
export async function readMailboxes(...texts: readonly string[]): Promise<AcceptedAddress[]> {
  const { addressParser, decodeWords } = await import('postal-mime').catch(() => {
    throw configurationError('reading accepted mail needs the package postal-mime: npm install --save-dev postal-mime')
  })
  return texts
    .flatMap((text) => addressParser(text, { flatten: true }))
    .map(({ name, address }) => ({ name: decodeWords(name), address: address ?? '' }))
}

/** A header value with its encoded words (RFC 2047) decoded. */
export async function readText(text: string): Promise<string> {
  const { decodeWords } = await import('postal-mime')
  return decodeWords(text)
}
