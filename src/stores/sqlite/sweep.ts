import { settledStatuses } from '../store.ts'
import type { Connection } from './connection.ts'
import type { Rows } from './rows.ts'
import { rowState } from './schema.ts'
import { isGone, type StoredRow, storedByNumber } from './stored-row.ts'

/** Operations, or milliseconds, from one step to the next. */
const everyOperations = 16
const everyMs = 1_000
/** Messages that one step forgets: more than the operations since the last one brought, so that sweeping keeps pace. */
const fewest = 16
const perOperation = 2
const most = 128
/** Milliseconds of one step: to forget large content takes its time. */
const longestStep = 8
/** Entries of each of the small tables that one transaction looks at. */
const lookedAtOnce = 32
/** A step of the wall clock must not take away for good what is suppressed until a day it has not reached. */
const suppressionsKept = 7 * 86_400_000

interface Small {
  readonly table: string
  readonly order: string
  readonly until: string
  readonly now: (connection: Connection) => number
}

const steady = ({ time }: Connection) => time.steady()

const smallTables: readonly Small[] = [
  { table: 'sendwright_once', order: 'id', until: 'until', now: steady },
  { table: 'sendwright_windows', order: 'key', until: 'idle_at', now: steady },
  { table: 'sendwright_entries', order: 'namespace, key', until: 'until', now: steady },
  {
    table: 'sendwright_suppressions',
    order: 'tenant, key, scope',
    until: 'expires_at',
    now: ({ time }) => time.wall() - suppressionsKept,
  },
]

/** Forgets what is over, a little with every transaction. */
export class Sweep {
  readonly #rows: Rows
  /** Where the round through each small table goes on. */
  readonly #places = new Map<Small, readonly string[]>()
  #operations = 0
  /** On the process's own clock. */
  #nextAt = 0

  constructor(rows: Rows) {
    this.#rows = rows
  }

  step(connection: Connection, operations: number): void {
    this.#operations += operations
    const now = performance.now()
    if (this.#operations < everyOperations && now < this.#nextAt) return
    this.#sweepMessages(connection, Math.min(most, fewest + perOperation * this.#operations))
    this.#operations = 0
    this.#nextAt = now + everyMs
    for (const small of smallTables) this.#sweepSmall(connection, small)
  }

  #sweepMessages(connection: Connection, count: number): void {
    const started = performance.now()
    let left = count
    for (const state of [rowState.kept, rowState.content]) {
      const over = connection.all<{ number: number }>(
        `SELECT number FROM sendwright_messages INDEXED BY sendwright_messages_agenda
          WHERE state = ${state} AND wake <= ? ORDER BY wake LIMIT ${most}`,
        connection.time.steady(),
      )
      for (const { number } of over.slice(0, left)) {
        const stored = storedByNumber(connection, number)
        if (state === rowState.kept && isGone(stored, connection.time.steady())) this.#rows.remove(connection, stored)
        else this.#dropContent(connection, stored)
        if (performance.now() - started >= longestStep) return
      }
      left = Math.max(0, left - over.length)
    }
  }

  #dropContent(connection: Connection, stored: StoredRow): void {
    const settled = settledStatuses.has(stored.status) && stored.kept_until !== null
    this.#rows.dropContent(connection, stored)
    connection.run(
      'UPDATE sendwright_messages SET state = ?, wake = ?, has_content = 0, content_until = NULL WHERE number = ?',
      settled ? rowState.kept : rowState.resting,
      settled ? stored.kept_until : null,
      stored.number,
    )
  }

  #sweepSmall(connection: Connection, small: Small): void {
    const { table, order, until, now } = small
    const width = order.split(', ').length
    const after = this.#places.get(small) ?? Array.from({ length: width }, () => '')
    const marks = after.map(() => '?').join(', ')
    const looked = connection.all<Record<string, string | number | null>>(
      `SELECT ${order}, ${until} AS ends FROM ${table} WHERE (${order}) > (${marks}) ORDER BY ${order} LIMIT ${lookedAtOnce}`,
      ...after,
    )
    const moment = now(connection)
    let place = after
    for (const { ends, ...key } of looked) {
      place = Object.values(key) as string[]
      if (typeof ends !== 'number' || ends > moment) continue
      connection.run(`DELETE FROM ${table} WHERE (${order}) = (${marks})`, ...place)
    }
    if (looked.length === lookedAtOnce) this.#places.set(small, place)
    else this.#places.delete(small)
  }
}
