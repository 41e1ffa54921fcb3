import { MailError } from '../../errors.ts'
import type { PageRequest } from '../store.ts'

/** Where a page ended, as an opaque text. */
export class Cursor<T extends readonly unknown[]> {
  readonly #isPlace: (place: readonly unknown[]) => boolean

  constructor(isPlace: (place: readonly unknown[]) => boolean) {
    this.#isPlace = isPlace
  }

  write(place: T): string {
    return Buffer.from(JSON.stringify(place)).toString('base64url')
  }

  /** @throws MailError `VALIDATION_ERROR` for a cursor that is none of ours. */
  read({ cursor }: PageRequest): T | undefined {
    if (cursor === undefined) return undefined
    const place = parsed(cursor)
    if (Array.isArray(place) && this.#isPlace(place) && this.write(place as unknown as T) === cursor) {
      return place as unknown as T
    }
    const message = 'Must be what the page before answered as its cursor.'
    throw new MailError('VALIDATION_ERROR', `cursor: ${message}`, {
      issues: [{ path: 'cursor', code: 'invalid_option', message }],
    })
  }
}

const longestCursor = 10_000

function parsed(cursor: unknown): unknown {
  if (typeof cursor !== 'string' || cursor.length > longestCursor) return undefined
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString())
  } catch {
    return undefined
  }
}
