import { MailError } from '../../errors.ts'
import type { PageRequest } from '../store.ts'
import { escaped, unescaped } from './names.ts'

const longest = 1_000

/** Texts as one opaque cursor. */
export const cursorOf = (...parts: readonly string[]): string =>
  Buffer.from(JSON.stringify(parts.map(unescaped))).toString('base64url')

/**
 * What `cursorOf` was given, or undefined without a cursor.
 *
 * @throws MailError `VALIDATION_ERROR` for a cursor that is none of ours.
 */
export function partsOf({ cursor }: PageRequest, count: number): readonly string[] | undefined {
  if (cursor === undefined) return undefined
  if (typeof cursor !== 'string' || cursor.length > longest) throw invalid()
  let parts: unknown
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    throw invalid()
  }
  if (!Array.isArray(parts) || parts.length !== count || parts.some((part) => typeof part !== 'string')) throw invalid()
  return parts.map(escaped)
}

export function invalid(): MailError {
  const message = 'Must be what the page before answered as its cursor.'
  return new MailError('VALIDATION_ERROR', `cursor: ${message}`, {
    issues: [{ path: 'cursor', code: 'invalid_option', message }],
  })
}
