import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { type MemoryStoreOptions, memory } from '../../src/stores/memory.ts'
import type { Claim, Held, MailStore, Page, Row } from '../../src/stores/store.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { message, rowOf } from '../../src/testing/stores/samples.ts'

describeStore(
  'memory',
  () => {
    const clock = fakeClock()
    return { store: memory({ clock }), now: clock.now, advance: clock.advance, step: clock.step }
  },
  { describe, it },
)

const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000

function open(options: Omit<MemoryStoreOptions, 'clock'> = {}) {
  const clock = fakeClock()
  return { clock, store: memory({ clock, ...options }) as SyncStore }
}

/** The memory store answers at once; the port only allows promises. */
interface SyncStore extends Omit<MailStore, 'claim' | 'read' | 'list' | 'takeover' | 'due'> {
  claim(...args: Parameters<MailStore['claim']>): Claim
  read(id: string): Row | undefined
  list(...args: Parameters<MailStore['list']>): Page<Row>
  takeover(...args: Parameters<MailStore['takeover']>): Held | undefined
  due(...args: Parameters<MailStore['due']>): { held: readonly Held[]; next?: number }
}

function put(store: SyncStore, change: Partial<Row> = {}, keyTtl = day, records = 30 * day): Row {
  const row = rowOf(change)
  const claim = store.claim({ ...row, status: 'dispatching' }, { lease, keyTtl })
  assert.ok(claim.state === 'claimed')
  store.settle(row, claim.fence, { retention: { records } })
  return row
}

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected
const work = (bytes: number) => ({
  message: message({ text: '', headers: [], attachments: [attachment(bytes)] }),
  onUnknown: 'hold' as const,
  timeout: 1,
  taken: [],
})
const attachment = (bytes: number) => ({
  filename: 'a',
  content: new Uint8Array(bytes),
  contentType: 'application/octet-stream',
})

