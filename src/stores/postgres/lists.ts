import { pageSize } from '../page.ts'
import type { ListQuery, Row, RowPage } from '../store.ts'
import { Cursor } from './cursor.ts'
import type { Functions } from './functions.ts'
import type { Call } from './pool.ts'
import { type Rows, recipientLabel, statusLabel, tagLabel } from './rows.ts'
import { tenantText, textOf } from './text.ts'
import { type GivenTime, wholeMs } from './time.ts'

const earliest = -(2 ** 50)
const latest = 2 ** 50

const cursor = new Cursor<[createdAt: number, id: string]>(
  ([createdAt, id, ...rest]) => Number.isSafeInteger(createdAt) && typeof id === 'string' && rest.length === 0,
)

/** Pages of rows, newest first. Rows come without their content: a page could hold a gigabyte of it. */
export class Lists {
  readonly #rows: Rows
  readonly #functions: Functions

  constructor(rows: Rows, functions: Functions) {
    this.#rows = rows
    this.#functions = functions
  }

  async list(call: Call, { now }: GivenTime, asked: ListQuery): Promise<RowPage> {
    const limit = pageSize(asked)
    const [at, id] = cursor.read(asked) ?? [latest, null]
    const found = await this.#functions.run(call, 'list', {
      now,
      ...placeOf(asked),
      since: asked.since === undefined ? earliest : wholeMs(asked.since),
      until: asked.until === undefined ? latest : wholeMs(asked.until) - 1,
      at,
      id,
      most: limit + 1,
    })
    const items: Row[] = []
    const unreadable: string[] = []
    for (const answer of found.slice(0, limit)) {
      try {
        items.push(this.#rows.rowOf(answer))
      } catch {
        unreadable.push(textOf(answer.id as string))
      }
    }
    const last = found[limit - 1]
    return {
      items,
      ...(found.length > limit && last ? { cursor: cursor.write([Number(last.created_at), last.id as string]) } : {}),
      ...(unreadable.length === 0 ? {} : { unreadable }),
    }
  }
}

function placeOf({ tenant, index }: ListQuery) {
  const place = { tenant: tenantText(tenant), label: null, dispatching: false }
  if (!index) return place
  if ('recipient' in index) return { ...place, label: recipientLabel(tenant, index.recipient) }
  if ('tag' in index) return { ...place, label: tagLabel(tenant, index.tag) }
  return index.status === 'dispatching'
    ? { ...place, dispatching: true }
    : { ...place, label: statusLabel(tenant, index.status) }
}
