import { pageSize } from '../page.ts'
import type { Found, Look, Page, PageRequest, StoredSuppression } from '../store.ts'
import type { Connection } from './connection.ts'
import { readCursor, writeCursor } from './cursor.ts'
import { fromSql, tenantToSql, toSql } from './sql-text.ts'

interface Entry {
  readonly key: string
  readonly scope: string
  readonly reason: string
  readonly note: string | null
  readonly created_at: number
  readonly expires_at: number | null
}

const selectEntries = 'SELECT key, scope, reason, note, created_at, expires_at FROM sendwright_suppressions'

export function addSuppressions(connection: Connection, entries: readonly StoredSuppression[]): void {
  for (const { tenant, key, scope, reason, note, createdAt, expiresAt } of entries) {
    connection.run(
      `INSERT OR REPLACE INTO sendwright_suppressions (tenant, key, scope, reason, note, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)`,
      tenantToSql(tenant),
      toSql(key),
      toSql(scope),
      toSql(reason),
      note === undefined ? null : toSql(note),
      createdAt,
      expiresAt ?? null,
    )
  }
}

/** Every entry of one mailbox that covers now. */
export function suppressionsOf(connection: Connection, tenant: string | undefined, key: string): StoredSuppression[] {
  return connection
    .all<Entry>(
      `${selectEntries} WHERE tenant = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)`,
      tenantToSql(tenant),
      toSql(key),
      connection.time.wall(),
    )
    .map((entry) => suppressionOf(tenant, entry))
}

export function covering(
  connection: Connection,
  tenant: string | undefined,
  keys: readonly string[],
  scopes: readonly string[],
): (StoredSuppression | undefined)[] {
  return keys.map((key) => {
    const entries = suppressionsOf(connection, tenant, key)
    for (const scope of entries.length > 0 ? scopes : []) {
      const entry = entries.find((one) => one.scope === scope)
      if (entry) return entry
    }
    return undefined
  })
}

export const found = (connection: Connection, tenant: string | undefined, look: Look | undefined): Found =>
  look ? covering(connection, tenant, look.keys, look.scopes) : []

export function removeSuppressions(
  connection: Connection,
  tenant: string | undefined,
  key: string,
  scope: string | undefined,
): number {
  const removed = suppressionsOf(connection, tenant, key).filter(
    (entry) => scope === undefined || entry.scope === scope,
  )
  if (scope === undefined) {
    connection.run('DELETE FROM sendwright_suppressions WHERE tenant = ? AND key = ?', tenantToSql(tenant), toSql(key))
  } else {
    connection.run(
      'DELETE FROM sendwright_suppressions WHERE tenant = ? AND key = ? AND scope = ?',
      tenantToSql(tenant),
      toSql(key),
      toSql(scope),
    )
  }
  return removed.length
}

/** In the order of mailbox keys. */
export function listSuppressions(
  connection: Connection,
  tenant: string | undefined,
  page: PageRequest,
): Page<StoredSuppression> {
  const limit = pageSize(page)
  const after = readCursor<[string, string]>(page, ['string', 'string'])
  const entries = connection.all<Entry>(
    `${selectEntries} WHERE tenant = ? AND (key, scope) > (?, ?) AND (expires_at IS NULL OR expires_at > ?)
      ORDER BY key, scope LIMIT ?`,
    tenantToSql(tenant),
    toSql(after?.[0] ?? ''),
    toSql(after?.[1] ?? ''),
    connection.time.wall(),
    limit + 1,
  )
  const items = entries.slice(0, limit).map((entry) => suppressionOf(tenant, entry))
  const last = items.at(-1)
  return entries.length > limit && last ? { items, cursor: writeCursor([last.key, last.scope]) } : { items }
}

function suppressionOf(tenant: string | undefined, entry: Entry): StoredSuppression {
  const { key, scope, reason, note, created_at: createdAt, expires_at: expiresAt } = entry
  return {
    ...(tenant === undefined ? {} : { tenant }),
    key: fromSql(key),
    scope: fromSql(scope),
    reason: fromSql(reason),
    ...(note === null ? {} : { note: fromSql(note) }),
    createdAt,
    ...(expiresAt === null ? {} : { expiresAt }),
  }
}