describe('P10: memory is bounded', () => {
  it('over maxRows the settled rows without a key go, oldest first', () => {
    const { store } = open({ maxRows: 10 })
    const keyed = put(store, { status: 'sent', key: 'k' })
    const unknown = put(store, { status: 'unknown' })
    const settled = Array.from({ length: 8 }, () => put(store, { status: 'sent' }))
    const more = [put(store, { status: 'sent' }), put(store, { status: 'failed' })]
    assert.equal(store.read(settled[0]!.id), undefined)
    assert.equal(store.read(settled[1]!.id), undefined)
    for (const { id } of [keyed, unknown, ...settled.slice(2), ...more]) assert.ok(store.read(id))
    assert.equal(store.list({ limit: 1_000 }).items.length, 10)
  })

  it('with only unsettled, unknown or keyed rows left an accept is refused, and nothing is lost', async () => {
    const { store, clock } = open({ maxRows: 4 })
    const rows = [
      put(store, { status: 'queued', kind: 'queue' }),
      put(store, { status: 'unknown' }),
      put(store, { status: 'sent', key: 'k' }),
    ]
    const dispatching = rowOf()
    assert.equal(store.claim(dispatching, { lease }).state, 'claimed')
    assert.throws(() => store.claim(rowOf(), { lease }), code('STORE_UNAVAILABLE'))
    for (const { id } of [...rows, dispatching]) assert.ok(store.read(id))
    await clock.advance(day)
    assert.equal(store.claim(rowOf(), { lease }).state, 'claimed', 'the key of the sent row has ended')
    assert.equal(store.read(rows[2]!.id), undefined)
  })

  it('a released key makes its row evictable', () => {
    const { store } = open({ maxRows: 1 })
    const row = rowOf({ key: 'k' })
    const claim = store.claim(row, { lease })
    assert.ok(claim.state === 'claimed')
    store.settle({ ...row, status: 'failed' }, claim.fence, { release: true })
    assert.equal(store.claim(rowOf(), { lease }).state, 'claimed')
  })

  it('a settled row somebody works on again is not evicted', () => {
    const { store } = open({ maxRows: 2 })
    const row = put(store, { status: 'failed' })
    put(store, { status: 'sent' })
    assert.ok(store.takeover(row.id, ['failed'], lease))
    put(store, { status: 'sent' })
    assert.ok(store.read(row.id))
  })

  it('neither is one whose key ends meanwhile', async () => {
    const { store, clock } = open({ maxRows: 2 })
    const row = put(store, { status: 'failed', key: 'k' }, 1_000)
    assert.ok(store.takeover(row.id, ['failed'], lease))
    put(store, { status: 'sent' })
    await clock.advance(1_000)
    put(store, { status: 'sent' })
    put(store, { status: 'sent' })
    assert.ok(store.read(row.id))
  })

  it('a full store finds every row whose key has ended, also behind keys that last', async () => {
    const { store, clock } = open({ maxRows: 60 })
    for (let i = 0; i < 50; i++) put(store, { status: 'sent', key: `long ${i}` })
    for (let i = 0; i < 10; i++) put(store, { status: 'sent', key: `short ${i}` }, 1_000)
    assert.throws(() => store.claim(rowOf(), { lease }), code('STORE_UNAVAILABLE'))
    await clock.advance(1_000)
    for (let i = 0; i < 10; i++) assert.equal(store.claim(rowOf(), { lease }).state, 'claimed')
    assert.throws(() => store.claim(rowOf(), { lease }), code('STORE_UNAVAILABLE'))
  })

  it('rows whose key has ended end after the retention too, without any need of room', async () => {
    const { store, clock } = open()
    const rows = Array.from({ length: 20 }, (_, i) => put(store, { status: 'sent', key: `k${i}` }, 1_000, day))
    await clock.advance(2 * day)
    for (let i = 0; i < 20; i++) put(store, { status: 'sent' }, day, day)
    await clock.advance(2 * day)
    put(store, { status: 'sent' })
    assert.deepEqual(
      rows.filter(({ id }) => store.read(id)),
      [],
    )
  })

  it('settled rows end after the retention', async () => {
    const { store, clock } = open()
    const old = put(store, { status: 'sent' }, day, 10 * day)
    const held = put(store, { status: 'unknown' }, day, 10 * day)
    await clock.advance(9 * day)
    put(store, { status: 'sent' })
    assert.ok(store.read(old.id))
    await clock.advance(day + 60_000)
    const fresh = put(store, { status: 'sent' })
    assert.equal(store.read(old.id), undefined)
    assert.ok(store.read(held.id))
    assert.ok(store.read(fresh.id))
  })

  it('over maxContentBytes an accept is QUEUE_FULL, also when the key was claimed before', () => {
    const { store } = open({ maxContentBytes: 10_000 })
    const queue = { status: 'queued', kind: 'queue' } as const
    store.claim(rowOf({ ...queue, work: work(6_000) }), {})
    assert.throws(() => store.claim(rowOf({ ...queue, work: work(6_000) }), {}), code('QUEUE_FULL'))
    const keyed = rowOf({ key: 'k', accepted: false })
    const claim = store.claim(keyed, { lease })
    assert.ok(claim.state === 'claimed')
    const accepted = { ...keyed, ...queue, accepted: true, work: work(6_000) }
    assert.throws(() => store.settle(accepted, claim.fence), code('QUEUE_FULL'))
    assert.deepEqual(store.read(keyed.id), keyed, 'nothing changed')
    assert.equal(store.settle(keyed, claim.fence, { remove: true }), true)
    assert.equal(store.claim(rowOf({ ...queue, work: work(3_000) }), {}).state, 'claimed')
  })

  it('a full store still lets rows go on that are in it', () => {
    const { store } = open({ maxContentBytes: 6_000 })
    const row = rowOf({ status: 'queued', kind: 'queue', work: work(5_900) })
    store.claim(row, {})
    const [held] = store.due(1, lease).held
    assert.ok(store.renew({ ...row, status: 'dispatching' }, held!.fence, lease.ms))
    assert.equal(store.settle(row, held!.fence), true)
    assert.equal(store.claim(rowOf(), { lease }).state, 'claimed', 'a row without content takes none')
  })

  it('content that was removed with its row makes room', () => {
    const { store } = open({ maxContentBytes: 6_000 })
    const row = rowOf({ work: work(5_000) })
    const claim = store.claim(row, { lease })
    assert.ok(claim.state === 'claimed')
    store.settle(row, claim.fence, { remove: true })
    assert.equal(store.claim(rowOf({ work: work(5_000) }), { lease }).state, 'claimed')
  })

  it('content somebody works with stays', () => {
    const { store } = open({ maxContentBytes: 6_000 })
    const row = put(store, { status: 'failed', kind: 'queue', work: work(5_000) })
    assert.ok(store.takeover(row.id, ['failed'], lease))
    assert.throws(
      () => store.claim(rowOf({ status: 'queued', kind: 'queue', work: work(5_000) }), {}),
      code('QUEUE_FULL'),
    )
    assert.ok(store.read(row.id)?.work)
  })

  it('content that is done with makes room for what is queued, oldest first; the row stays', () => {
    const { store } = open({ maxContentBytes: 10_000 })
    const first = put(store, { status: 'sandboxed', work: work(4_000) })
    const second = put(store, { status: 'failed', kind: 'queue', work: work(4_000) })
    store.claim(rowOf({ status: 'queued', kind: 'queue', work: work(4_000) }), {})
    assert.equal(store.read(first.id)?.work, undefined)
    assert.equal(store.read(first.id)?.status, 'sandboxed')
    assert.ok(store.read(second.id)?.work)
  })

  it('settled and unknown rows keep their content for 72 hours', async () => {
    const { store, clock } = open()
    const rows = (['sandboxed', 'failed', 'unknown'] as const).map((status) => put(store, { status, work: work(10) }))
    const queued = put(store, { status: 'queued', kind: 'queue', work: work(10) })
    await clock.advance(3 * day - 1)
    put(store, { status: 'sent' })
    assert.ok(rows.every(({ id }) => store.read(id)?.work))
    await clock.advance(1)
    put(store, { status: 'sent' })
    assert.ok(rows.every(({ id }) => store.read(id) && store.read(id)?.work === undefined))
    assert.ok(store.read(queued.id)?.work)
  })

  it('maxSuppressions counts entries, not calls; those that expired make room', async () => {
    const { store, clock } = open({ maxSuppressions: 2 })
    const entry = (key: string, expiresAt?: number) => ({
      key,
      scope: 'all',
      reason: 'manual',
      createdAt: 0,
      ...(expiresAt === undefined ? {} : { expiresAt }),
    })
    store.suppress.add([entry('a'), entry('b', clock.now() + 1_000)])
    store.suppress.add([entry('a'), entry('b', clock.now() + 1_000)])
    assert.throws(() => store.suppress.add([entry('c')]), code('STORE_UNAVAILABLE'))
    await clock.advance(1_001)
    assert.deepEqual(await store.suppress.list(undefined, { limit: 1 }), { items: [entry('a')] })
    store.suppress.add([entry('c')])
    assert.throws(() => store.suppress.add([entry('d'), entry('c')]), code('STORE_UNAVAILABLE'))
    assert.deepEqual(store.suppress.hasMany(undefined, ['a', 'b', 'c', 'd'], ['all']), [
      entry('a'),
      undefined,
      entry('c'),
      undefined,
    ])
    await store.suppress.remove(undefined, 'a')
    store.suppress.add([entry('d')])
  })
})

