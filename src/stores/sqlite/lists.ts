import type { MessageStatus } from '../../receipt.ts'
import { pageSize } from '../page.ts'
import { labelsOf } from '../row-record.ts'
import { type ListQuery, type Row, type RowPage, settledStatuses } from '../store.ts'
import type { Connection } from './connection.ts'
import { readCursor, writeCursor } from './cursor.ts'
import { labelOf } from './labels.ts'
import { fromSql, tenantToSql, toSql } from './sql-text.ts'
import { isGone, rowWithoutContent, selectRows, type WithBody } from './stored-row.ts'

/** Newest first, and of the same millisecond the higher id. */
interface Place {
  readonly created_at: number
  readonly id: string
  readonly number: number
}

/** Where rows are listed: answers up to `limit` places after one, in the order of the list. */
type Index = (after: Place, limit: number) => readonly Place[]

/** Rows that one call looks at. When most of them turn out to be over, the page ends early. */
const mostLooked = 2_500
const fewest = 16

const statuses: readonly MessageStatus[] = [...settledStatuses, 'unknown', 'queued', 'scheduled', 'dispatching']

/** Rows without their content, which no list shows and which may be large. */
export function listRows(connection: Connection, query: ListQuery): RowPage {
  const limit = pageSize(query)
  const cursor = readCursor<[number, string]>(query, ['number', 'string'])
  const index = indexOf(connection, query)
  const items: Row[] = []
  const unreadable: string[] = []
  let place = firstPlace(query, cursor)
  const page = (more: boolean): RowPage => ({
    items,
    ...(more ? { cursor: writeCursor([place.created_at, fromSql(place.id)]) } : {}),
    ...(unreadable.length > 0 ? { unreadable } : {}),
  })
  for (let looked = 0; looked < mostLooked; ) {
    const asked = Math.max(limit + 1 - items.length, fewest)
    const places = index(place, asked)
    for (const next of places) {
      const found = rowAt(connection, next, query)
      if (found && items.length === limit) return page(true)
      if (typeof found === 'string') unreadable.push(found)
      else if (found) items.push(found)
      place = next
    }
    if (places.length < asked) return page(false)
    looked += places.length
  }
  return page(true)
}

function firstPlace({ until = Number.MAX_SAFE_INTEGER }: ListQuery, cursor: [number, string] | undefined): Place {
  return cursor && cursor[0] < until
    ? { created_at: cursor[0], id: toSql(cursor[1]), number: 0 }
    : { created_at: until, id: '', number: 0 }
}

function indexOf(connection: Connection, { tenant, index, since = Number.MIN_SAFE_INTEGER }: ListQuery): Index {
  const byStatus = (status: MessageStatus, { created_at, id }: Place, limit: number) =>
    connection.all<Place>(
      `SELECT created_at, id, number FROM sendwright_messages INDEXED BY sendwright_messages_list
        WHERE accepted = 1 AND tenant = ? AND status = ? AND created_at BETWEEN ? AND ?
          AND (created_at < ? OR id < ?)
        ORDER BY created_at DESC, id DESC LIMIT ?`,
      tenantToSql(tenant),
      status,
      since,
      created_at,
      created_at,
      id,
      limit,
    )
  const byLabel = (label: number, { created_at, id }: Place, limit: number) =>
    connection.all<Place>(
      `SELECT listed.created_at, id, listed.number FROM sendwright_labels AS listed
        CROSS JOIN sendwright_messages AS message USING (number, created_at)
        WHERE label = ? AND listed.created_at BETWEEN ? AND ? AND (listed.created_at < ? OR id < ?)
        ORDER BY listed.created_at DESC, id DESC LIMIT ?`,
      label,
      since,
      created_at,
      created_at,
      id,
      limit,
    )
  if (!index) {
    // One index serves this list too, since every index costs every message: the statuses are merged.
    return (after, limit) =>
      statuses
        .flatMap((status) => byStatus(status, after, limit))
        .sort(newestFirst)
        .slice(0, limit)
  }
  if ('status' in index) return (after, limit) => byStatus(index.status, after, limit)
  const label = 'tag' in index ? labelOf('tag', tenant, index.tag) : labelOf('recipient', tenant, index.recipient)
  return (after, limit) => byLabel(label, after, limit)
}

/** As SQLite orders them, which compares texts by their bytes. */
const newestFirst = (a: Place, b: Place): number =>
  b.created_at - a.created_at || Buffer.compare(Buffer.from(b.id), Buffer.from(a.id))

/** The row there, its id when it cannot be read, or undefined when the place leads to none of this list. */
function rowAt(connection: Connection, { number, id }: Place, { tenant, index }: ListQuery): Row | string | undefined {
  const stored = connection.get<WithBody>(`${selectRows} WHERE number = ?`, number)
  if (!stored?.accepted || stored.tenant !== tenantToSql(tenant) || isGone(stored, connection.time.steady())) {
    return undefined
  }
  let row: Row
  try {
    row = rowWithoutContent(stored)
  } catch {
    return fromSql(id)
  }
  if (index && 'tag' in index && !row.tags.includes(index.tag)) return undefined
  if (index && 'recipient' in index && !labelsOf(row).recipients.includes(index.recipient)) return undefined
  return row
}
