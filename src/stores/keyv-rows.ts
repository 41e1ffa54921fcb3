import { type KeyvRecords, recordKey } from './keyv-records.ts'
import { withoutContent } from './row-content.ts'
import { type RowJson, rowFromJson, rowToJson } from './row-json.ts'
import { isWork } from './row-status.ts'
import { defaultRetention, type Retention, type Row, settledStatuses } from './store.ts'

interface StoredRow {
  readonly row: RowJson
  /** In the time of `now`; absent when nobody holds it. */
  readonly leasedUntil?: number
  readonly keptUntil?: number
  readonly contentUntil?: number
}

export interface ReadRow {
  readonly row: Row
  readonly leasedUntil: number | undefined
}

export interface WriteOptions {
  readonly leaseMs?: number
  readonly retention?: Retention
  /** A settled row does not end before its key. */
  readonly keyUntil?: number
}

interface StoredKey {
  readonly id: string
  readonly until: number
}

/** Rows and idempotency keys as records of a Keyv. Whoever reads and then writes has locked the record. */
export class KeyvRows {
  readonly #records: KeyvRecords
  readonly #now: () => number

  /** @param now Wall time that no step of the wall clock moves. */
  constructor(records: KeyvRecords, now: () => number) {
    this.#records = records
    this.#now = now
  }

  async read(id: string): Promise<ReadRow | undefined> {
    const stored = await this.#records.read<StoredRow>(rowKey(id))
    if (!stored) return undefined
    const now = this.#now()
    if (stored.keptUntil !== undefined && stored.keptUntil <= now) return undefined
    const row = rowFromJson(stored.row)
    const spent = stored.contentUntil !== undefined && stored.contentUntil <= now
    return { row: spent ? withoutContent(row) : row, leasedUntil: stored.leasedUntil }
  }

  async write(row: Row, { leaseMs, retention, keyUntil = 0 }: WriteOptions): Promise<void> {
    const now = this.#now()
    const { records: least = defaultRetention.records, content = defaultRetention.content } = retention ?? {}
    const records = Math.max(least, keyUntil - now)
    const settled = settledStatuses.has(row.status) && leaseMs === undefined
    const spare = row.work !== undefined && !isWork(row)
    const stored: StoredRow = {
      row: rowToJson(row),
      ...(leaseMs === undefined ? {} : { leasedUntil: now + leaseMs }),
      ...(settled ? { keptUntil: now + records } : {}),
      ...(spare ? { contentUntil: now + content } : {}),
    }
    await this.#records.write(rowKey(row.id), stored, settled ? records : Number.POSITIVE_INFINITY)
    if (row.providerMessageId === undefined) return
    await this.#records.write(recordKey('provider', row.providerMessageId), { id: row.id }, records)
  }

  /** The row that holds `key` now. */
  async holderOf(key: string | undefined): Promise<ReadRow | undefined> {
    const held = key === undefined ? undefined : await this.#records.read<StoredKey>(keyKey(key))
    const stored = held && (await this.read(held.id))
    return stored && (held.until > this.#now() || !settledStatuses.has(stored.row.status)) ? stored : undefined
  }

  /** A key outlives its time while its row is unsettled or unknown. */
  async writeKey(key: string, held: StoredKey, row: Row): Promise<void> {
    const settled = settledStatuses.has(row.status)
    await this.#records.write(keyKey(key), held, settled ? held.until - this.#now() : Number.POSITIVE_INFINITY)
  }

  /** The key as `id` holds it. */
  async keyOf(key: string, id: string): Promise<StoredKey | undefined> {
    const held = await this.#records.read<StoredKey>(keyKey(key))
    return held?.id === id ? held : undefined
  }

  async remove(id: string): Promise<void> {
    await this.#records.delete(rowKey(id))
  }

  async removeKey(key: string): Promise<void> {
    await this.#records.delete(keyKey(key))
  }
}

export const rowKey = (id: string): string => recordKey('row', id)
export const keyKey = (key: string): string => recordKey('key', key)
