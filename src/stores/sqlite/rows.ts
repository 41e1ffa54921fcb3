import type { MessageStatus } from '../../receipt.ts'
import { isWaiting } from '../row-status.ts'
import {
  type Claim,
  type ClaimOptions,
  type Held,
  type Lease,
  type Look,
  type Renewed,
  type Row,
  type SettleOptions,
  settledStatuses,
} from '../store.ts'
import type { Connection } from './connection.ts'
import type { Draft } from './draft.ts'
import { labelRow, relabelRow, unlabelRow } from './row-labels.ts'
import { type Schedule, scheduleOf } from './schedule.ts'
import { rowState } from './schema.ts'
import { tenantToSql, toSql } from './sql-text.ts'
import {
  isGone,
  isLeased,
  liveById,
  rowOf,
  type StoredRow,
  selectRows,
  storedById,
  storedByKey,
  type WithBody,
} from './stored-row.ts'
import { found } from './suppressions.ts'
import type { WaitingCount } from './waiting-count.ts'

const day = 86_400_000

/** Messages: what claims, holds, settles and forgets them. Each verb is a part of a write transaction. */
export class Rows {
  readonly #waiting: WaitingCount

  constructor(waiting: WaitingCount) {
    this.#waiting = waiting
  }

  claim(connection: Connection, draft: Draft, options: ClaimOptions): Claim {
    const { row } = draft
    const { time } = connection
    const holder = this.#holderOf(connection, row)
    if (holder) {
      return { state: 'held', row: rowOf(connection, holder), leased: isLeased(holder, time.steady()) }
    }
    const keyUntil = row.key === undefined ? null : time.steady() + (options.keyTtl ?? day)
    const schedule = options.lease
      ? leased(time.steady() + options.lease.ms)
      : scheduleOf(row, time, options, keyUntil, null)
    if (!options.lease && isWaiting(row)) this.#waiting.demandRoom(connection)
    const fence = time.stamp()
    this.#insert(connection, draft, schedule, fence, keyUntil)
    return { state: 'claimed', fence, found: found(connection, row.tenant, options.look) }
  }

  renew(connection: Connection, draft: Draft, fence: number, leaseMs: number, look?: Look): Renewed | undefined {
    const stored = held(connection, draft.row.id, fence)
    if (!stored) return undefined
    const until = connection.time.steady() + leaseMs
    this.#update(connection, stored, draft, leased(until, stored), fence)
    return { found: found(connection, draft.row.tenant, look) }
  }

  settle(connection: Connection, draft: Draft, fence: number, options: SettleOptions): boolean {
    const { row } = draft
    const stored = held(connection, row.id, fence)
    if (!stored) return false
    if (options.remove) {
      this.remove(connection, stored)
      return true
    }
    // A message that was accepted has its place, whoever came in between.
    const isNew = !stored.accepted || settledStatuses.has(stored.status)
    if (isNew && isWaiting(row)) this.#waiting.demandRoom(connection)
    const freed = options.release === true && stored.key !== null
    const keyUntil = stored.key === null || freed ? null : stored.key_until
    this.#update(connection, stored, draft, scheduleOf(row, connection.time, options, keyUntil, stored.place), -fence)
    if (freed) freeKey(connection, stored)
    return true
  }

  takeover(connection: Connection, id: string, states: readonly MessageStatus[], lease: Lease): Held | undefined {
    const stored = liveById(connection, id)
    if (!stored || isLeased(stored, connection.time.steady()) || !states.includes(stored.status)) return undefined
    return this.take(connection, stored, lease)
  }

  /** @throws MailError `STORE_UNAVAILABLE` for a row that cannot be read; nothing is written then. */
  take(connection: Connection, stored: WithBody, lease: Lease): Held {
    const row = rowOf(connection, stored)
    const fence = Math.max(Math.abs(stored.fence) + 1, connection.time.stamp())
    connection.run(
      'UPDATE sendwright_messages SET state = ?, wake = ?, fence = ? WHERE number = ?',
      rowState.leased,
      connection.time.steady() + lease.ms,
      fence,
      stored.number,
    )
    this.#waiting.moved(stored.state, rowState.leased)
    return { row, fence }
  }

  /** Nobody is handed the row any more. */
  setAside(connection: Connection, { number, state }: StoredRow): void {
    connection.run(
      'UPDATE sendwright_messages SET state = ?, wake = NULL, place = NULL WHERE number = ?',
      rowState.resting,
      number,
    )
    this.#waiting.moved(state, rowState.resting)
  }

  /** Forgets a row and all that leads to it. */
  remove(connection: Connection, stored: StoredRow): void {
    unlabelRow(connection, stored)
    if (stored.has_content) this.dropContent(connection, stored)
    connection.run('DELETE FROM sendwright_messages WHERE number = ?', stored.number)
    this.#waiting.moved(stored.state, undefined)
  }

