import { type Clock, systemClock } from '../clock.ts'
import { configurationError, MailError } from '../errors.ts'
import { mailboxKey } from '../message/address.ts'
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
  type Due,
  type DueOptions,
  defaultRetention,
  type Found,
  type Held,
  type Lease,
  type ListQuery,
  type Look,
  type MailStore,
  type Move,
  type Page,
  type Renewed,
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
  /** Minute on the monotonic clock after which a settled row is gone. */
  keptUntil: number
  /** Where it stands in the queue, from when it first waits until it rests. */
  sequence?: number | undefined
}

interface HeldKey {
  readonly id: string
  /** Monotonic. While the row is unsettled or unknown the key outlives this. */
  readonly until: number
}

const day = 86_400_000
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
  for (const name of ['maxRows', 'maxContentBytes', 'maxSuppressions'] as const) {
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

  readonly #rows = new Map<string, Slot | PackedRow>()
  readonly #order = new Ordered<string>()
  readonly #leased = new Set<string>()
  readonly #keys = new Map<string, HeldKey>()
  readonly #endedKeys = new Sweeper(this.#keys, (key, held) => this.#endKey(key, held, this.#clock.monotonic()))
  readonly #providerIds = new Map<string, string>()
  /** Of rows that were given more than one: a partly taken message has two. */
  readonly #earlierProviderIds = new Map<string, string[]>()
  /** Settled rows without a key, in the order they came to be so, with the minute after which they are gone. */
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
    this.suppress = new SuppressionMap(this.#clock, options.maxSuppressions ?? 1_000_000)
  }

  claim(row: Row, options: ClaimOptions): Claim {
    const now = this.#clock.monotonic()
    this.#endedKeys.step()
    const holder = this.#slot(row.id, now) ?? this.#holderOf(row.key, now)
    if (holder) return { state: 'held', row: holder.row, leased: holder.leasedUntil > now }
    this.#makeRoomForRow(now)
    this.#makeRoomForContent(contentBytes(row), now)
    const fence = ++this.#lastFence
    const slot: Slot = { row, fence, leasedUntil: 0, place: this.#order.append(row.id), keptUntil: 0 }
    this.#rows.set(row.id, slot)
    if (row.key !== undefined) this.#keys.set(row.key, { id: row.id, until: now + (options.keyTtl ?? day) })
    this.#contentBytes += contentBytes(row)
    if (row.providerMessageId !== undefined) this.#providerIds.set(row.providerMessageId, row.id)
    if (options.lease) this.#lease(slot, options.lease.ms, now)
    else this.#place(slot, now, options)
    return { state: 'claimed', fence, found: this.#found(row, options.look) }
  }

  renew(row: Row, fence: number, leaseMs: number, look?: Look): Renewed | undefined {
    const slot = this.#slotOf(row.id, fence)
    if (!slot) return undefined
    const now = this.#clock.monotonic()
    this.#write(slot, row, now)
    this.#lease(slot, leaseMs, now)
    return { found: this.#found(row, look) }
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
    else this.#place(slot, now, options)
    return true
  }

  takeover(id: string, states: readonly MessageStatus[], lease: Lease): Held | undefined {
    const now = this.#clock.monotonic()
    const slot = this.#slot(id, now)
    if (!slot || slot.leasedUntil > now || !states.includes(slot.row.status)) return undefined
    return this.#take(slot, lease, now)
  }

  read(id: string): Row | undefined {
    return this.#slot(id, this.#clock.monotonic())?.row
  }

  find(by: { readonly messageId: string } | { readonly providerMessageId: string }): Row | undefined {
    if ('providerMessageId' in by) return this.read(this.#providerIds.get(by.providerMessageId) ?? '')
    const row = this.read(idInMessageId(by.messageId) ?? '')
    return row?.messageId === by.messageId ? row : undefined
  }

  list(query: ListQuery): Page<Row> {
    const limit = pageSize(query)
    const now = this.#clock.monotonic()
    const items: Row[] = []
    let ended = 0
    // Packed rows are settled ones, and unpacking them all to find none would hold up the process.
    const packed = !(query.index && 'status' in query.index) || settledStatuses.has(query.index.status)
    for (const [place, id] of this.#order.before(cursorPlace(query))) {
      if (!packed && typeof this.#rows.get(id) === 'string') continue
      const row = this.#slot(id, now)?.row
      if (!row?.accepted || !matches(row, query)) continue
      if (items.length === limit) return { items, cursor: String(ended) }
      items.push(row)
      ended = place
    }
    return { items }
  }

  due(count: number, lease: Lease, { lost = false, without }: DueOptions = {}): Due {
    const now = this.#clock.monotonic()
    const held: Held[] = []
    if (now - this.#leasesCheckedAt >= leaseCheckEvery) {
      this.#leasesCheckedAt = now
      for (const id of this.#leased) {
        if (held.length === count) break
        const slot = this.#slot(id, now)!
        if (slot.leasedUntil > now) continue
        if (isWork(slot.row)) held.push(this.#take(slot, lease, now))
        else this.#place(slot, now, {})
      }
    }
    const times = { wall: this.#clock.now(), elapsed: now }
    for (const { id } of lost ? [] : this.#due.take(count - held.length, times, without)) {
      held.push(this.#take(this.#slot(id, now)!, lease, now))
    }
    const next = this.#due.next(times, without)
    return next === undefined ? { held } : { held, next }
  }

  waiting(): number {
    return this.#due.size
  }

  waitingIds(): readonly string[] {
    return this.#due.ids()
  }

  readonly limits = {
    take: (key: string, windows: readonly Window[], cost: number) =>
      this.#windows.take(key, windows, cost, this.#clock.monotonic()),
    refund: (key: string, windows: readonly Window[], cost: number, at: number): void =>
      this.#windows.refund(key, windows, cost, at, this.#clock.monotonic()),
    move: (key: string, windows: readonly Window[], moves: readonly Move[]): void =>
      this.#windows.move(key, windows, moves, this.#clock.monotonic()),
    usage: (key: string, windows: readonly Window[]): number[] =>
      this.#windows.usage(key, windows, this.#clock.monotonic()),
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

  #found(row: Row, look: Look | undefined): Found {
    return look ? this.suppress.hasMany(row.tenant, look.keys, look.scopes) : []
  }

  #slot(id: string, now: number): Slot | undefined {
    if ((this.#evictable.get(id) ?? Number.POSITIVE_INFINITY) <= minutes(now)) this.#forget(id)
    if ((this.#spareContent.get(id) ?? Number.POSITIVE_INFINITY) <= now) this.#dropContent(id)
    return this.#held(id)
  }

  #held(id: string): Slot | undefined {
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
  #place(slot: Slot, now: number, { delay = 0, retention = {} }: Pick<SettleOptions, 'delay' | 'retention'>): void {
    const { row } = slot
    slot.leasedUntil = 0
    this.#leased.delete(row.id)
    if (isWaiting(row)) {
      const due = row.status === 'scheduled' ? { wall: row.dueAt ?? 0 } : { elapsed: now + delay }
      slot.sequence = this.#due.put(row, due, slot.sequence)
      return
    }
    this.#due.remove(row.id)
    slot.sequence = undefined
    const settled = settledStatuses.has(row.status)
    if (row.work && (settled || row.status === 'unknown')) {
      this.#spareContent.set(row.id, now + (retention.content ?? defaultRetention.content))
    }
    const held = row.key === undefined ? undefined : this.#keys.get(row.key)
    slot.keptUntil = minutes(now + (retention.records ?? defaultRetention.records)) + 1
    if (held?.id === row.id) this.#endKey(row.key!, held, now)
    else if (settled) this.#evictable.set(row.id, slot.keptUntil)
    this.#pack(slot)
  }

  #pack(slot: Slot): void {
    const { row } = slot
    if (settledStatuses.has(row.status) && isPackable(row)) this.#rows.set(row.id, packRow(row, slot))
  }

  #holderOf(key: string | undefined, now: number): Slot | undefined {
    if (key === undefined) return undefined
    const held = this.#keys.get(key)
    return held && !this.#endKey(key, held, now) ? this.#slot(held.id, now) : undefined
  }

  /** Frees a key whose life is over; true when it did. */
  #endKey(key: string, held: HeldKey, now: number): boolean {
    if (held.until > now) return false
    const slot = this.#held(held.id)
    if (slot && !settledStatuses.has(slot.row.status)) return false
    this.#keys.delete(key)
    if (slot?.leasedUntil === 0) this.#evictable.set(held.id, slot.keptUntil)
    return true
  }

  #makeRoomForRow(now: number): void {
    this.#evict(now)
    if (this.#rows.size >= this.#maxRows && this.#sweepAll(now)) this.#evict(now)
    if (this.#rows.size < this.#maxRows) return
    throw new MailError(
      'STORE_UNAVAILABLE',
      `The memory store holds ${this.#maxRows} rows, all unsettled or holding an idempotency key; raise maxRows, shorten idempotencyTtl, or use a durable store.`,
    )
  }

  #evict(now: number): void {
    const gone = minutes(now)
    for (const [id, keptUntil] of this.#evictable) {
      if (this.#rows.size < this.#maxRows && keptUntil > gone) break
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
      this.#dropContent(id)
    }
    if (bytes === 0 || this.#contentBytes + bytes <= this.#maxContentBytes) return
    throw new MailError(
      'QUEUE_FULL',
      `The memory store holds at most ${this.#maxContentBytes} bytes of queued content; wait for the queue to drain, raise maxContentBytes, or use a durable store.`,
    )
  }

  #dropContent(id: string): void {
    const slot = this.#held(id)!
    this.#spareContent.delete(id)
    this.#contentBytes -= contentBytes(slot.row)
    slot.row = withoutContent(slot.row)
    this.#pack(slot)
  }

  #forget(id: string): void {
    const { row, place } = this.#held(id)!
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
  return row.recipients.some(({ address }) => mailboxKey(address) === index.recipient)
}
