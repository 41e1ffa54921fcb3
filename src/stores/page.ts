import { MailError } from '../errors.ts'
import type { PageRequest } from './store.ts'

const mostItems = 1_000

/** Items on a page: 100 by default, 1 to 1,000. */
export function pageSize({ limit = 100 }: PageRequest): number {
  return Math.min(Math.max(Math.floor(limit) || 1, 1), mostItems)
}

/** The place a page of an `Ordered` begins at. @throws MailError `VALIDATION_ERROR` for a cursor that is none of ours. */
export function cursorPlace({ cursor }: PageRequest): number | undefined {
  if (cursor === undefined) return undefined
  if (typeof cursor === 'string' && /^\d{1,15}$/.test(cursor)) return Number(cursor)
  const message = 'Must be what the page before answered as its cursor.'
  throw new MailError('VALIDATION_ERROR', `cursor: ${message}`, {
    issues: [{ path: 'cursor', code: 'invalid_option', message }],
  })
}
