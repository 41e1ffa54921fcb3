import type { Connection } from './connection.ts'
import { toSql } from './sql-text.ts'

export function addToCounter(connection: Connection, key: string, amount: number): void {
  connection.run(
    `INSERT INTO sendwright_counters (key, value) VALUES (?, ?)
      ON CONFLICT DO UPDATE SET value = value + excluded.value`,
    toSql(key),
    amount,
  )
}

export const readCounters = (connection: Connection, keys: readonly string[]): number[] =>
  keys.map(
    (key) =>
      connection.get<{ value: number }>('SELECT value FROM sendwright_counters WHERE key = ?', toSql(key))?.value ?? 0,
  )

/** True the first time within `ttl` milliseconds. */
export function firstTime(connection: Connection, id: string, ttl: number): boolean {
  const now = connection.time.steady()
  return (
    connection.run(
      `INSERT INTO sendwright_once (id, until) VALUES (?, ?)
        ON CONFLICT DO UPDATE SET until = excluded.until WHERE until <= ?`,
      toSql(id),
      now + ttl,
      now,
    ) === 1
  )
}
