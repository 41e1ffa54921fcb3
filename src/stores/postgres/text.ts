import { hash } from 'node:crypto'

const mark = '\u001b'
const longestIndexed = 200

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
  return stored.replace(/\u001b(?:\u001b|([0-9a-f]{4}))/g, (_, code?: string) =>
    code === undefined ? mark : String.fromCharCode(Number.parseInt(code, 16)),
  )
}

/** Text short enough for an index: of a long one the beginning, and its hash. Two texts never become the same one. */
export function indexed(text: string): string {
  const whole = storable(text)
  if (whole.length <= longestIndexed) return whole
  const start = whole.slice(0, longestIndexed)
  return `${start.isWellFormed() ? start : start.slice(0, -1)}${mark}h${hash('sha256', whole, 'base64url')}`
}

/** A tenant that is undefined is none that is called ''. */
export const tenantText = (tenant: string | undefined): string => (tenant === undefined ? '-' : `=${indexed(tenant)}`)

/** What something is looked up by: 128 bits of a hash over length-prefixed parts, as a UUID. */
export function labelOf(kind: string, ...parts: readonly (string | undefined)[]): string {
  let text = kind
  for (const part of parts) text += part === undefined ? '-;' : `${part.length}:${storable(part)};`
  return hash('sha256', text, 'hex').slice(0, 32)
}
