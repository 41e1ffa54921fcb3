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

/** Text whose lines end in CRLF, in quoted-printable lines of 76 characters at most. No line begins with a dot. */
export function quotedPrintable(text: Buffer): Buffer {
  // The worst case: every octet escaped, and a soft break after 25 of them.
  const target = Buffer.allocUnsafe(text.length * 3 + 3 * Math.ceil(text.length / 24) + 3)
  let at = 0
  let column = 0
  for (let index = 0; index < text.length; index++) {
    const byte = text[index] as number
    if (byte === cr && text[index + 1] === lf) {
      target[at++] = cr
      target[at++] = lf
      index++
      column = 0
      continue
    }
    const endsLine = index + 1 === text.length || text[index + 1] === cr
    const literal =
      byte === space || byte === tab
        ? !endsLine
        : byte > space && byte < 0x7f && byte !== equals && (column > 0 || !(byte === dot || byte === capitalF))
    // One column is left for the "=" of a soft break.
    if (column + (literal ? 1 : 3) > 75) {
      target[at++] = equals
      target[at++] = cr
      target[at++] = lf
      column = 0
      index--
      continue
    }
    if (literal) {
      target[at++] = byte
      column++
    } else {
      target[at++] = equals
      target[at++] = hex[byte >> 4] as number
      target[at++] = hex[byte & 15] as number
      column += 3
    }
  }
  return target.subarray(0, at)
}
