/** Content transfer encodings (RFC 2045): how content becomes lines that any mail server passes on unchanged. */

export type TransferEncoding = '7bit' | 'quoted-printable' | 'base64'

/** Bytes of content on one line of 76 characters. */
const lineBytes = 57
/** Encoded at once, so that the text in between stays small whatever the content's size. */
const slabBytes = lineBytes * 1024

/** Octets `writeBase64` will write for so many bytes. */
export function base64Length(bytes: number): number {
  const text = Math.ceil(bytes / 3) * 4
  return text + 2 * Math.ceil(text / 76)
}

/** Writes `bytes` as base64 in lines of 76 characters, each with CRLF, and answers where it ended. */
export function writeBase64(bytes: Uint8Array, target: Buffer, at: number): number {
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const slab = Buffer.allocUnsafe(Math.min(base64Length(source.length), (slabBytes / 3) * 4) + 4)
  for (let start = 0; start < source.length; start += slabBytes) {
    const length = slab.write(source.toString('base64', start, start + slabBytes), 'latin1')
    for (let line = 0; line < length; line += 76) {
      const end = Math.min(line + 76, length)
      slab.copy(target, at, line, end)
      at += end - line
      target[at++] = 0x0d
      target[at++] = 0x0a
    }
  }
  return at
}

const space = 0x20
const tab = 0x09
const cr = 0x0d
const lf = 0x0a
const dot = 0x2e
const equals = 0x3d
const capitalF = 0x46
const hyphen = 0x2d

/** The lightest encoding for text whose lines end in CRLF and nothing else. */
export function encodingOf(text: Buffer): TransferEncoding {
  let escaped = 0
  let lineStart = 0
  let plain = true
  for (let at = 0; at < text.length; at++) {
    const byte = text[at] as number
    if (byte === lf) {
      if (at - lineStart > 900) plain = false
      const before = text[at - 2]
      if (before === space || before === tab) plain = false
      lineStart = at + 1
    } else if (byte > 0x7e || (byte < space && byte !== cr && byte !== tab)) escaped++
    else if (at === lineStart && (byte === capitalF || byte === dot || byte === hyphen)) {
      // "From " is altered by some mailboxes, a dot has to be stuffed, and two hyphens might look like a boundary.
      plain = false
    }
  }
  if (text.length - lineStart > 900) plain = false
  if (plain && escaped === 0) return '7bit'
  // Three octets for each escaped one against four for three.
  return escaped * 6 > text.length ? 'base64' : 'quoted-printable'
}

const hex = Buffer.from('0123456789ABCDEF')

/** 1 for octets that stand for themselves: visible ASCII but "=", and white space inside a line. */
const literal = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte === tab || (byte >= space && byte < 0x7f && byte !== equals) ? 1 : 0,
)

/** One column of 76 is left for the "=" of a soft break. */
const columns = 75

/** Text whose lines end in CRLF, in quoted-printable lines of 76 characters at most. No line begins with a dot. */
export function quotedPrintable(text: Buffer): Buffer {
  // The worst case: every octet escaped, and a soft break after 25 of them.
  const target = Buffer.allocUnsafe(text.length * 3 + 3 * Math.ceil(text.length / 24) + 6)
  let at = 0
  let column = 0
  const writeEscaped = (byte: number) => {
    target[at] = equals
    target[at + 1] = hex[byte >> 4] as number
    target[at + 2] = hex[byte & 15] as number
    at += 3
    column += 3
  }
  const breakSoftly = () => {
    target[at] = equals
    target[at + 1] = cr
    target[at + 2] = lf
    at += 3
    column = 0
  }
  let index = 0
  while (index < text.length) {
    if (column === 0 && (text[index] === dot || text[index] === capitalF)) writeEscaped(text[index++] as number)
    const start = index
    const end = Math.min(text.length, index + columns - column)
    while (index < end && literal[text[index] as number] === 1) target[at++] = text[index++] as number
    column += index - start

    const next = text[index]
    if (next === undefined || (next === cr && text[index + 1] === lf)) {
      const last = text[index - 1]
      if (index > start && (last === space || last === tab)) {
        // White space does not survive at the end of a line.
        at--
        column--
        if (column + 3 > columns) breakSoftly()
        writeEscaped(last)
      }
      if (next === undefined) break
      target[at++] = cr
      target[at++] = lf
      index += 2
      column = 0
    } else if (literal[next] === 1) breakSoftly()
    else {
      if (column + 3 > columns) breakSoftly()
      writeEscaped(next)
      index++
    }
  }
  return target.subarray(0, at)
}
