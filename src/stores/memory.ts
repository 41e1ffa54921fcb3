import { type Clock, systemClock } from '../clock.ts'
import { configurationError, MailError } from '../errors.ts'
import type { MessageStatus } from '../receipt.ts'
import { DueList } from './due-list.ts'
import { idInMessageId } from './message-id.ts'
import { Ordered } from './ordered.ts'
import { isPackable, type PackedRow, packRow, unpackRow } from './packed-row.ts'
import { cursorPlace, pageSize } from './page.ts'
import { contentBytes, withoutContent } from './row-content.ts'
import { isWaiting, isWork } from './row-status.ts'
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
  type Window,
} from './store.ts'
import { SuppressionMap } from './suppression-map.ts'
import { Sweeper } from './sweeper.ts'
import { Windows } from './window.ts'

export interface MemoryStoreOptions {
  /** Default 200,000. When only unsettled or keyed rows are left, new accepts fail with `STORE_UNAVAILABLE`. */
  readonly maxRows?: number
  /**
   * Bytes of kept content: queued messages, and settled ones that are kept whole. The oldest settled content makes room;
   * what is still queued does not, so then new accepts fail with `QUEUE_FULL`. Default 256 MiB.
   */
  readonly maxContentBytes?: number
  /** Suppression entries. Default 1,000,000. */
  readonly maxSuppressions?: number
  /** Milliseconds a settled row is kept at least, while there is room. Default 30 days. */
  readonly retention?: number
  readonly clock?: Clock
}

interface Slot {
  row: Row
  /** 0 when nobody may write. */
  fence: number
  /** Monotonic; 0 when nobody holds it. */
  leasedUntil: number
  /** In the order of acceptance. */
  readonly place: number
}

interface HeldKey {
  readonly id: string
  /** Monotonic. While the row is unsettled or unknown the key outlives this. */
  readonly until: number
}

