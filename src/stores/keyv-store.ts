import { type Clock, systemClock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { MessageStatus } from '../receipt.ts'
import { KeyvLimits } from './keyv-limits.ts'
import { type KeyvLike, KeyvRecords, recordKey } from './keyv-records.ts'
import { KeyvRows, keyKey, type ReadRow, rowKey } from './keyv-rows.ts'
import { type Holder, joinShare, type KeyvShare } from './keyv-share.ts'
import { type Exclusive, KeyvSuppressions } from './keyv-suppressions.ts'
import { idInMessageId } from './message-id.ts'
import { isWaiting, isWork } from './row-status.ts'
import type {
  Claim,
  ClaimOptions,
  Due,
  DueOptions,
  Found,
  Held,
  Lease,
  Look,
  MailStore,
  Page,
  Renewed,
  Row,
  SettleOptions,
} from './store.ts'

const day = 86_400_000
const patience = 2_000
const leaseCheckEvery = 1_000
const counterLife = 400 * day

/** A store in the records of any Keyv, for the mailers of one process. */
export class KeyvStore implements MailStore {
  readonly guarantees = { scope: 'process', durability: 'none', list: false } as const
  readonly suppress: KeyvSuppressions
  readonly limits: KeyvLimits
  readonly #clock: Clock
  readonly #maxQueued: number
  readonly #records: KeyvRecords
  readonly #rows: KeyvRows
  readonly #shared: KeyvShare
  readonly #leave: () => void
  /** Wall time as of the start, moved on by the monotonic clock: a step of the wall clock ends no window and no key. */
  readonly #epoch: number
  #leasesCheckedAt = Number.NEGATIVE_INFINITY

  constructor(
    keyv: KeyvLike,
    { clock = systemClock, maxQueued = 200_000 }: { readonly clock?: Clock; readonly maxQueued?: number },
  ) {
    this.#clock = clock
    this.#maxQueued = maxQueued
    this.#epoch = clock.now() - clock.monotonic()
    this.#records = new KeyvRecords(keyv, clock)
    this.#rows = new KeyvRows(this.#records, () => this.#now())
    const { share, leave } = joinShare(keyv)
    this.#shared = share
    this.#leave = leave
    const exclusive: Exclusive = (record, task) => this.#locked(record, task)
    this.suppress = new KeyvSuppressions(this.#records, clock, exclusive)
    this.limits = new KeyvLimits(this.#records, () => this.#now(), exclusive)
  }

  claim(row: Row, { lease, keyTtl = day, look, retention }: ClaimOptions): Promise<Claim> {
    return this.#exclusive(row, async () => {
      const holder = (await this.#rows.read(row.id)) ?? (await this.#rows.holderOf(row.key))
      if (holder) return this.#held(holder)
      if (isWaiting(row)) this.#checkQueue()
      const found = await this.#found(row, look)
      await this.#rows.write(row, { ...(lease ? { leaseMs: lease.ms } : {}), ...(retention ? { retention } : {}) })
      if (row.key !== undefined) await this.#rows.writeKey(row.key, { id: row.id, until: this.#now() + keyTtl }, row)
      const fence = ++this.#shared.lastFence
      if (lease) this.#hold(row.id, fence, lease.ms, row.accepted)
      else this.#place(row)
      return { state: 'claimed', fence, found }
    })
  }

  renew(row: Row, fence: number, leaseMs: number, look?: Look): Promise<Renewed | undefined> {
    return this.#locked(rowKey(row.id), async () => {
      const holder = this.#holderWith(row.id, fence)
      if (!holder) return undefined
      const found = await this.#found(row, look)
      await this.#rows.write(row, { leaseMs })
      holder.until = this.#clock.monotonic() + leaseMs
      holder.accepted = row.accepted
      return { found }
    })
  }

  settle(row: Row, fence: number, { release, remove, delay, retention }: SettleOptions = {}): Promise<boolean> {
    return this.#exclusive(row, async () => {
      const holder = this.#holderWith(row.id, fence)
      if (!holder) return false
      if (!holder.accepted && !remove && isWaiting(row)) this.#checkQueue()
      const held = row.key === undefined ? undefined : await this.#rows.keyOf(row.key, row.id)
      if (remove) await this.#rows.remove(row.id)
      else {
        await this.#rows.write(row, {
          ...(retention ? { retention } : {}),
          ...(held && !release ? { keyUntil: held.until } : {}),
        })
      }
      if (held && (release || remove)) await this.#rows.removeKey(row.key!)
      else if (held) await this.#rows.writeKey(row.key!, held, row)
      this.#shared.holders.delete(row.id)
      if (remove) this.#shared.due.remove(row.id)
      else this.#place(row, delay, holder.sequence)
      return true
    })
  }

  async takeover(id: string, states: readonly MessageStatus[], lease: Lease): Promise<Held | undefined> {
    return this.#locked(rowKey(id), async () => {
      const stored = await this.#rows.read(id)
      if (!stored || this.#isLeased(stored) || !states.includes(stored.row.status)) return undefined
      return this.#take(stored.row, lease)
    })
  }

  read(id: string): Promise<Row | undefined> {
    return this.#locked(rowKey(id), async () => (await this.#rows.read(id))?.row)
  }

  async find(by: { readonly messageId: string } | { readonly providerMessageId: string }): Promise<Row | undefined> {
    if ('providerMessageId' in by) {
      const found = await this.#records.read<{ id: string }>(recordKey('provider', by.providerMessageId))
      return found && this.read(found.id)
    }
    const id = idInMessageId(by.messageId)
    const row = id === undefined ? undefined : await this.read(id)
    return row?.messageId === by.messageId ? row : undefined
  }

  list(): Page<Row> {
    throw new MailError(
      'UNSUPPORTED_FEATURE',
      'A Keyv cannot list messages; use memory(), or a sqlite, redis or postgres store, or ask for one with messages.get.',
    )
  }

  async due(count: number, lease: Lease, options: DueOptions = {}): Promise<Due> {
    const { due } = this.#shared
    const times = { wall: this.#clock.now(), elapsed: this.#clock.monotonic() }
    const lost = this.#lostRows(count)
    const places = options.lost ? [] : due.take(count - lost.length, times, options.without)
    const taken = await Promise.allSettled([
      ...lost.map((id) => this.#takeWork(id, lease)),
      ...places.map(({ id, sequence }) => this.#takeWork(id, lease, sequence)),
    ])
    for (const [i, place] of places.entries()) {
      if (taken[lost.length + i]!.status === 'rejected') due.restore(place)
    }
    const held = taken.flatMap((one) => (one.status === 'fulfilled' && one.value ? [one.value] : []))
    const failure = taken.find((one) => one.status === 'rejected')
    if (failure && held.length === 0) throw failure.reason
    const next = due.next(times, options.without)
    return next === undefined ? { held } : { held, next }
  }

  readonly counters = {
    add: (key: string, amount: number): Promise<void> => {
      const record = recordKey('counter', key)
      return this.#locked(record, async () => {
        const { count = 0 } = (await this.#records.read<{ count: number }>(record)) ?? {}
        await this.#records.write(record, { count: count + amount }, counterLife)
      })
    },
    read: (keys: readonly string[]): Promise<number[]> =>
      Promise.all(
        keys.map(async (key) => (await this.#records.read<{ count: number }>(recordKey('counter', key)))?.count ?? 0),
      ),
  }

  once(id: string, ttl: number): Promise<boolean> {
    const record = recordKey('once', id)
    return this.#locked(record, async () => {
      const now = this.#now()
      const seen = await this.#records.read<{ until: number }>(record)
      if (seen && seen.until > now) return false
      await this.#records.write(record, { until: now + ttl }, ttl)
      return true
    })
  }

  close(): void {
    this.#records.release()
    this.#leave()
  }

  #now(): number {
    return this.#epoch + this.#clock.monotonic()
  }

  #locked<T>(record: string, task: () => Promise<T>): Promise<T> {
    const until = this.#clock.monotonic() + patience
    return this.#shared.locks.run(record, () => {
      // The caller has been told that the store failed: what it asked for must not happen now.
      if (this.#clock.monotonic() >= until) {
        throw new MailError('STORE_UNAVAILABLE', 'The Keyv is too slow for the calls that wait for one record.')
      }
      return task()
    })
  }

  /** Alone for the row and its key, always locked in this order. */
  #exclusive<T>(row: Row, task: () => Promise<T>): Promise<T> {
    const locked = () => this.#locked(rowKey(row.id), task)
    return row.key === undefined ? locked() : this.#locked(keyKey(row.key), locked)
  }

  #holderWith(id: string, fence: number): Holder | undefined {
    const holder = this.#shared.holders.get(id)
    return holder?.fence === fence ? holder : undefined
  }

  #hold(id: string, fence: number, leaseMs: number, accepted: boolean, taken?: number): void {
    const { due, holders } = this.#shared
    const sequence = due.remove(id) ?? taken ?? holders.get(id)?.sequence
    holders.set(id, { fence, until: this.#clock.monotonic() + leaseMs, accepted, sequence })
  }

  /** A holder this process does not know belonged to one before it, or to another: its lease is honoured. */
  #isLeased({ row, leasedUntil = 0 }: ReadRow): boolean {
    const holder = this.#shared.holders.get(row.id)
    return holder ? holder.until > this.#clock.monotonic() : leasedUntil > this.#now()
  }

  #held(stored: ReadRow): Claim {
    const { row } = stored
    const leased = this.#isLeased(stored)
    // Queued by a process that is gone: whoever asks for it again brings it back.
    if (isWaiting(row) && !leased && !this.#shared.holders.has(row.id) && !this.#shared.due.has(row.id))
      this.#place(row, Math.max(0, (row.dueAt ?? 0) - this.#clock.now()))
    return { state: 'held', row, leased }
  }

  async #take(row: Row, lease: Lease, sequence?: number): Promise<Held> {
    await this.#rows.write(row, { leaseMs: lease.ms })
    const fence = ++this.#shared.lastFence
    this.#hold(row.id, fence, lease.ms, true, sequence)
    return { row, fence }
  }

  #takeWork(id: string, lease: Lease, sequence?: number): Promise<Held | undefined> {
    return this.#locked(rowKey(id), async () => {
      const stored = await this.#rows.read(id)
      if (stored && this.#isLeased(stored)) return undefined
      if (stored && isWork(stored.row)) return this.#take(stored.row, lease, sequence)
      this.#shared.holders.delete(id)
      return undefined
    })
  }

  /** Rows of this process whose lease ran out. */
  #lostRows(most: number): string[] {
    const now = this.#clock.monotonic()
    if (now - this.#leasesCheckedAt < leaseCheckEvery) return []
    this.#leasesCheckedAt = now
    const lost: string[] = []
    for (const [id, { until }] of this.#shared.holders) {
      if (lost.length === most) break
      if (until <= now) lost.push(id)
    }
    return lost
  }

  #place(row: Row, delay = 0, sequence?: number): void {
    const { due } = this.#shared
    if (!isWaiting(row)) due.remove(row.id)
    else if (row.status === 'scheduled') due.put(row, { wall: row.dueAt ?? 0 }, sequence)
    else due.put(row, { elapsed: this.#clock.monotonic() + delay }, sequence)
  }

  async #found(row: Row, look: Look | undefined): Promise<Found> {
    return look ? this.suppress.hasMany(row.tenant, look.keys, look.scopes) : []
  }

  waiting(): number {
    return this.#shared.due.size
  }

  #checkQueue(): void {
    if (this.#shared.due.size < this.#maxQueued) return
    throw new MailError(
      'QUEUE_FULL',
      `At most ${this.#maxQueued} messages may wait over a Keyv; wait for the queue to drain, raise maxQueued, or use another store.`,
    )
  }
}
