import { MailError } from '../../errors.ts'
import type { PageRequest } from '../store.ts'

/** Where a page ended, as a text for callers. */
export const writeCursor = (place: readonly (string | number)[]): string =>
  Buffer.from(JSON.stringify(place)).toString('base64url')

const longest = 4_096

/** Where a page begins; undefined at the first. @throws MailError `VALIDATION_ERROR` for a cursor that is none of ours. */
export function readCursor<T extends readonly (string | number)[]>(
  { cursor }: PageRequest,
  types: readonly ('string' | 'number')[],
): T | undefined {
  if (cursor === undefined) return undefined
  try {
    if (typeof cursor === 'string' && cursor.length <= longest) {
      const place: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
      const fits = Array.isArray(place) && place.length === types.length
      if (fits && types.every((type, i) => typeof place[i] === type)) return place as unknown as T
    }
  } catch {}
  const message = 'Must be what the page before answered as its cursor.'
  throw new MailError('VALIDATION_ERROR', `cursor: ${message}`, {
    issues: [{ path: 'cursor', code: 'invalid_option', message }],
  })
}
