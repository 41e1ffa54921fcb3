import { hash } from 'node:crypto'

const mark = '\u001b'
/** Bytes: three such texts fit into one entry of an index. */
const longestIndexed = 640
/** Characters, of three bytes at most or half of four. */
const charactersKept = 190

/**
 * Text as PostgreSQL can hold it: NUL characters and lone surrogates, which it refuses, are escaped. Two texts never become
 * the same one; `textOf` gives back what was put in.
 */
export function storable(text: string): string {
  if (text.isWellFormed() && !text.includes('\0') && !text.includes(mark)) return text
  return text.replace(/[\0\u001b\p{Surrogate}]/gu, (character) =>
    character === mark ? mark + mark : mark + character.charCodeAt(0).toString(16).padStart(4, '0'),
  )
}

export function textOf(stored: string): string {
  if (!stored.includes(mark)) return stored
  return stored.replace(/\u001b(?:(\u001b)|([0-9a-f]{4})|e)/g, (_, marked?: string, code?: string) =>
    code === undefined ? (marked ?? '') : String.fromCharCode(Number.parseInt(code, 16)),
  )
}

/**
 * Text for an index: short, and never empty, so that every one comes after the empty text. Of a long one it is the beginning
 * and a hash, which `textOf` cannot undo. Two texts never become the same one.
 */
export function indexed(text: string): string {
  if (text === '') return `${mark}e`
  const whole = storable(text)
  if (whole.length * 3 <= longestIndexed || Buffer.byteLength(whole) <= longestIndexed) return whole
  return `${beginning(whole)}${mark}h${hash('sha256', whole, 'base64url')}`
}

/** Never half of a surrogate pair, nor of an escape. */
function beginning(text: string): string {
  const start = text.slice(0, charactersKept)
  return start.isWellFormed() ? start : start.slice(0, -1)
}

/** A tenant that is undefined is none that is called ''. */
export const tenantText = (tenant: string | undefined): string => (tenant === undefined ? '-' : `=${indexed(tenant)}`)

/** What something is looked up by: 128 bits of a hash over length-prefixed parts, as a UUID. */
export function labelOf(kind: string, ...parts: readonly (string | undefined)[]): string {
  let text = kind
  for (const part of parts) text += part === undefined ? '-;' : `${part.length}:${storable(part)};`
  return hash('sha256', text, 'hex').slice(0, 32)
}
