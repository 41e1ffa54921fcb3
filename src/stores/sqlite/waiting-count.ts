import { MailError } from '../../errors.ts'
import type { Connection } from './connection.ts'
import { isWaitingState } from './schedule.ts'
import { rowState } from './schema.ts'

const countEvery = 1_000
/** Counting takes at most this part of the time. */
const countShare = 1 / 50

/** About how many rows wait in the queue: counted now and then, and in between what this process added and took. */
export class WaitingCount {
  readonly #most: number
  #count = 0
  /** On the process's own clock. */
  #countAgainAt = 0

  constructor(most: number) {
    this.#most = most
  }

  /** A row went from one state to another; undefined stands for none. */
  moved(from: number | undefined, to: number | undefined): void {
    this.#count += Number(to !== undefined && isWaitingState(to)) - Number(from !== undefined && isWaitingState(from))
  }

  now(connection: Connection): number {
    const began = performance.now()
    this.#count = this.#counted(connection)
    const end = performance.now()
    this.#countAgainAt = end + Math.max(countEvery, (end - began) / countShare)
    return this.#count
  }

  /** @throws MailError `QUEUE_FULL` when there is no room for one more. */
  demandRoom(connection: Connection): void {
    const count = performance.now() < this.#countAgainAt ? this.#count : this.now(connection)
    if (count < this.#most) return
    throw new MailError(
      'QUEUE_FULL',
      `The SQLite store holds ${this.#most} waiting messages; wait for the queue to drain, or raise maxQueued.`,
    )
  }

  #counted(connection: Connection): number {
    const ready = connection.get<{ count: number }>(
      `SELECT count(*) AS count FROM sendwright_messages INDEXED BY sendwright_messages_ready WHERE state = ${rowState.ready}`,
    )!
    const later = connection.get<{ count: number }>(
      `SELECT count(*) AS count FROM sendwright_messages INDEXED BY sendwright_messages_waiting
        WHERE state IN (${rowState.delayed}, ${rowState.scheduled})`,
    )!
    return ready.count + later.count
  }
}