describe('the wall clock may step', () => {
  for (const step of [day, -day]) {
    it(`S6: by ${step / day} day, and leases, keys, windows and once go on as before`, async () => {
      const { store, clock } = open()
      const windows = [{ limit: 1, per: 60_000 }]
      const row = rowOf({ key: 'k' })
      store.claim(row, { lease, keyTtl: 60_000 })
      await store.limits.take('l', windows, 1)
      await store.once('e', 60_000)
      clock.step(step)
      assert.equal(store.takeover(row.id, ['dispatching'], lease), undefined)
      assert.partialDeepStrictEqual(await store.limits.take('l', windows, 1), { ok: false })
      assert.equal(await store.once('e', 60_000), false)
      await clock.advance(62_000)
      assert.ok(store.takeover(row.id, ['dispatching'], lease))
      assert.partialDeepStrictEqual(await store.limits.take('l', windows, 1), { ok: true })
      assert.equal(await store.once('e', 60_000), true)
    })
  }
})

describe('memory()', () => {
  it('takes positive limits only', () => {
    for (const name of ['maxRows', 'maxContentBytes', 'maxSuppressions']) {
      for (const value of [0, -1, Number.NaN, '5', null]) {
        assert.throws(() => memory({ [name]: value }), code('CONFIGURATION_ERROR'))
      }
    }
  })

  it('refuses a cursor that is none of its own', () => {
    const { store } = open()
    for (const cursor of ['x', '-1', '1e3', '', '9'.repeat(40)]) {
      assert.throws(() => store.list({ cursor }), code('VALIDATION_ERROR'))
      assert.throws(() => store.suppress.list(undefined, { cursor }), code('VALIDATION_ERROR'))
    }
  })

  it('pages hold 100 by default, 1 to 1,000', () => {
    const { store } = open()
    for (let i = 0; i < 1_100; i++) put(store, { status: 'sent' })
    for (const [limit, items] of [
      [undefined, 100],
      [0, 1],
      [-5, 1],
      [Number.NaN, 1],
      [2.7, 2],
      [5_000, 1_000],
    ] as const) {
      assert.equal(store.list(limit === undefined ? {} : { limit }).items.length, items)
    }
  })

  it('closed, it holds nothing and may be used again', () => {
    const { store } = open({ maxContentBytes: 5_000 })
    store.claim(rowOf({ status: 'queued', kind: 'queue', work: work(4_000), dueAt: 0 }), {})
    store.close()
    assert.deepEqual(store.due(10, lease), { held: [] })
    assert.equal(store.claim(rowOf({ status: 'queued', kind: 'queue', work: work(4_000) }), {}).state, 'claimed')
  })
})
