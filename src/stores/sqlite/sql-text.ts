/** A text as SQLite is given it, and as it comes back. */
export type SqlText = string | Uint8Array

/**
 * SQLite keeps texts as UTF-8, in which lone surrogates become one and the same character, and Node 22 reads them up to the
 * first NUL. So that two texts never meet, those that hold either are kept as bytes, which equal no text.
 */
export const toSql = (text: string): SqlText =>
  text.isWellFormed() && !text.includes('\0') ? text : Buffer.from(text, 'utf16le')

export const fromSql = (stored: SqlText): string =>
  typeof stored === 'string' ? stored : Buffer.from(stored).toString('utf16le')

/** No tenant sorts first, and is none that has an empty name. */
export const tenantToSql = (tenant: string | undefined): SqlText => (tenant === undefined ? '' : toSql(`=${tenant}`))

export function tenantFromSql(stored: SqlText): string | undefined {
  return stored === '' ? undefined : fromSql(stored).slice(1)
}
