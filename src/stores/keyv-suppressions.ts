import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import { type KeyvRecords, recordKey } from './keyv-records.ts'
import type { MailStore, Page, StoredSuppression } from './store.ts'

interface StoredMailbox {
  readonly entries: readonly StoredSuppression[]
}

const batch = 50

/** Runs `task` alone for its record. */
export type Exclusive = <T>(record: string, task: () => Promise<T>) => Promise<T>

/** Suppressions in a Keyv: one record for each mailbox of a tenant, found by its address only. */
export class KeyvSuppressions {
  readonly #records: KeyvRecords
  readonly #clock: Clock
  readonly #exclusive: Exclusive

  constructor(records: KeyvRecords, clock: Clock, exclusive: Exclusive) {
    this.#records = records
    this.#clock = clock
    this.#exclusive = exclusive
  }

  /** When it fails, some of the entries may have been kept; adding them again is right. */
  async add(entries: readonly StoredSuppression[]): Promise<void> {
    for (let i = 0; i < entries.length; i += batch) {
      await Promise.all(entries.slice(i, i + batch).map((entry) => this.#put(entry)))
    }
  }

  async hasMany(
    tenant: string | undefined,
    keys: readonly string[],
    scopes: readonly string[],
  ): Promise<(StoredSuppression | undefined)[]> {
    return Promise.all(
      keys.map(async (key) => {
        const entries = await this.get(tenant, key)
        for (const scope of entries.length > 0 ? scopes : []) {
          const entry = entries.find((one) => one.scope === scope)
          if (entry) return entry
        }
        return undefined
      }),
    )
  }

  get(tenant: string | undefined, key: string): Promise<readonly StoredSuppression[]> {
    const record = recordOf(tenant, key)
    // Alone: a Keyv that finds a record expired deletes the key, also one written anew since.
    return this.#exclusive(record, () => this.#read(record))
  }

  remove(tenant: string | undefined, key: string, scope?: string): Promise<number> {
    const record = recordOf(tenant, key)
    return this.#exclusive(record, async () => {
      const entries = await this.#read(record)
      const left = entries.filter((entry) => scope !== undefined && entry.scope !== scope)
      if (left.length < entries.length) await this.#write(record, left)
      return entries.length - left.length
    })
  }

  list: MailStore['suppress']['list'] = (): Page<StoredSuppression> => {
    throw new MailError(
      'UNSUPPORTED_FEATURE',
      'A Keyv cannot list suppressions; use memory(), or a sqlite, redis or postgres store, or ask for one with suppressions.get.',
    )
  }

  #put(entry: StoredSuppression): Promise<void> {
    const record = recordOf(entry.tenant, entry.key)
    return this.#exclusive(record, async () => {
      const others = (await this.#read(record)).filter(({ scope }) => scope !== entry.scope)
      await this.#write(record, [...others, entry])
    })
  }

  /** Without what has expired. */
  async #read(record: string): Promise<readonly StoredSuppression[]> {
    const now = this.#clock.now()
    const { entries = [] } = (await this.#records.read<StoredMailbox>(record)) ?? {}
    return entries.filter(({ expiresAt }) => expiresAt === undefined || expiresAt > now)
  }

  async #write(record: string, entries: readonly StoredSuppression[]): Promise<void> {
    if (entries.length === 0) return this.#records.delete(record)
    const last = Math.max(...entries.map(({ expiresAt }) => expiresAt ?? Number.POSITIVE_INFINITY))
    await this.#records.write(record, { entries } satisfies StoredMailbox, last - this.#clock.now())
  }
}

const recordOf = (tenant: string | undefined, key: string) => recordKey('suppressed', tenant, key)
