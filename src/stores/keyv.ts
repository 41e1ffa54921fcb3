import { type Clock, systemClock } from '../clock.ts'
import { configurationError, MailError } from '../errors.ts'
import type { MessageStatus } from '../receipt.ts'
import { clientOf } from './keyv-client.ts'
import { keyvClientStore } from './keyv-client-store.ts'
import { checkKeyv } from './keyv-like.ts'
import { type KeyvLike, KeyvRecords, recordKey } from './keyv-records.ts'
import { type Holder, joinShare, type KeyvShare } from './keyv-share.ts'
import { KeyvSuppressions } from './keyv-suppressions.ts'
import { idInMessageId } from './message-id.ts'
import { withoutContent } from './row-content.ts'
import { type RowJson, rowFromJson, rowToJson } from './row-json.ts'
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
  type Look,
  type MailStore,
  type Page,
  type Renewed,
  type Retention,
  type Row,
  type SettleOptions,
  settledStatuses,
  type Take,
  type Window,
} from './store.ts'
import { WindowSet, type WindowState } from './window.ts'

export { isKeyv } from './keyv-like.ts'
export type { KeyvLike } from './keyv-records.ts'

export interface KeyvStoreOptions {
  /** Messages that may wait in the queue; over it `QUEUE_FULL`. Default 200,000; over a client, as its store has it. */
  readonly maxQueued?: number
  /** False keeps everything in the Keyv, in one process, even where its adapter's client can be reached. Default true. */
  readonly client?: boolean
  readonly clock?: Clock
}

/**
 * A Keyv 5.6 or 6.1 as a store.
 *
 * Over `@keyv/redis`, `@keyv/valkey`, `@keyv/postgres`, or a `sqlite`, `redis` or `postgres` store of ours, that server or
 * file is used directly, with claims that hold between processes: as by `redis({ client, prefix: 'sendwright' })` or
 * `postgres({ pool, schema: 'sendwright' })`, where a namespace of the Keyv makes the name `sendwright_<namespace>`. What
 * the Keyv does to values and keys does not concern this data.
 *
 * Over any other: rows, idempotency keys, suppressions and limits are kept in the Keyv, for one process, so a repeat after a
 * restart is answered and nobody suppressed is mailed. What works on a row, and what is queued, is known to this process
 * only: after a crash a queued message is dispatched when a call repeats its key, else not at all. Keyv has no atomic
 * operation, so claims are exclusive between the mailers of this process and no others. `list` and `suppress.list` throw
 * `UNSUPPORTED_FEATURE`: a Keyv cannot be searched. Give it a Keyv of its own. Keys begin with `sendwright-v1-`. Do not use
 * an adapter that evicts, nor memcached, which ends at once what should live longer than 30 days; nor take rows written
 * through Keyv 5 to 6, whose adapters look for them elsewhere.
 *
 * The Keyv is the application's, so it is not closed, but it gets an `error` listener until `close`: over many failures
 * Keyv answers as if there were nothing and only reports them (only so is a full Redis noticed), and Keyv 6 throws where
 * nobody listens.
 *
 * @throws MailError `CONFIGURATION_ERROR` for what is no Keyv, and for one that hides its failures.
 */
export function keyvStore(keyv: KeyvLike, options: KeyvStoreOptions = {}): MailStore {
  checkKeyv(keyv)
  const { maxQueued, client: direct = true } = options
  if (maxQueued !== undefined && !(typeof maxQueued === 'number' && maxQueued > 0)) {
    throw configurationError('keyvStore(keyv, { maxQueued }) must be a positive number.')
  }
  if (typeof direct !== 'boolean') {
    throw configurationError(
      'keyvStore(keyv, { client }) must be true or false; give a client itself to redis({ client }).',
    )
  }
  const client = direct ? clientOf(keyv) : undefined
  return client ? keyvClientStore(keyv, client, options) : new KeyvStore(keyv, options)
}

interface StoredRow {
  readonly row: RowJson
  /** In the time of `KeyvStore.#now`; absent when nobody holds it. */
  readonly leasedUntil?: number
  readonly keptUntil?: number
  readonly contentUntil?: number
}

