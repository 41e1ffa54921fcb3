/** Encoded words in display names (RFC 2047): `=?utf-8?Q?Bj=C3=B6rn?=`. */

interface EncodedWord {
  readonly charset: string
  readonly bytes: Buffer
}

/** One word of a display name: a bare one may be encoded, a quoted one never is (RFC 2047 section 5, rule 3). */
export interface NameWord {
  readonly text: string
  readonly quoted: boolean
}

const encoded = /^=\?([\w+-]{1,40})(?:\*[\w-]{1,35})?\?([bq])\?([!->@-~]*)\?=$/i
const base64 = /^(?:[a-z0-9+/]{4})*(?:[a-z0-9+/]{2}(?:==)?|[a-z0-9+/]{3}=?)?$/i
const quotedPrintable = /^(?:[^=]|=[0-9a-f]{2})*$/i

function readWord(word: NameWord): EncodedWord | undefined {
  const match = word.quoted ? null : encoded.exec(word.text)
  if (!match) return undefined
  const [, charset = '', encoding = '', text = ''] = match
  if (encoding.toLowerCase() === 'b') {
    return base64.test(text) ? { charset: charset.toLowerCase(), bytes: Buffer.from(text, 'base64') } : undefined
  }
  if (!quotedPrintable.test(text)) return undefined
  const plain = text
    .replaceAll('_', ' ')
    .replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return { charset: charset.toLowerCase(), bytes: Buffer.from(plain, 'latin1') }
}

function decode(charset: string, bytes: Buffer): string | undefined {
  try {
    return new TextDecoder(charset, { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/**
 * The name that words spell: encoded ones decoded, the white space between two of them dropped, all others joined by one
 * space. What cannot be decoded (an unknown charset, broken bytes) stays as it is written.
 */
export function joinWords(words: readonly NameWord[]): string {
  let name = ''
  let decodedBefore = false
  for (let i = 0; i < words.length; i++) {
    const first = readWord(words[i]!)
    const run = first ? [first] : []
    // senders cut long names inside a character, so bytes of one charset are put together before they are decoded
    for (let next = i + 1; first && next < words.length; next++) {
      const word = readWord(words[next]!)
      if (word?.charset !== first.charset) break
      run.push(word)
    }
    const text = first && decode(first.charset, Buffer.concat(run.map((word) => word.bytes)))
    if (text !== undefined) i += run.length - 1
    if (name !== '' && !(decodedBefore && text !== undefined)) name += ' '
    name += text ?? words[i]!.text
    decodedBefore = text !== undefined
  }
  return name
}