const day = 86_400_000
/** How long settled and unknown rows keep their content. */
const contentRetention = 3 * day
const countersKept = 100_000
const onceKept = 1_000_000
const leaseCheckEvery = 1_000
const fullSweepEvery = 1_000

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
  readonly suppress: SuppressionMap
  readonly #clock: Clock
  readonly #maxRows: number
  readonly #maxContentBytes: number
  readonly #retention: number

  readonly #rows = new Map<string, Slot | PackedRow>()
  readonly #order = new Ordered<string>()
  readonly #leased = new Set<string>()
  readonly #keys = new Map<string, HeldKey>()
  readonly #endedKeys = new Sweeper(this.#keys, (key, held) => this.#endKey(key, held, this.#clock.monotonic()))
  readonly #providerIds = new Map<string, string>()
  /** Of rows that were given more than one: a partly taken message has two. */
  readonly #earlierProviderIds = new Map<string, string[]>()
  /** Settled rows without a key, in the order they came to be so, with the minute they were made in. */
  readonly #evictable = new Map<string, number>()
  /** Settled and unknown rows that still have their content, oldest first, with the moment it may go. */
  readonly #spareContent = new Map<string, number>()
  readonly #due = new DueList()
  #contentBytes = 0
  #lastFence = 0
  readonly #windows = new Windows()
  readonly #counters = new Map<string, number>()
  readonly #once = new Map<string, number>()
  readonly #endedOnce = new Sweeper(this.#once, (id, until) => {
    if (until <= this.#clock.monotonic()) this.#once.delete(id)
  })
  #leasesCheckedAt = Number.NEGATIVE_INFINITY
  #sweptAt = Number.NEGATIVE_INFINITY

  constructor(options: MemoryStoreOptions) {
    this.#clock = options.clock ?? systemClock
    this.#maxRows = options.maxRows ?? 200_000
    this.#maxContentBytes = options.maxContentBytes ?? 256 * 1024 * 1024
    this.#retention = options.retention ?? 30 * day
    this.suppress = new SuppressionMap(this.#clock, options.maxSuppressions ?? 1_000_000)
  }

  claim(row: Row, options: ClaimOptions): Claim {
    const now = this.#clock.monotonic()
    this.#endedKeys.step()
    const holder = this.#slot(row.id) ?? this.#holderOf(row.key, now)
    if (holder) return { state: 'held', row: holder.row, leased: holder.leasedUntil > now }
    this.#makeRoomForRow(now)
    this.#makeRoomForContent(contentBytes(row), now)
    const fence = ++this.#lastFence
    const slot: Slot = { row, fence, leasedUntil: 0, place: this.#order.append(row.id) }
    this.#rows.set(row.id, slot)
    if (row.key !== undefined) this.#keys.set(row.key, { id: row.id, until: now + (options.keyTtl ?? day) })
    this.#contentBytes += contentBytes(row)
    if (row.providerMessageId !== undefined) this.#providerIds.set(row.providerMessageId, row.id)
    if (options.lease) this.#lease(slot, options.lease.ms, now)
    else this.#place(slot, now)
    return { state: 'claimed', fence }
  }

  renew(row: Row, fence: number, leaseMs: number): boolean {
    const slot = this.#slotOf(row.id, fence)
    if (!slot) return false
    const now = this.#clock.monotonic()
    this.#write(slot, row, now)
    this.#lease(slot, leaseMs, now)
    return true
  }

  settle(row: Row, fence: number, options: SettleOptions = {}): boolean {
    const slot = this.#slotOf(row.id, fence)
    if (!slot) return false
    const now = this.#clock.monotonic()
    if (!options.remove) this.#write(slot, row, now)
    const { key } = slot.row
    if (key !== undefined && (options.release || options.remove) && this.#keys.get(key)?.id === row.id) {
      this.#keys.delete(key)
    }
    slot.fence = 0
    if (options.remove) this.#forget(row.id)
    else this.#place(slot, now)
    return true
  }

  takeover(id: string, states: readonly MessageStatus[], lease: Lease): Held | undefined {
    const now = this.#clock.monotonic()
    const slot = this.#slot(id)
    if (!slot || slot.leasedUntil > now || !states.includes(slot.row.status)) return undefined
    return this.#take(slot, lease, now)
  }

  get(id: string): Row | undefined {
    return this.#slot(id)?.row
  }

  find(by: { readonly messageId: string } | { readonly providerMessageId: string }): Row | undefined {
    if ('providerMessageId' in by) return this.get(this.#providerIds.get(by.providerMessageId) ?? '')
    const row = this.get(idInMessageId(by.messageId) ?? '')
    return row?.messageId === by.messageId ? row : undefined
  }

  list(query: ListQuery): Page<Row> {
    const limit = pageSize(query)
    const items: Row[] = []
    let ended = 0
    // Packed rows are settled ones, and unpacking them all to find none would hold up the process.
    const packed = !(query.index && 'status' in query.index) || settledStatuses.has(query.index.status)
    for (const [place, id] of this.#order.before(cursorPlace(query))) {
      if (!packed && typeof this.#rows.get(id) === 'string') continue
      const { row } = this.#slot(id)!
      if (!row.accepted || !matches(row, query)) continue
      if (items.length === limit) return { items, cursor: String(ended) }
      items.push(row)
      ended = place
    }
    return { items }
  }

  due(count: number, lease: Lease): { held: Held[]; next?: number } {
    const now = this.#clock.monotonic()
    const held: Held[] = []
    if (now - this.#leasesCheckedAt >= leaseCheckEvery) {
      this.#leasesCheckedAt = now
      for (const id of this.#leased) {
        if (held.length === count) break
        const slot = this.#slot(id)!
        if (slot.leasedUntil > now) continue
        if (isWork(slot.row)) held.push(this.#take(slot, lease, now))
        else this.#place(slot, now)
      }
    }
    const wall = this.#clock.now()
    for (const { id } of this.#due.take(count - held.length, wall)) {
      held.push(this.#take(this.#slot(id)!, lease, now))
    }
    const next = this.#due.nextDue()
    return next === undefined ? { held } : { held, next: Math.max(0, next - wall) }
  }

  readonly limits = {
    take: (key: string, windows: readonly Window[], cost: number) =>
      this.#windows.take(key, windows, cost, this.#clock.monotonic()),
    refund: (key: string, windows: readonly Window[], cost: number, at: number): void =>
      this.#windows.refund(key, windows, cost, at, this.#clock.monotonic()),
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
    this.#endedOnce.step()
    const until = this.#once.get(id)
    if (until !== undefined && until > now) return false
    if (until === undefined && this.#once.size >= onceKept) {
      this.#sweepAll(now)
      if (this.#once.size >= onceKept) {
        throw new MailError(
          'STORE_UNAVAILABLE',
          `The memory store remembers at most ${onceKept} ids; use a durable store.`,
        )
      }
    }
    this.#once.set(id, now + ttl)
    return true
  }

  close(): void {
    for (const held of [
      this.#rows,
      this.#order,
      this.#leased,
      this.#keys,
      this.#providerIds,
      this.#earlierProviderIds,
      this.#evictable,
      this.#spareContent,
      this.#due,
      this.suppress,
      this.#windows,
      this.#counters,
      this.#once,
    ]) {
      held.clear()
    }
    this.#contentBytes = 0
  }

  #slotOf(id: string, fence: number): Slot | undefined {
    const slot = this.#rows.get(id)
    return typeof slot === 'object' && slot.fence === fence ? slot : undefined
  }

  #slot(id: string): Slot | undefined {
    const held = this.#rows.get(id)
    return typeof held === 'string' ? { ...unpackRow(held), fence: 0, leasedUntil: 0 } : held
  }

  #take(slot: Slot, lease: Lease, now: number): Held {
    this.#rows.set(slot.row.id, slot)
    slot.fence = ++this.#lastFence
    this.#lease(slot, lease.ms, now)
    return { row: slot.row, fence: slot.fence }
  }

  #lease(slot: Slot, ms: number, now: number): void {
    const { id } = slot.row
    this.#due.remove(id)
    this.#evictable.delete(id)
    this.#spareContent.delete(id)
    slot.leasedUntil = now + ms
    this.#leased.add(id)
  }

  #write(slot: Slot, row: Row, now: number): void {
    const added = contentBytes(row) - contentBytes(slot.row)
    if (added > 0) this.#makeRoomForContent(added, now)
    this.#contentBytes += added
    const earlier = slot.row.providerMessageId
    slot.row = row
    if (row.providerMessageId === earlier) return
    if (row.providerMessageId !== undefined) this.#providerIds.set(row.providerMessageId, row.id)
    if (earlier !== undefined) {
      this.#earlierProviderIds.set(row.id, [...(this.#earlierProviderIds.get(row.id) ?? []), earlier])
    }
  }

  /** Puts a row nobody holds any more where it waits: for its time, or to be forgotten. */
  #place(slot: Slot, now: number): void {
    const { row } = slot
    slot.leasedUntil = 0
    this.#leased.delete(row.id)
    if (isWaiting(row)) {
      this.#due.put(row.id, row.tenant, row.priority, row.dueAt ?? row.createdAt)
      return
    }
    this.#due.remove(row.id)
    const settled = settledStatuses.has(row.status)
    if (row.work && (settled || row.status === 'unknown')) this.#spareContent.set(row.id, now + contentRetention)
    const held = row.key === undefined ? undefined : this.#keys.get(row.key)
    if (held?.id === row.id) this.#endKey(row.key!, held, now)
    else if (settled) this.#evictable.set(row.id, minutes(row.createdAt))
    this.#pack(slot)
  }

  #pack({ row, place }: Slot): void {
    if (settledStatuses.has(row.status) && isPackable(row)) this.#rows.set(row.id, packRow(row, place))
  }

  #holderOf(key: string | undefined, now: number): Slot | undefined {
    if (key === undefined) return undefined
    const held = this.#keys.get(key)
    return held && !this.#endKey(key, held, now) ? this.#slot(held.id) : undefined
  }

  /** Frees a key whose life is over; true when it did. */
  #endKey(key: string, held: HeldKey, now: number): boolean {
    if (held.until > now) return false
    const slot = this.#slot(held.id)
    if (slot && !settledStatuses.has(slot.row.status)) return false
    this.#keys.delete(key)
    if (slot?.leasedUntil === 0) this.#evictable.set(held.id, minutes(slot.row.createdAt))
    return true
  }

  #makeRoomForRow(now: number): void {
    this.#evict()
    if (this.#rows.size >= this.#maxRows && this.#sweepAll(now)) this.#evict()
    if (this.#rows.size < this.#maxRows) return
    throw new MailError(
      'STORE_UNAVAILABLE',
      `The memory store holds ${this.#maxRows} rows, all unsettled or holding an idempotency key; raise maxRows, shorten idempotencyTtl, or use a durable store.`,
    )
  }

  #evict(): void {
    const oldest = minutes(this.#clock.now() - this.#retention)
    for (const [id, createdAt] of this.#evictable) {
      if (this.#rows.size < this.#maxRows && createdAt > oldest) break
      this.#forget(id)
    }
  }

  /** A look at everything, at most once a second, so that refusing stays cheap. */
  #sweepAll(now: number): boolean {
    if (now - this.#sweptAt < fullSweepEvery) return false
    this.#sweptAt = now
    this.#endedKeys.all()
    this.#endedOnce.all()
    return true
  }

  #makeRoomForContent(bytes: number, now: number): void {
    for (const [id, until] of this.#spareContent) {
      if (until > now && this.#contentBytes + bytes <= this.#maxContentBytes) break
      const slot = this.#slot(id)!
      this.#spareContent.delete(id)
      this.#contentBytes -= contentBytes(slot.row)
      slot.row = withoutContent(slot.row)
      this.#pack(slot)
    }
    if (bytes === 0 || this.#contentBytes + bytes <= this.#maxContentBytes) return
    throw new MailError(
      'QUEUE_FULL',
      `The memory store holds at most ${this.#maxContentBytes} bytes of queued content; wait for the queue to drain, raise maxContentBytes, or use a durable store.`,
    )
  }

  #forget(id: string): void {
    const { row, place } = this.#slot(id)!
    for (const providerId of [row.providerMessageId, ...(this.#earlierProviderIds.get(id) ?? [])]) {
      if (providerId !== undefined && this.#providerIds.get(providerId) === id) this.#providerIds.delete(providerId)
    }
    this.#earlierProviderIds.delete(id)
    this.#contentBytes -= contentBytes(row)
    this.#due.remove(id)
    this.#evictable.delete(id)
    this.#spareContent.delete(id)
    this.#leased.delete(id)
    this.#order.remove(place)
    this.#rows.delete(id)
  }
}

/** Small enough to need no box of its own on the heap. */
const minutes = (ms: number) => Math.floor(ms / 60_000)

function matches(row: Row, { tenant, index, since, until }: ListQuery): boolean {
  if (row.tenant !== tenant) return false
  if (since !== undefined && row.createdAt < since) return false
  if (until !== undefined && row.createdAt >= until) return false
  if (!index) return true
  if ('status' in index) return row.status === index.status
  if ('tag' in index) return row.tags.includes(index.tag)
  return row.recipients.some((recipient) => recipient.address === index.recipient)
}
