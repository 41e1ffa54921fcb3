import type { Connection } from './connection.ts'
import { rowState } from './schema.ts'

/** How often the steady time that was reached is written down, in milliseconds. */
const recordEvery = 10_000

interface Home {
  readonly version: number
  readonly boot: string
  readonly offset: number
  readonly highest: number
}

/**
 * Sets the steady time of this connection, inside a transaction. In the same boot it goes on; in a new one it continues
 * from what was reached before or from wall time, whichever is later, and the leases of the processes that boot ended are
 * over.
 */
export function continueTime(connection: Connection): void {
  const { time } = connection
  const home = homeOf(connection)
  const monotonic = time.monotonic()
  const known = home.boot === time.boot && home.highest > 0
  if (known && monotonic + home.offset >= home.highest) {
    time.offset = home.offset
    return
  }
  const start = Math.max(home.highest === 0 ? 0 : home.highest + recordEvery, time.wall())
  const offset = Math.ceil(start - monotonic)
  time.offset = offset
  connection.run('UPDATE sendwright_store SET boot = ?, offset = ?, highest = ?', time.boot, offset, start)
  connection.run(
    `UPDATE sendwright_messages INDEXED BY sendwright_messages_agenda SET wake = ?
      WHERE state = ${rowState.leased} AND wake > ?`,
    start,
    start,
  )
}

/**
 * To be called in every write transaction.
 *
 * @returns the version of the schema as it is now: a newer release may have changed it while this one was at work.
 */
export function keepTime(connection: Connection): number {
  const { time } = connection
  const { version, offset, highest } = homeOf(connection)
  time.offset = offset
  const now = time.steady()
  if (now - highest >= recordEvery) connection.run('UPDATE sendwright_store SET highest = ?', now)
  return version
}

const homeOf = (connection: Connection): Home =>
  connection.get<Home>('SELECT version, boot, offset, highest FROM sendwright_store')!
