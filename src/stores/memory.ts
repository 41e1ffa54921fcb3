import { type Clock, systemClock } from '../clock.ts'
import { configurationError, MailError } from '../errors.ts'
import type { MessageStatus } from '../receipt.ts'
import { DueList } from './due-list.ts'
import { isPackable, type PackedRow, packRow, unpackRow } from './packed-row.ts'
import {
  type Claim,
  type ClaimOptions,
  type Held,
  type Lease,
  type ListQuery,
  type MailStore,
  type Page,
  type Row,
  type SettleOptions,
  settledStatuses,
} from './store.ts'
import { pageSize, SuppressionMap } from './suppression-map.ts'
import { Windows } from './window.ts'

export interface MemoryStoreOptions {
  /** Default 200,000. When only unsettled or keyed rows are left, new accepts fail with `STORE_UNAVAILABLE`. */
  readonly maxRows?: number
  /** Bytes of queued content; over it `QUEUE_FULL`. Default 256 MiB. */
  readonly maxContentBytes?: number
  /** Suppression entries. Default 1,000,000. */
  readonly maxSuppressions?: number
  /** Milliseconds a settled row is kept. Default 30 days. */
  readonly retention?: number
  readonly clock?: Clock
}

interface Slot {
  row: Row
  fence: number
  /** Monotonic; 0 when nobody holds it. */
  leasedUntil: number
}

const day = 86_400_000
const countersKept = 100_000
const leaseCheckEvery = 1_000

/**
 * The default store: synchronous maps in this process. It survives nothing, so what is queued is lost when the process
 * dies; every claim in it is exclusive because no verb yields half-way.
 *
 * @throws MailError `CONFIGURATION_ERROR` for limits that are not positive numbers.
 */
export function memory(options: MemoryStoreOptions = {}): MailStore {
  for (const name of ['maxRows', 'maxContentBytes', 'maxSuppressions', 'retention'] as const) {
    const value = options[name]
    if (value !== undefined && !(typeof value === 'number' && value > 0)) {
      throw configurationError(`memory({ ${name} }) must be a positive number.`)
    }
  }
  return new MemoryStore(options)
}

class MemoryStore implements MailStore {
  readonly guarantees = { scope: 'process', durability: 'none', list: true } as const
  readonly #clock: Clock
  readonly #maxRows: number
  readonly #maxContentBytes: number
  readonly #retention: number

  /** In the order of acceptance. */
  readonly #rows = new Map<string, Slot | PackedRow>()
  readonly #leased = new Set<string>()
  readonly #keys = new Map<string, { id: string; until: number }>()
  readonly #providerIds = new Map<string, string>()
  /** Settled rows without a key, oldest first, with the minute they were made in. */
  readonly #evictable = new Map<string, number>()
  readonly #due = new DueList()
  #contentBytes = 0
  readonly #windows = new Windows()
  readonly #counters = new Map<string, number>()
  readonly #once = new Map<string, number>()
  #leasesCheckedAt = Number.NEGATIVE_INFINITY

