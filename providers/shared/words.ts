import type { Mailbox } from '../../src/provider.ts'

/** Text in ASCII header fields: encoded words (RFC 2047) and mailboxes (RFC 5322), written by us whatever the API says. */

const printableAscii = /^[ -~]*$/
// 75 octets a word at most: `=?UTF-8?B?`, 60 of base64 for 45 bytes, `?=`.
const wordBytes = 45
const encoder = new TextEncoder()

/** As it is when printable ASCII that cannot be read as an encoded word, else encoded words with single blanks between. */
export function encodeText(text: string): string {
  return printableAscii.test(text) && !text.includes('=?') ? text : encodeWords(text)
}

/** Always encoded words; characters are not split between them. */
export function encodeWords(text: string): string {
  const bytes = encoder.encode(text)
  const words: string[] = []
  for (let start = 0; start < bytes.length; ) {
    let end = Math.min(start + wordBytes, bytes.length)
    // 10xxxxxx continues a character.
    while (end < bytes.length && ((bytes[end] as number) & 0xc0) === 0x80) end--
    words.push(`=?UTF-8?B?${Buffer.from(bytes.subarray(start, end)).toString('base64')}?=`)
    start = end
  }
  return words.join(' ')
}

const atoms = /^[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]*$/

/** `name <address>`, ASCII but for the local part: a name is atoms, a quoted string or encoded words. */
export function formatMailbox({ name, address }: Mailbox): string {
  if (!name) return address
  const encoded = encodeText(name)
  if (encoded !== name || atoms.test(name)) return `${encoded} <${address}>`
  return `"${name.replace(/["\\]/g, '\\$&')}" <${address}>`
}
