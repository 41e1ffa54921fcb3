import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import { Ordered } from './ordered.ts'
import { cursorPlace, pageSize } from './page.ts'
import type { Page, PageRequest, StoredSuppression } from './store.ts'

interface Mailbox {
  readonly key: string
  /** In its tenant's order. */
  readonly place: number
  readonly byScope: Map<string, StoredSuppression>
}

interface Tenant {
  readonly mailboxes: Map<string, Mailbox>
  readonly order: Ordered<string>
}

/** Suppressions of one process: tenant, then mailbox key, then scope. */
export class SuppressionMap {
  readonly #tenants = new Map<string | undefined, Tenant>()
  readonly #clock: Clock
  readonly #most: number
  #size = 0
  /** No entry expires before. */
  #nextExpiry = Number.POSITIVE_INFINITY

  constructor(clock: Clock, most: number) {
    this.#clock = clock
    this.#most = most
  }

  /** All of them or, when they do not fit, none. */
  add(entries: readonly StoredSuppression[]): void {
    this.#makeRoom(entries)
    for (const entry of entries) {
      const { byScope } = this.#mailbox(entry.tenant, entry.key)
      if (!byScope.has(entry.scope)) this.#size++
      byScope.set(entry.scope, entry)
      this.#nextExpiry = Math.min(this.#nextExpiry, entry.expiresAt ?? Number.POSITIVE_INFINITY)
    }
  }

  hasMany(
    tenant: string | undefined,
    keys: readonly string[],
    scopes: readonly string[],
  ): (StoredSuppression | undefined)[] {
    const mailboxes = this.#tenants.get(tenant)?.mailboxes
    if (!mailboxes) return keys.map(() => undefined)
    const now = this.#clock.now()
    return keys.map((key) => {
      const byScope = mailboxes.get(key)?.byScope
      for (const scope of byScope ? scopes : []) {
        const entry = byScope?.get(scope)
        if (entry && !expired(entry, now)) return entry
      }
      return undefined
    })
  }

  get(tenant: string | undefined, key: string): StoredSuppression[] {
    const now = this.#clock.now()
    const mailbox = this.#tenants.get(tenant)?.mailboxes.get(key)
    return [...(mailbox?.byScope.values() ?? [])].filter((entry) => !expired(entry, now))
  }

  remove(tenant: string | undefined, key: string, scope?: string): number {
    const mailbox = this.#tenants.get(tenant)?.mailboxes.get(key)
    if (!mailbox) return 0
    const now = this.#clock.now()
    let removed = 0
    for (const entry of mailbox.byScope.values()) {
      if (scope !== undefined && entry.scope !== scope) continue
      this.#drop(mailbox, entry)
      if (!expired(entry, now)) removed++
    }
    return removed
  }

  /** A page ends between two mailboxes, so it may hold a few entries more than asked for. */
  list(tenant: string | undefined, page: PageRequest): Page<StoredSuppression> {
    const limit = pageSize(page)
    const start = cursorPlace(page)
    const now = this.#clock.now()
    const items: StoredSuppression[] = []
    const { mailboxes, order } = this.#tenants.get(tenant) ?? {}
    let ended = 0
    for (const [place, key] of order?.after(start) ?? []) {
      const live = [...mailboxes!.get(key)!.byScope.values()].filter((entry) => !expired(entry, now))
      if (live.length === 0) continue
      if (items.length >= limit) return { items, cursor: String(ended) }
      items.push(...live)
      ended = place
    }
    return { items }
  }

  clear(): void {
    this.#tenants.clear()
    this.#size = 0
    this.#nextExpiry = Number.POSITIVE_INFINITY
  }

  #makeRoom(entries: readonly StoredSuppression[]): void {
    const fits = () => this.#size + this.#newAmong(entries) <= this.#most
    if (this.#size + entries.length <= this.#most || fits()) return
    this.#dropExpired()
    if (fits()) return
    throw new MailError(
      'STORE_UNAVAILABLE',
      `The memory store holds at most ${this.#most} suppressions; raise maxSuppressions or use a durable store.`,
    )
  }

  #newAmong(entries: readonly StoredSuppression[]): number {
    const known = ({ tenant, key, scope }: StoredSuppression) =>
      this.#tenants.get(tenant)?.mailboxes.get(key)?.byScope.has(scope)
    return entries.filter((entry) => !known(entry)).length
  }

  #dropExpired(): void {
    const now = this.#clock.now()
    if (this.#nextExpiry > now) return
    this.#nextExpiry = Number.POSITIVE_INFINITY
    for (const { mailboxes } of this.#tenants.values()) {
      for (const mailbox of mailboxes.values()) {
        for (const entry of mailbox.byScope.values()) {
          if (expired(entry, now)) this.#drop(mailbox, entry)
          else this.#nextExpiry = Math.min(this.#nextExpiry, entry.expiresAt ?? Number.POSITIVE_INFINITY)
        }
      }
    }
  }

  #drop({ key, place, byScope }: Mailbox, { tenant, scope }: StoredSuppression): void {
    byScope.delete(scope)
    this.#size--
    if (byScope.size > 0) return
    const { mailboxes, order } = this.#tenants.get(tenant)!
    mailboxes.delete(key)
    order.remove(place)
    if (mailboxes.size === 0) this.#tenants.delete(tenant)
  }

  #mailbox(tenant: string | undefined, key: string): Mailbox {
    let ofTenant = this.#tenants.get(tenant)
    if (!ofTenant) {
      ofTenant = { mailboxes: new Map(), order: new Ordered() }
      this.#tenants.set(tenant, ofTenant)
    }
    let mailbox = ofTenant.mailboxes.get(key)
    if (!mailbox) {
      mailbox = { key, place: ofTenant.order.append(key), byScope: new Map() }
      ofTenant.mailboxes.set(key, mailbox)
    }
    return mailbox
  }
}

const expired = (entry: StoredSuppression, now: number) => entry.expiresAt !== undefined && entry.expiresAt <= now