  constructor(options: MemoryStoreOptions) {
    this.#clock = options.clock ?? systemClock
    this.#maxRows = options.maxRows ?? 200_000
    this.#maxContentBytes = options.maxContentBytes ?? 256 * 1024 * 1024
    this.suppress = new SuppressionMap(this.#clock, options.maxSuppressions ?? 1_000_000)
    this.#retention = options.retention ?? 30 * day
  }

  claim(row: Row, options: ClaimOptions): Claim {
    const now = this.#clock.monotonic()
    this.#expireKeys(now)
    const holder = row.key === undefined ? undefined : this.#holderOf(row.key)
    if (holder) return { state: 'held', row: holder.row, leased: holder.leasedUntil > now }
    this.#makeRoom(row)
    const slot: Slot = { row, fence: 1, leasedUntil: 0 }
    this.#rows.set(row.id, slot)
    if (row.key !== undefined) this.#keys.set(row.key, { id: row.id, until: now + (options.keyTtl ?? day) })
    if (options.lease) this.#lease(slot, options.lease.ms, now)
    this.#place(slot)
    this.#contentBytes += contentBytes(row)
    return { state: 'claimed', fence: slot.fence }
  }

  renew(row: Row, fence: number, leaseMs: number): boolean {
    const slot = this.#slotOf(row.id, fence)
    if (!slot) return false
    this.#write(slot, row)
    this.#lease(slot, leaseMs, this.#clock.monotonic())
    return true
  }

  settle(row: Row, fence: number, options: SettleOptions = {}): boolean {
    const slot = this.#slotOf(row.id, fence)
    if (!slot) return false
    const key = slot.row.key
    if (key !== undefined && (options.release || options.remove) && this.#keys.get(key)?.id === row.id) {
      this.#keys.delete(key)
    }
    slot.leasedUntil = 0
    this.#leased.delete(row.id)
    slot.fence++
    if (options.remove) this.#forget(row.id)
    else {
      this.#write(slot, row)
      this.#place(slot)
    }
    return true
  }

  takeover(id: string, states: readonly MessageStatus[], lease: Lease): Held | undefined {
    const now = this.#clock.monotonic()
    const slot = this.#slot(id)
    if (!slot || slot.leasedUntil > now || !states.includes(slot.row.status)) return undefined
    this.#rows.set(id, slot)
    slot.fence++
    this.#due.remove(id)
    this.#evictable.delete(id)
    this.#lease(slot, lease.ms, now)
    return { row: slot.row, fence: slot.fence }
  }

  get(id: string): Row | undefined {
    return this.#slot(id)?.row
  }

  find(by: { readonly messageId: string } | { readonly providerMessageId: string }): Row | undefined {
    if ('providerMessageId' in by) return this.get(this.#providerIds.get(by.providerMessageId) ?? '')
    const row = this.get(/^<?([^@<>]+)@/.exec(by.messageId)?.[1] ?? '')
    return row?.messageId === by.messageId ? row : undefined
  }

  list(query: ListQuery): Page<Row> {
    const limit = pageSize(query)
    const items: Row[] = []
    const ids = [...this.#rows.keys()].reverse()
    const start = query.cursor === undefined ? 0 : ids.findIndex((id) => id < query.cursor!)
    for (let i = start === -1 ? ids.length : start; i < ids.length; i++) {
      const { row } = this.#slot(ids[i]!)!
      if (!row.accepted || !matches(row, query)) continue
      if (items.length === limit) return { items, cursor: items.at(-1)!.id }
      items.push(row)
    }
    return { items }
  }

  due(count: number, lease: Lease): { held: Held[]; next?: number } {
    const now = this.#clock.monotonic()
    const held: Held[] = []
    const take = (slot: Slot) => {
      slot.fence++
      this.#lease(slot, lease.ms, now)
      held.push({ row: slot.row, fence: slot.fence })
    }
    if (now - this.#leasesCheckedAt >= leaseCheckEvery) {
      this.#leasesCheckedAt = now
      for (const id of this.#leased) {
        if (held.length === count) break
        const slot = this.#slot(id)!
        if (slot.leasedUntil <= now) take(slot)
      }
    }
    for (const id of this.#due.take(count - held.length, this.#clock.now())) take(this.#slot(id)!)
    const next = this.#due.nextDue()
    return next === undefined ? { held } : { held, next: Math.max(0, next - this.#clock.now()) }
  }

  readonly suppress: SuppressionMap

  readonly limits = {
    take: (key: string, windows: Parameters<MailStore['limits']['take']>[1], cost: number) =>
      this.#windows.take(key, windows, cost, this.#clock.monotonic()),
    refund: (key: string, _windows: unknown, cost: number, at: number): void =>
      this.#windows.refund(key, cost, at, this.#clock.monotonic()),
  }

  readonly counters = {
    add: (key: string, amount: number): void => {
      if (!this.#counters.has(key) && this.#counters.size >= countersKept) {
        this.#counters.delete(this.#counters.keys().next().value!)
      }
      this.#counters.set(key, (this.#counters.get(key) ?? 0) + amount)
    },
    read: (keys: readonly string[]): number[] => keys.map((key) => this.#counters.get(key) ?? 0),
  }

  once(id: string, ttl: number): boolean {
    const now = this.#clock.monotonic()
    for (const [seen, until] of this.#once) {
      if (until > now) break
      this.#once.delete(seen)
    }
    const until = this.#once.get(id)
    if (until !== undefined && until > now) return false
    this.#once.delete(id)
    this.#once.set(id, now + ttl)
    return true
  }

  close(): void {
    this.#rows.clear()
    this.#keys.clear()
    this.#providerIds.clear()
    this.#evictable.clear()
    this.#leased.clear()
    this.suppress.clear()
    this.#counters.clear()
    this.#once.clear()
  }

  #slotOf(id: string, fence: number): Slot | undefined {
    const slot = this.#slot(id)
    return slot?.fence === fence ? slot : undefined
  }

  #slot(id: string): Slot | undefined {
    const held = this.#rows.get(id)
    return typeof held === 'string' ? { ...unpackRow(held), leasedUntil: 0 } : held
  }

  #lease(slot: Slot, ms: number, now: number): void {
    slot.leasedUntil = now + ms
    this.#leased.add(slot.row.id)
  }

  #write(slot: Slot, row: Row): void {
    this.#contentBytes += contentBytes(row) - contentBytes(slot.row)
    slot.row = row
    if (row.providerMessageId !== undefined) this.#providerIds.set(row.providerMessageId, row.id)
  }

  /** Puts a row nobody holds where it waits: for its time, or to be forgotten. */
  #place(slot: Slot): void {
    const { row } = slot
    if (slot.leasedUntil > 0) return
    if (row.status === 'queued' || row.status === 'scheduled') {
      this.#due.put(row.id, row.tenant, row.priority, row.dueAt ?? row.createdAt)
      return
    }
    this.#due.remove(row.id)
    const keyed = row.key !== undefined && this.#keys.get(row.key)?.id === row.id
    if (!settledStatuses.has(row.status)) return
    if (!keyed) this.#evictable.set(row.id, minutes(row.createdAt))
    if (isPackable(row)) this.#rows.set(row.id, packRow(row, slot.fence))
  }

  #holderOf(key: string): Slot | undefined {
    const held = this.#keys.get(key)
    return held && this.#slot(held.id)
  }

  /** Keys of one mailer share a lifetime, so they expire in the order they were claimed. */
  #expireKeys(now: number): void {
    for (const [key, held] of this.#keys) {
      if (held.until > now) return
      this.#keys.delete(key)
      const row = this.get(held.id)
      if (!row) continue
      if (settledStatuses.has(row.status)) this.#evictable.set(held.id, minutes(row.createdAt))
      else this.#keys.set(key, { id: held.id, until: now + day })
    }
  }

