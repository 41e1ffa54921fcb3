import type { Move, Take, Window } from '../store.ts'
import { WindowSet, type WindowState } from '../window.ts'
import type { Connection } from './connection.ts'
import { toSql } from './sql-text.ts'

export function takeFromWindows(connection: Connection, key: string, windows: readonly Window[], cost: number): Take {
  const set = windowsOf(connection, key)
  const take = set.take(windows, cost, connection.time.steady())
  if (take.ok) keep(connection, key, set)
  return take
}

export function refundWindows(
  connection: Connection,
  key: string,
  windows: readonly Window[],
  cost: number,
  at: number,
): void {
  const set = windowsOf(connection, key)
  set.refund(windows, cost, at, connection.time.steady())
  keep(connection, key, set)
}

export function moveInWindows(
  connection: Connection,
  key: string,
  windows: readonly Window[],
  moves: readonly Move[],
): void {
  const set = windowsOf(connection, key)
  set.move(windows, moves, connection.time.steady())
  keep(connection, key, set)
}

export const windowUsage = (connection: Connection, key: string, windows: readonly Window[]): number[] =>
  windowsOf(connection, key).usage(windows, connection.time.steady())

function windowsOf(connection: Connection, key: string): WindowSet {
  const found = connection.get<{ state: string }>('SELECT state FROM sendwright_windows WHERE key = ?', toSql(key))
  return found ? WindowSet.from(JSON.parse(found.state) as WindowState[]) : new WindowSet()
}

function keep(connection: Connection, key: string, set: WindowSet): void {
  const now = connection.time.steady()
  const states = set.state(now)
  // The last bucket counts a little longer than the window is.
  const idleAt = Math.ceil(Math.max(now, ...states.map(({ per }) => now + 2 * per)))
  connection.run(
    `INSERT INTO sendwright_windows (key, idle_at, state) VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET idle_at = excluded.idle_at, state = excluded.state`,
    toSql(key),
    idleAt,
    JSON.stringify(states),
  )
}
