import { pageSize } from '../page.ts'
import type { Found, MailStore, Page, PageRequest, StoredSuppression } from '../store.ts'
import { Cursor } from './cursor.ts'
import type { Database } from './database.ts'
import type { Functions } from './functions.ts'
import { indexed, storable, tenantText, textOf } from './text.ts'
import type { GivenTime } from './time.ts'

const cursor = new Cursor<[key: string, scope: string]>(
  (place) => place.length === 2 && place.every((part) => typeof part === 'string'),
)

/** Who must not be mailed: one row for each tenant, mailbox key and scope. */
export class Suppressions implements Required<MailStore['suppress']> {
  readonly #database: Database
  readonly #time: () => GivenTime
  readonly #functions: Functions

  constructor(database: Database, functions: Functions, time: () => GivenTime) {
    this.#database = database
    this.#time = time
    this.#functions = functions
  }

  async add(entries: readonly StoredSuppression[]): Promise<void> {
    if (entries.length === 0) return
    const unique = new Map<string, readonly unknown[]>()
    for (const entry of entries) {
      const place = [tenantText(entry.tenant), indexed(entry.key), indexed(entry.scope)]
      const rest = [
        storable(entry.reason),
        entry.note === undefined ? null : storable(entry.note),
        entry.createdAt,
        entry.expiresAt ?? null,
      ]
      unique.set(JSON.stringify(place), [...place, ...rest])
    }
    const sorted = [...unique].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, columns]) => columns)
    const column = (i: number) => sorted.map((columns) => columns[i])
    const [tenants, keys, scopes, reasons, notes, created, expires] = [0, 1, 2, 3, 4, 5, 6].map(column)
    const { wall } = this.#time()
    await this.#database.call((call) =>
      this.#functions.run(call, 'suppress', { wall, tenants, keys, scopes, reasons, notes, created, expires }),
    )
  }

  async hasMany(tenant: string | undefined, keys: readonly string[], scopes: readonly string[]): Promise<Found> {
    if (keys.length === 0) return []
    const [answer] = await this.#database.call((call) =>
      this.#functions.run(call, 'suppressed', {
        wall: this.#time().wall,
        tenant: tenantText(tenant),
        keys: keys.map(indexed),
        scopes: scopes.map(indexed),
      }),
    )
    return foundOf(tenant, keys, answer!.covered)
  }

  async get(tenant: string | undefined, key: string): Promise<StoredSuppression[]> {
    return (await this.#page(tenant, { key: indexed(key) })).map((row) => entryOf(tenant, key, row))
  }

  async remove(tenant: string | undefined, key: string, scope?: string): Promise<number> {
    const [answer] = await this.#database.call((call) =>
      this.#functions.run(call, 'unsuppress', {
        wall: this.#time().wall,
        tenant: tenantText(tenant),
        key: indexed(key),
        scope: scope === undefined ? null : indexed(scope),
      }),
    )
    return Number(answer!.removed)
  }

  /** In the order of mailbox keys. */
  async list(tenant: string | undefined, page: PageRequest): Promise<Page<StoredSuppression>> {
    const limit = pageSize(page)
    const [after_key, after_scope] = cursor.read(page) ?? ['', '']
    const rows = await this.#page(tenant, { after_key, after_scope, limit: limit + 1 })
    const items = rows.slice(0, limit).map((row) => entryOf(tenant, textOf(row.key as string), row))
    const last = rows[limit - 1]
    if (rows.length <= limit || !last) return { items }
    return { items, cursor: cursor.write([last.key as string, last.scope as string]) }
  }

  async #page(
    tenant: string | undefined,
    page: { key?: string; after_key?: string; after_scope?: string; limit?: number },
  ): Promise<readonly Record<string, unknown>[]> {
    const none = { key: null, after_key: null, after_scope: null, limit: null }
    return this.#database.call((call) =>
      this.#functions.run(call, 'suppressions_of', {
        ...none,
        ...page,
        wall: this.#time().wall,
        tenant: tenantText(tenant),
      }),
    )
  }
}

function entryOf(tenant: string | undefined, key: string, row: Record<string, unknown>): StoredSuppression {
  return {
    key,
    scope: textOf(row.scope as string),
    reason: textOf(row.reason as string),
    createdAt: Number(row.created_at),
    ...(tenant === undefined ? {} : { tenant }),
    ...(row.note === null ? {} : { note: textOf(row.note as string) }),
    ...(row.expires_at === null ? {} : { expiresAt: Number(row.expires_at) }),
  }
}

/** What a look found, of the JSON the server made of it. */
export function foundOf(tenant: string | undefined, keys: readonly string[] = [], found: unknown): Found {
  const answers: (StoredSuppression | undefined)[] = keys.map(() => undefined)
  if (typeof found !== 'string') return answers
  for (const [i, scope, reason, note, created_at, expires_at] of JSON.parse(found) as [number, ...unknown[]][]) {
    answers[i] = entryOf(tenant, keys[i]!, { scope, reason, note, created_at, expires_at })
  }
  return answers
}
