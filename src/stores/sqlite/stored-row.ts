import type { MessageStatus } from '../../receipt.ts'
import { rowOfRecord } from '../row-record.ts'
import { type Row, settledStatuses } from '../store.ts'
import type { Connection } from './connection.ts'
import { rowState } from './schema.ts'
import { fromSql, toSql } from './sql-text.ts'

/** The columns of a message but for its body. */
export interface StoredRow {
  readonly number: number
  readonly id: string
  readonly tenant: string
  readonly status: MessageStatus
  readonly accepted: number
  readonly created_at: number
  readonly state: number
  readonly wake: number | null
  readonly place: number | null
  readonly fence: number
  readonly key: string | null
  readonly key_until: number | null
  readonly kept_until: number | null
  readonly content_until: number | null
  readonly has_content: number
  readonly has_provider_id: number
  readonly earlier_provider_ids: string | null
  readonly labels: number | null
}

export interface WithBody extends StoredRow {
  readonly body: unknown
}

const columns = `number, id, tenant, status, accepted, created_at, state, wake, place, fence, key, key_until, kept_until,
  content_until, has_content, has_provider_id, earlier_provider_ids, labels`

export const selectRows = `SELECT ${columns}, body FROM sendwright_messages`

export const storedById = (connection: Connection, id: string): StoredRow | undefined =>
  connection.get<StoredRow>(`SELECT ${columns} FROM sendwright_messages WHERE id = ?`, toSql(id))

/** @param number Of a row that is there. */
export const storedByNumber = (connection: Connection, number: number): WithBody =>
  connection.get<WithBody>(`${selectRows} WHERE number = ?`, number)!

export const storedByKey = (connection: Connection, key: string): WithBody | undefined =>
  connection.get<WithBody>(`${selectRows} WHERE key = ?`, toSql(key))

export const isLeased = ({ state, wake }: StoredRow, now: number): boolean => state === rowState.leased && wake! > now

/** Whether its time is over: it may still be in the file, but no verb knows it any more. */
export const isGone = (stored: StoredRow, now: number): boolean =>
  settledStatuses.has(stored.status) && stored.kept_until !== null && stored.kept_until <= now && !isLeased(stored, now)

/** The row of `id` as it stands, if it is there. */
export function liveById(connection: Connection, id: string): WithBody | undefined {
  return live(connection, connection.get<WithBody>(`${selectRows} WHERE id = ?`, toSql(id)))
}

export function liveByNumber(connection: Connection, number: number): WithBody | undefined {
  return live(connection, connection.get<WithBody>(`${selectRows} WHERE number = ?`, number))
}

function live(connection: Connection, stored: WithBody | undefined): WithBody | undefined {
  return stored && !isGone(stored, connection.time.steady()) ? stored : undefined
}

/** @throws MailError `STORE_UNAVAILABLE` for a row that cannot be read. */
export function rowOf(connection: Connection, stored: WithBody): Row {
  const { number, body } = stored
  if (!hasContent(stored, connection.time.steady())) return rowWithoutContent(stored)
  const found = connection.get<{ content: unknown }>('SELECT content FROM sendwright_contents WHERE number = ?', number)
  return rowOfRecord(fromSql(stored.id), { body, content: found?.content ?? '' })
}

/** @throws MailError `STORE_UNAVAILABLE` for a row that cannot be read. */
export const rowWithoutContent = ({ id, body }: WithBody): Row => rowOfRecord(fromSql(id), { body })

function hasContent(stored: StoredRow, now: number): boolean {
  if (!stored.has_content) return false
  const kept = stored.content_until === null || stored.content_until > now || isLeased(stored, now)
  return kept || !(settledStatuses.has(stored.status) || stored.status === 'unknown')
}
