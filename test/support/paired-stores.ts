import assert from 'node:assert/strict'
import { type DueOptions, type MailStore, type Row, settledStatuses } from '../../src/stores/store.ts'
import type { FakeClock } from '../../src/testing/fake-clock.ts'
import { rowOf, suppression, work } from '../../src/testing/stores/samples.ts'

const minute = 60_000
const lease = { owner: 'model', ms: 40_000 }

interface Holder {
  readonly one: number
  readonly other: number
  until: number
}

/**
 * Two stores on one clock that are asked the same, at random, and must answer alike: the first is the one in memory, the
 * model of what is right.
 */
export class PairedStores {
  readonly #one: MailStore
  readonly #other: MailStore
  readonly #clock: FakeClock
  readonly #random: (below: number) => number
  readonly #rows: Row[] = []
  /** The fence of each row in either store, also ones that hold no more. */
  readonly #fences = new Map<string, Holder>()
  #provided = 0

  constructor(one: MailStore, other: MailStore, clock: FakeClock, random: (below: number) => number) {
    this.#one = one
    this.#other = other
    this.#clock = clock
    this.#random = random
  }

  async step(): Promise<void> {
    await this.#clock.advance(1 + this.#random(this.#random(4) === 0 ? 50_000 : 500))
    const acts = [this.#claim, this.#claim, this.#claim, this.#settle, this.#settle, this.#renew, this.#takeover]
    const looks = [this.#due, this.#look, this.#suppress]
    await this.#pick([...acts, ...acts, ...looks]).call(this)
  }

  async compareAll(): Promise<void> {
    for (const { id } of this.#rows) await this.#same((store) => store.read(id))
    for (const query of [{}, { index: { status: 'sent' } as const, tenant: 'a' }, { index: { tag: 'x' } }]) {
      await this.#same(async (store) => (await store.list(query)).items.map(({ work: _, ...row }) => row))
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#one.close(), this.#other.close()])
  }

  async #claim(): Promise<void> {
    const waits = this.#random(2) === 0
    const row = rowOf({
      createdAt: this.#clock.now(),
      accepted: waits || this.#random(3) > 0,
      tags: this.#random(2) ? ['x'] : [],
      priority: this.#random(3) - 1,
      ...this.#tenant(),
      ...(this.#random(2) ? { key: `k${this.#random(8)}` } : {}),
      ...(waits ? { ...this.#waiting(), work: work() } : {}),
    })
    const options = {
      keyTtl: 1_000 + this.#random(5 * minute),
      ...(waits && this.#random(2) ? {} : { lease }),
    }
    const [one, other] = await this.#both((store) => store.claim(row, options))
    if (one.state === 'held' || other.state === 'held') {
      assert.deepEqual(other, one)
      return
    }
    this.#rows.push(row)
    this.#hold(row.id, one.fence, other.fence)
  }

  async #settle(): Promise<void> {
    const row = this.#changed()
    const holder = row && this.#holder(row.id)
    if (!row || !holder) return
    const options = {
      release: this.#random(4) === 0,
      remove: this.#random(8) === 0,
      delay: this.#random(2) * this.#random(20_000),
    }
    const fence = (store: MailStore) => (store === this.#one ? holder.one : holder.other)
    if (await this.#same((store) => store.settle(row, fence(store), options))) this.#write(row)
  }

  async #renew(): Promise<void> {
    const row = this.#changed()
    const holder = row && this.#holder(row.id)
    if (!row || !holder) return
    const fence = (store: MailStore) => (store === this.#one ? holder.one : holder.other)
    if (!(await this.#same((store) => store.renew(row, fence(store), lease.ms)))) return
    this.#write(row)
    holder.until = this.#clock.monotonic() + lease.ms
  }

  async #takeover(): Promise<void> {
    if (this.#rows.length === 0) return
    const { id } = this.#pick(this.#rows)
    const states = [this.#pick(['sent', 'unknown', 'failed', 'queued', 'dispatching'] as const), 'scheduled'] as const
    const [one, other] = await this.#both((store) => store.takeover(id, states, lease))
    assert.deepEqual(other?.row, one?.row)
    if (one && other) this.#hold(id, one.fence, other.fence)
  }

  async #due(): Promise<void> {
    // The one in memory looks at leases once a second.
    await this.#clock.advance(1_000)
    const without = new Set([this.#tenant().tenant, 'c'])
    const options: DueOptions = { lost: this.#random(3) === 0, ...(this.#random(3) ? {} : { without }) }
    const [one, other] = await this.#both((store) => store.due(200, lease, options))
    const waited = (held: typeof one.held) =>
      held.map(({ row }) => row).filter(({ status }) => status === 'queued' || status === 'scheduled')
    const byId = (rows: readonly { row: Row }[]) => rows.map(({ row }) => row).sort((a, b) => (a.id < b.id ? -1 : 1))
    assert.deepEqual(byId(other.held), byId(one.held))
    // The one in memory counts in scheduled rows of tenants that are left out.
    if (!options.without) assert.equal(other.next, one.next)
    assert.equal(waited(other.held).length, waited(one.held).length)
    for (const { row, fence } of one.held) {
      this.#hold(row.id, fence, other.held.find((held) => held.row.id === row.id)!.fence)
    }
  }

  async #look(): Promise<void> {
    if (this.#rows.length === 0) return
    const { id, messageId } = this.#pick(this.#rows)
    await this.#same((store) => store.read(id))
    await this.#same((store) => store.find({ messageId }))
    await this.#same((store) => store.find({ providerMessageId: `p${this.#provided}` }))
    const [limit, tenant] = [1 + this.#random(5), this.#tenant()]
    await this.#same(async (store) => (await store.list({ limit, ...tenant })).items.map(({ work: _, ...row }) => row))
  }

  async #suppress(): Promise<void> {
    const expiresAt = this.#clock.now() + this.#random(minute)
    await this.#both((store) => store.suppress.add([suppression({ scope: `topic:${expiresAt % 5}`, expiresAt })]))
    const scopes = ['topic:1', 'topic:2', 'all', 'topic:3']
    await this.#same((store) => store.suppress.hasMany(undefined, ['ada@example.com', 'b@x.example'], scopes))
  }

  #hold(id: string, one: number, other: number): void {
    this.#fences.set(id, { one, other, until: this.#clock.monotonic() + lease.ms })
  }

  /** Whether the fence of a settled row still writes after its lease ran out depends on whether the one in memory packed it. */
  #holder(id: string): Holder | undefined {
    const holder = this.#fences.get(id)
    const { status } = this.#rows.find((row) => row.id === id)!
    const rests = settledStatuses.has(status) || status === 'unknown'
    return holder && rests && holder.until <= this.#clock.monotonic() ? undefined : holder
  }

  #write(row: Row): void {
    this.#rows[this.#rows.findIndex(({ id }) => id === row.id)] = row
  }

  /** A row of ours as somebody would write it next. */
  #changed(): Row | undefined {
    const row = this.#rows[this.#random(this.#rows.length)]
    if (!row) return undefined
    // Whether a key that has ended is held again by its row depends on whether the store in memory has noticed its end.
    const ended = row.key !== undefined && settledStatuses.has(row.status)
    const open = ['unknown', 'queued', 'scheduled', 'dispatching'] as const
    const status = this.#pick(['sent', 'failed', ...(ended ? [] : open)] as const)
    const { work: content = work(), ...rest } = row
    return {
      ...rest,
      status,
      accepted: row.accepted || this.#random(2) > 0,
      ...(status === 'scheduled' ? { dueAt: this.#clock.now() + this.#random(30_000) } : {}),
      ...(status === 'sent' ? { providerMessageId: `p${++this.#provided}` } : { work: content }),
    }
  }

  #tenant(): { tenant?: string } {
    const tenant = this.#pick(['a', 'b', undefined])
    return tenant === undefined ? {} : { tenant }
  }

  #waiting(): Partial<Row> {
    if (this.#random(2)) return { kind: 'queue', status: 'queued' }
    return { kind: 'queue', status: 'scheduled', dueAt: this.#clock.now() + this.#random(30_000) }
  }

  async #both<T>(ask: (store: MailStore) => T): Promise<[Awaited<T>, Awaited<T>]> {
    return [await ask(this.#one), await ask(this.#other)]
  }

  async #same<T>(ask: (store: MailStore) => T): Promise<Awaited<T>> {
    const [one, other] = await this.#both(ask)
    assert.deepEqual(other, one)
    return one
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#random(items.length)]!
  }
}