interface WriteOptions {
  readonly leaseMs?: number
  readonly retention?: Retention
  /** A settled row does not end before its key. */
  readonly keyUntil?: number
}

interface StoredKey {
  readonly id: string
  readonly until: number
}

const day = 86_400_000
const patience = 2_000
const leaseCheckEvery = 1_000
const counterLife = 400 * day

class KeyvStore implements MailStore {
  readonly guarantees = { scope: 'process', durability: 'none', list: false } as const
  readonly suppress: KeyvSuppressions
  readonly #clock: Clock
  readonly #maxQueued: number
  readonly #records: KeyvRecords
  readonly #shared: KeyvShare
  readonly #leave: () => void
  /** Wall time as of the start, moved on by the monotonic clock: a step of the wall clock ends no window and no key. */
  readonly #epoch: number
  #leasesCheckedAt = Number.NEGATIVE_INFINITY

  constructor(keyv: KeyvLike, { clock = systemClock, maxQueued = 200_000 }: KeyvStoreOptions) {
    this.#clock = clock
    this.#maxQueued = maxQueued
    this.#epoch = clock.now() - clock.monotonic()
    this.#records = new KeyvRecords(keyv, clock)
    const { share, leave } = joinShare(keyv)
    this.#shared = share
    this.#leave = leave
    this.suppress = new KeyvSuppressions(this.#records, clock, (record, task) => this.#locked(record, task))
  }

  claim(row: Row, { lease, keyTtl = day, look, retention }: ClaimOptions): Promise<Claim> {
    return this.#exclusive(row, async () => {
      const holder = (await this.#readRow(row.id)) ?? (await this.#holderOf(row.key))
      if (holder) return this.#held(holder)
      if (isWaiting(row)) this.#checkQueue()
      const found = await this.#found(row, look)
      await this.#writeRow(row, { ...(lease ? { leaseMs: lease.ms } : {}), ...(retention ? { retention } : {}) })
      if (row.key !== undefined) await this.#writeKey(row.key, { id: row.id, until: this.#now() + keyTtl }, row)
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
      await this.#writeRow(row, { leaseMs })
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
      const held = row.key === undefined ? undefined : await this.#keyOf(row.key, row.id)
      if (remove) await this.#records.delete(rowKey(row.id))
      else {
        await this.#writeRow(row, {
          ...(retention ? { retention } : {}),
          ...(held && !release ? { keyUntil: held.until } : {}),
        })
      }
      if (held && (release || remove)) await this.#records.delete(keyKey(row.key!))
      else if (held) await this.#writeKey(row.key!, held, row)
      this.#shared.holders.delete(row.id)
      if (remove) this.#shared.due.remove(row.id)
      else this.#place(row, delay)
      return true
    })
  }

  async takeover(id: string, states: readonly MessageStatus[], lease: Lease): Promise<Held | undefined> {
    return this.#locked(rowKey(id), async () => {
      const stored = await this.#readRow(id)
      if (!stored || this.#isLeased(stored) || !states.includes(stored.row.status)) return undefined
      return this.#take(stored.row, lease)
    })
  }

  read(id: string): Promise<Row | undefined> {
    return this.#locked(rowKey(id), async () => (await this.#readRow(id))?.row)
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
      ...places.map(({ id }) => this.#takeWork(id, lease)),
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

  readonly limits = {
    take: (key: string, windows: readonly Window[], cost: number): Promise<Take> =>
      this.#changeWindows(key, (set, now) => {
        const take = set.take(windows, cost, now)
        return { answer: take, changed: take.ok }
      }),
    refund: (key: string, windows: readonly Window[], cost: number, at: number): Promise<void> =>
      this.#changeWindows(key, (set, now) => ({ answer: set.refund(windows, cost, at, now), changed: true })),
    usage: (key: string, windows: readonly Window[]): Promise<readonly number[]> =>
      this.#changeWindows(key, (set, now) => ({ answer: set.usage(windows, now), changed: false })),
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

  #hold(id: string, fence: number, leaseMs: number, accepted: boolean): void {
    this.#shared.due.remove(id)
    this.#shared.holders.set(id, { fence, until: this.#clock.monotonic() + leaseMs, accepted })
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

  async #take(row: Row, lease: Lease): Promise<Held> {
    await this.#writeRow(row, { leaseMs: lease.ms })
    const fence = ++this.#shared.lastFence
    this.#hold(row.id, fence, lease.ms, true)
    return { row, fence }
  }

  #takeWork(id: string, lease: Lease): Promise<Held | undefined> {
    return this.#locked(rowKey(id), async () => {
      const stored = await this.#readRow(id)
      if (stored && this.#isLeased(stored)) return undefined
      if (stored && isWork(stored.row)) return this.#take(stored.row, lease)
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

  #place(row: Row, delay = 0): void {
    const { due } = this.#shared
    if (!isWaiting(row)) due.remove(row.id)
    else if (row.status === 'scheduled') due.put(row, { wall: row.dueAt ?? 0 })
    else due.put(row, { elapsed: this.#clock.monotonic() + delay })
  }

  async #found(row: Row, look: Look | undefined): Promise<Found> {
    return look ? this.suppress.hasMany(row.tenant, look.keys, look.scopes) : []
  }

  #checkQueue(): void {
    if (this.#shared.due.size < this.#maxQueued) return
    throw new MailError(
      'QUEUE_FULL',
      `At most ${this.#maxQueued} messages may wait over a Keyv; wait for the queue to drain, raise maxQueued, or use another store.`,
    )
  }

  async #readRow(id: string): Promise<ReadRow | undefined> {
    const stored = await this.#records.read<StoredRow>(rowKey(id))
    if (!stored) return undefined
    const now = this.#now()
    if (stored.keptUntil !== undefined && stored.keptUntil <= now) return undefined
    const row = rowFromJson(stored.row)
    const spent = stored.contentUntil !== undefined && stored.contentUntil <= now
    return { row: spent ? withoutContent(row) : row, leasedUntil: stored.leasedUntil }
  }

  async #writeRow(row: Row, { leaseMs, retention, keyUntil = 0 }: WriteOptions): Promise<void> {
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

  async #holderOf(key: string | undefined): Promise<ReadRow | undefined> {
    const held = key === undefined ? undefined : await this.#records.read<StoredKey>(keyKey(key))
    const stored = held && (await this.#readRow(held.id))
    return stored && (held.until > this.#now() || !settledStatuses.has(stored.row.status)) ? stored : undefined
  }

  /** A key outlives its time while its row is unsettled or unknown. */
  async #writeKey(key: string, held: StoredKey, row: Row): Promise<void> {
    const settled = settledStatuses.has(row.status)
    await this.#records.write(keyKey(key), held, settled ? held.until - this.#now() : Number.POSITIVE_INFINITY)
  }

  async #keyOf(key: string, id: string): Promise<StoredKey | undefined> {
    const held = await this.#records.read<StoredKey>(keyKey(key))
    return held?.id === id ? held : undefined
  }

  #changeWindows<T>(key: string, change: (set: WindowSet, now: number) => { answer: T; changed: boolean }): Promise<T> {
    const record = recordKey('limit', key)
    return this.#locked(record, async () => {
      const now = this.#now()
      const stored = await this.#records.read<{ windows: WindowState[] }>(record)
      const set = WindowSet.from(stored?.windows ?? [])
      const { answer, changed } = change(set, now)
      if (!changed) return answer
      const windows = set.state(now)
      // A bucket more than the window, since its newest one has only begun.
      const life = 1.1 * Math.max(0, ...windows.map(({ per }) => per))
      if (windows.length > 0) await this.#records.write(record, { windows }, life)
      else await this.#records.delete(record)
      return answer
    })
  }
}

interface ReadRow {
  readonly row: Row
  readonly leasedUntil: number | undefined
}

const rowKey = (id: string) => recordKey('row', id)
const keyKey = (key: string) => recordKey('key', key)