  dropContent(connection: Connection, { number }: StoredRow): void {
    connection.run('DELETE FROM sendwright_contents WHERE number = ?', number)
  }

  /** Who has the id or the key of `row`; a key whose life is over is taken from its row. */
  #holderOf(connection: Connection, row: Row): WithBody | undefined {
    const now = connection.time.steady()
    const same = connection.get<WithBody>(`${selectRows} WHERE id = ?`, toSql(row.id))
    if (same && !isGone(same, now)) return same
    if (same) this.remove(connection, same)
    const holder = row.key === undefined ? undefined : storedByKey(connection, row.key)
    if (!holder || !settledStatuses.has(holder.status) || holder.key_until! > now) return holder
    freeKey(connection, holder)
    return undefined
  }

  #insert(connection: Connection, draft: Draft, schedule: Schedule, fence: number, keyUntil: number | null): void {
    const { row, body, content, labels } = draft
    const { state, wake, place, keptUntil, contentUntil } = schedule
    const number = connection.insert(
      `INSERT INTO sendwright_messages (id, tenant, status, accepted, created_at, priority, state, wake, place, fence,
        key, key_until, kept_until, content_until, has_content, has_provider_id, labels, body)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      toSql(row.id),
      tenantToSql(row.tenant),
      row.status,
      Number(row.accepted),
      row.createdAt,
      row.priority,
      state,
      wake,
      place,
      fence,
      row.key === undefined ? null : toSql(row.key),
      keyUntil,
      keptUntil,
      contentUntil,
      Number(typeof content === 'string'),
      Number(row.providerMessageId !== undefined),
      labels,
      body,
    )!
    if (typeof content === 'string') {
      connection.run('INSERT INTO sendwright_contents (number, content) VALUES (?, ?)', number, content)
    }
    labelRow(connection, number, draft)
    this.#waiting.moved(undefined, state)
  }

  #update(connection: Connection, stored: StoredRow, draft: Draft, schedule: Schedule, fence: number): void {
    const { row, body, content, labels } = draft
    const { number } = stored
    const earlierIds = relabelRow(connection, stored, draft)
    const hasProviderId = Number(row.providerMessageId !== undefined || stored.has_provider_id)
    if (content === null && stored.has_content) this.dropContent(connection, stored)
    if (typeof content === 'string') {
      connection.run(
        'INSERT INTO sendwright_contents (number, content) VALUES (?, ?) ON CONFLICT DO UPDATE SET content = excluded.content',
        number,
        content,
      )
    }
    const hasContent = content === undefined ? stored.has_content : Number(content !== null)
    const { state, wake, place, keptUntil } = schedule
    const contentUntil = hasContent ? schedule.contentUntil : null
    const values = [state, wake, place, fence, keptUntil, contentUntil, hasContent, hasProviderId] as const
    const set = `state = ?, wake = ?, place = ?, fence = ?, kept_until = ?, content_until = ?, has_content = ?,
      has_provider_id = ?, earlier_provider_ids = ?, labels = ?, priority = ?, body = ?`
    const rest = [...values, earlierIds, labels, row.priority, body] as const
    if (isListedAlike(stored, row)) {
      connection.run(`UPDATE sendwright_messages SET ${set} WHERE number = ?`, ...rest, number)
    } else {
      connection.run(
        `UPDATE sendwright_messages SET ${set}, tenant = ?, status = ?, accepted = ?, created_at = ? WHERE number = ?`,
        ...rest,
        tenantToSql(row.tenant),
        row.status,
        Number(row.accepted),
        row.createdAt,
        number,
      )
    }
    this.#waiting.moved(stored.state, state)
  }
}

function leased(until: number, stored?: StoredRow): Schedule {
  const { place = null, kept_until: keptUntil = null, content_until: contentUntil = null } = stored ?? {}
  return { state: rowState.leased, wake: until, place, keptUntil, contentUntil }
}

/** The row this fence may write. */
function held(connection: Connection, id: string, fence: number): StoredRow | undefined {
  const stored = storedById(connection, id)
  return stored?.fence === fence && fence > 0 && !isGone(stored, connection.time.steady()) ? stored : undefined
}

const freeKey = (connection: Connection, { number }: StoredRow) =>
  connection.run('UPDATE sendwright_messages SET key = NULL WHERE number = ?', number)

/** Whether writing `row` leaves the indexes of the lists as they are. */
const isListedAlike = (stored: StoredRow, row: Row): boolean =>
  stored.status === row.status &&
  stored.accepted === Number(row.accepted) &&
  stored.created_at === row.createdAt &&
  stored.tenant === tenantToSql(row.tenant)
