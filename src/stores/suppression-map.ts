import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Page, PageRequest, StoredSuppression } from './store.ts'

/** Suppressions of one process: tenant, then mailbox key, then scope. */
export class SuppressionMap {
  readonly #tenants = new Map<string | undefined, Map<string, Map<string, StoredSuppression>>>()
  readonly #clock: Clock
  readonly #most: number
  #size = 0

  constructor(clock: Clock, most: number) {
    this.#clock = clock
    this.#most = most
  }

  add(entries: readonly StoredSuppression[]): void {
    if (this.#size + entries.length > this.#most) {
      throw new MailError(
        'STORE_UNAVAILABLE',
        `The memory store holds at most ${this.#most} suppressions; raise maxSuppressions or use a durable store.`,
      )
    }
    for (const entry of entries) {
      const ofTenant = getOrMake(this.#tenants, entry.tenant)
      const ofKey = getOrMake(ofTenant, entry.key)
      if (!ofKey.has(entry.scope)) this.#size++
      ofKey.set(entry.scope, entry)
    }
  }

  hasMany(
    tenant: string | undefined,
    keys: readonly string[],
    scopes: readonly string[],
  ): (StoredSuppression | undefined)[] {
    const ofTenant = this.#tenants.get(tenant)
    if (!ofTenant) return keys.map(() => undefined)
    const now = this.#clock.now()
    return keys.map((key) => {
      const ofKey = ofTenant.get(key)
      for (const scope of ofKey ? scopes : []) {
        const entry = ofKey?.get(scope)
        if (entry && !expired(entry, now)) return entry
      }
      return undefined
    })
  }

  get(tenant: string | undefined, key: string): StoredSuppression[] {
    const now = this.#clock.now()
    return [...(this.#tenants.get(tenant)?.get(key)?.values() ?? [])].filter((entry) => !expired(entry, now))
  }

  remove(tenant: string | undefined, key: string, scope?: string): number {
    const ofTenant = this.#tenants.get(tenant)
    const ofKey = ofTenant?.get(key)
    if (!ofTenant || !ofKey) return 0
    const before = ofKey.size
    if (scope === undefined) ofKey.clear()
    else ofKey.delete(scope)
    if (ofKey.size === 0) ofTenant.delete(key)
    this.#size -= before - ofKey.size
    return before - ofKey.size
  }

  /** A page ends between two mailboxes, so it may hold a few entries more than asked for. */
  list(tenant: string | undefined, page: PageRequest): Page<StoredSuppression> {
    const limit = pageSize(page)
    const now = this.#clock.now()
    const items: StoredSuppression[] = []
    let passed = page.cursor === undefined
    for (const [key, ofKey] of this.#tenants.get(tenant) ?? []) {
      if (!passed) {
        passed = key === page.cursor
        continue
      }
      if (items.length >= limit) return { items, cursor: items.at(-1)!.key }
      for (const entry of ofKey.values()) {
        if (!expired(entry, now)) items.push(entry)
      }
    }
    return { items }
  }

  clear(): void {
    this.#tenants.clear()
    this.#size = 0
  }
}

export const pageSize = (page: PageRequest) => Math.min(Math.max(page.limit ?? 100, 1), 1_000)

const expired = (entry: StoredSuppression, now: number) => entry.expiresAt !== undefined && entry.expiresAt <= now

function getOrMake<K, L, V>(maps: Map<K, Map<L, V>>, key: K): Map<L, V> {
  let map = maps.get(key)
  if (!map) {
    map = new Map()
    maps.set(key, map)
  }
  return map
}
