import type { Entries } from '../entries.ts'
import type { Connection } from './connection.ts'
import type { GroupCommit } from './group-commit.ts'
import { fromSql, toSql } from './sql-text.ts'

/** Rows that one step of a clear deletes. */
const clearedAtOnce = 500

/** The application's other data, in the same file. */
export function sqliteEntries(commits: GroupCommit): Entries {
  return {
    get: (namespace, keys) => commits.read((connection) => keys.map((key) => storedValue(connection, namespace, key))),
    set: (namespace, entries) =>
      commits.write((connection) => {
        const now = connection.time.steady()
        for (const { key, value, ttl } of entries) {
          connection.run(
            `INSERT INTO sendwright_entries (namespace, key, value, until) VALUES (?, ?, ?, ?)
              ON CONFLICT DO UPDATE SET value = excluded.value, until = excluded.until`,
            toSql(namespace),
            toSql(key),
            toSql(value),
            ttl === undefined ? null : now + ttl,
          )
        }
      }),
    delete: (namespace, keys) => commits.write((connection) => keys.map((key) => remove(connection, namespace, key))),
    async clear(namespace) {
      while (await commits.write((connection) => removeSome(connection, namespace)));
    },
    scan: (namespace, after, limit) =>
      commits.read((connection) =>
        connection
          .all<{ key: string; value: string }>(
            `SELECT key, value FROM sendwright_entries
              WHERE namespace = ? AND key ${after === undefined ? '>=' : '>'} ? AND (until IS NULL OR until > ?)
              ORDER BY key LIMIT ?`,
            toSql(namespace),
            toSql(after ?? ''),
            connection.time.steady(),
            limit,
          )
          .map(({ key, value }) => [fromSql(key), fromSql(value)] as const),
      ),
  }
}

function storedValue(connection: Connection, namespace: string, key: string): string | undefined {
  const found = connection.get<{ value: string }>(
    'SELECT value FROM sendwright_entries WHERE namespace = ? AND key = ? AND (until IS NULL OR until > ?)',
    toSql(namespace),
    toSql(key),
    connection.time.steady(),
  )
  return found && fromSql(found.value)
}

function remove(connection: Connection, namespace: string, key: string): boolean {
  const there = storedValue(connection, namespace, key) !== undefined
  connection.run('DELETE FROM sendwright_entries WHERE namespace = ? AND key = ?', toSql(namespace), toSql(key))
  return there
}

const removeSome = (connection: Connection, namespace: string): boolean =>
  connection.run(
    `DELETE FROM sendwright_entries WHERE rowid IN (
      SELECT rowid FROM sendwright_entries WHERE namespace = ? LIMIT ${clearedAtOnce})`,
    toSql(namespace),
  ) > 0