  #makeRoom(row: Row): void {
    if (this.#contentBytes + contentBytes(row) > this.#maxContentBytes) {
      throw new MailError(
        'QUEUE_FULL',
        `The memory store holds at most ${this.#maxContentBytes} bytes of queued content; wait for the queue to drain, raise maxContentBytes, or use a durable store.`,
      )
    }
    const oldest = minutes(this.#clock.now() - this.#retention)
    for (const [id, createdAt] of this.#evictable) {
      if (this.#rows.size < this.#maxRows && createdAt > oldest) break
      this.#forget(id)
    }
    if (this.#rows.size >= this.#maxRows) {
      throw new MailError(
        'STORE_UNAVAILABLE',
        `The memory store holds ${this.#maxRows} rows, all unsettled or holding an idempotency key; raise maxRows, shorten idempotencyTtl, or use a durable store.`,
      )
    }
  }

  #forget(id: string): void {
    const row = this.get(id)
    if (!row) return
    const { providerMessageId } = row
    if (providerMessageId !== undefined && this.#providerIds.get(providerMessageId) === id) {
      this.#providerIds.delete(providerMessageId)
    }
    this.#contentBytes -= contentBytes(row)
    this.#due.remove(id)
    this.#evictable.delete(id)
    this.#leased.delete(id)
    this.#rows.delete(id)
  }
}

/** Small enough to need no box of its own on the heap. */
const minutes = (ms: number) => Math.floor(ms / 60_000)

function contentBytes(row: Row): number {
  const message = row.work?.message
  if (!message) return 0
  let bytes = 2 * ((message.text?.length ?? 0) + (message.html?.length ?? 0))
  for (const attachment of message.attachments) bytes += attachment.content.byteLength
  return bytes
}

function matches(row: Row, { tenant, index, since, until }: ListQuery): boolean {
  if (row.tenant !== tenant) return false
  if (since !== undefined && row.createdAt < since) return false
  if (until !== undefined && row.createdAt >= until) return false
  if (!index) return true
  if ('status' in index) return row.status === index.status
  if ('tag' in index) return row.tags.includes(index.tag)
  return row.recipients.some((recipient) => recipient.address === index.recipient)
}
