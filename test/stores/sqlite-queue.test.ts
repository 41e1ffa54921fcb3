import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, describe, it } from 'node:test'
import { MailError } from '../../src/errors.ts'
import { type SqliteStoreOptions, sqlite } from '../../src/stores/sqlite.ts'
import type { MailStore, Row } from '../../src/stores/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, dueIds, message, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { onFile, tableSizes } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'

const second = 1_000
const day = 86_400_000
const lease = { owner: 'test', ms: 40 * second }

const open: MailStore[] = []
afterEach(async () => {
  while (open.length > 0) await open.pop()!.close()
})

function openStore(options: SqliteStoreOptions = {}) {
  const path = newDatabase()
  const clock = fakeClock()
  const store = sqlite(path, { clock, ...options })
  open.push(store)
  return { path, clock, store }
}

const put = async (store: MailStore, rows: readonly Row[]) => {
  await Promise.all(rows.map((row) => store.claim(row, {})))
}
const many = (count: number, change: (i: number) => Partial<Row>) =>
  Array.from({ length: count }, (_, i) => rowOf({ kind: 'queue', ...change(i) }))

describe('P8 P10: one tenant’s thousands', () => {
  it('for the same moment do not keep another’s one waiting, and one call makes few of them ready', async () => {
    const { path, store, clock } = openStore()
    const dueAt = clock.now() + second
    await put(
      store,
      many(3_000, () => ({ status: 'scheduled', tenant: 'big', dueAt })),
    )
    await put(
      store,
      many(1, () => ({ id: 'small', status: 'scheduled', tenant: 'small', dueAt: dueAt + 1 })),
    )
    await clock.advance(2 * second)
    const first = await store.due(10, lease)
    assert.equal(first.next, 0)
    assert.ok(
      first.held.some(({ row }) => row.id === 'small'),
      'in the first ten',
    )
    const ready = () =>
      onFile(path, (db) => db.prepare('SELECT count(*) AS n FROM sendwright_messages WHERE state = 1').get()?.n)
    assert.ok((ready() as number) <= 200, `${ready()} made ready by one call`)
  })

  it('waiting already do not either, in turns of equal size', async () => {
    const { store } = openStore()
    await put(
      store,
      many(1_000, () => ({ status: 'queued', tenant: 'big' })),
    )
    await put(
      store,
      many(20, (i) => ({ status: 'queued', tenant: `t${i % 2}`, priority: i })),
    )
    const { held } = await store.due(30, lease)
    const taken = Map.groupBy(held, ({ row }) => row.tenant)
    assert.deepEqual(
      [...taken.values()].map(({ length }) => length),
      [10, 10, 10],
    )
    assert.deepEqual(
      taken.get('t1')?.map(({ row }) => row.priority),
      [19, 17, 15, 13, 11, 9, 7, 5, 3, 1],
    )
  })

  it('in turn from one call to the next', async () => {
    const { store } = openStore()
    await put(
      store,
      many(40, (i) => ({ status: 'queued', tenant: `t${i % 4}` })),
    )
    const seen = []
    for (let i = 0; i < 8; i++) seen.push((await store.due(1, lease)).held[0]!.row.tenant)
    assert.equal(new Set(seen.slice(0, 4)).size, 4)
    assert.deepEqual(seen.slice(4), seen.slice(0, 4))
  })
})

describe('P10: tenants left out', () => {
  const without = new Set(Array.from({ length: 5_000 }, (_, i) => `t${i}`))

  it('in thousands hide nothing, and cost one look each', async () => {
    const { store } = openStore()
    await put(
      store,
      many(5_000, (i) => ({ status: 'queued', tenant: `t${i}` })),
    )
    assert.deepEqual(await store.due(10, lease, { without }), { held: [] })
    const asked = many(40, (i) => ({ status: 'queued', ...(i % 2 ? { tenant: 'z' } : {}) }))
    await put(store, asked)
    const began = performance.now()
    const { held, next } = await store.due(30, lease, { without })
    assert.equal(held.length, 30)
    assert.equal(next, 0)
    const rest = await store.due(30, lease, { without })
    assert.ok(performance.now() - began < 2_000)
    assert.deepEqual(rest.next, undefined)
    const ids = [...held, ...rest.held].map(({ row }) => row.id)
    assert.deepEqual(ids.toSorted(), asked.map(({ id }) => id).toSorted())
    assert.equal((await store.due(1, lease)).held.length, 1, 'the others are where they were')
  })

  it('in more thousands than one call looks at hide nothing for good', async () => {
    const { store } = openStore()
    await put(
      store,
      many(12_000, (i) => ({ status: 'queued', tenant: `t${i}` })),
    )
    await put(
      store,
      many(100, () => ({ status: 'queued', tenant: 'a' })),
    )
    await put(
      store,
      many(1, () => ({ status: 'queued', tenant: 'z' })),
    )
    const all = new Set(Array.from({ length: 12_000 }, (_, i) => `t${i}`))
    const seen: (string | undefined)[] = []
    for (let call = 0; call < 4; call++) {
      const { held, next } = await store.due(5, lease, { without: all })
      assert.ok(next !== undefined && next <= 100)
      seen.push(...held.map(({ row }) => row.tenant))
    }
    assert.ok(seen.includes('z'))
    assert.ok(seen.includes('a'))
  })
})

describe('P10: what one call hands out', () => {
  it('is less than asked for when its content is large, and says that there is more', async () => {
    const { store } = openStore()
    const large = { ...work(), message: message({ text: 'x'.repeat(1_500_000), attachments: [] }) }
    await put(
      store,
      many(6, () => ({ status: 'queued', work: large })),
    )
    const first = await store.due(6, lease)
    assert.ok(first.held.length > 0 && first.held.length < 6)
    assert.equal(first.next, 0)
    assert.equal((await store.due(6, lease)).held.length, 6 - first.held.length)
  })

  it('ends leases on rows that are nobody’s work only so many at a time', async () => {
    const { path, store, clock } = openStore()
    const takenOver = async (row: Row) => {
      await store.settle({ ...row, status: 'sent' }, await claimed(store, row))
      await store.takeover(row.id, ['sent'], lease)
    }
    await Promise.all(many(220, () => ({})).map(takenOver))
    await clock.advance(lease.ms)
    await store.due(10, lease)
    const leased = () =>
      onFile(path, (db) => db.prepare('SELECT count(*) AS n FROM sendwright_messages WHERE state = 4').get()?.n)
    assert.equal(leased(), 20)
    await store.due(10, lease)
    assert.equal(leased(), 0)
  })
})

describe('P10: QUEUE_FULL', () => {
  const full = (error: unknown) => error instanceof MailError && error.code === 'QUEUE_FULL'

  it('refuses what would be one more, accepted or not, and takes it when there is room', async () => {
    const { path, store } = openStore({ maxQueued: 3 })
    await put(
      store,
      many(3, (i) => ({ status: i ? 'queued' : 'scheduled', dueAt: Date.UTC(2099, 0, 1) })),
    )
    await assert.rejects(async () => store.claim(rowOf({ status: 'queued', kind: 'queue' }), {}), full)
    const direct = rowOf({ accepted: false })
    const fence = await claimed(store, direct)
    await assert.rejects(async () => store.settle({ ...direct, accepted: true, status: 'queued' }, fence), full)
    const [{ row, fence: taken }] = (await store.due(1, lease)).held as [{ row: Row; fence: number }]
    assert.equal(await store.settle({ ...direct, accepted: true, status: 'queued' }, fence), true)
    assert.equal(
      await store.settle({ ...row, status: 'queued' }, taken),
      true,
      'what was accepted goes back in any case',
    )
    assert.equal(tableSizes(path).messages, 4)
    await assert.rejects(async () => store.claim(rowOf({ status: 'queued', kind: 'queue' }), {}), full)
  })

  it('counts what other processes put in', async () => {
    const { path, store } = openStore({ maxQueued: 5 })
    await put(
      store,
      many(1, () => ({ status: 'queued' })),
    )
    const other = sqlite(path, { clock: fakeClock() })
    open.push(other)
    await put(
      other,
      many(4, () => ({ status: 'queued' })),
    )
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    await assert.rejects(async () => store.claim(rowOf({ status: 'queued', kind: 'queue' }), {}), full)
  })
})

describe('P10: the file is searched, not scanned', () => {
  it('every statement finds what it wants by an index, but for the count of the queue', async () => {
    const statements = new Set<string>()
    const { prepare } = DatabaseSync.prototype
    DatabaseSync.prototype.prepare = function (this: DatabaseSync, sql, ...rest) {
      statements.add(sql)
      return prepare.call(this, sql, ...rest)
    }
    const { path, store, clock } = openStore()
    try {
      await everyVerb(store)
      await clock.advance(60 * day)
      await everyVerb(store)
    } finally {
      DatabaseSync.prototype.prepare = prepare
    }
    const scans = onFile(path, (database) =>
      [...statements]
        .filter((sql) => /^\s*(SELECT|UPDATE|DELETE)/.test(sql) && !/count\(\*\)|sqlite_schema/.test(sql))
        .flatMap((sql) =>
          database
            .prepare(`EXPLAIN QUERY PLAN ${sql}`)
            .all()
            .map(({ detail }) => detail as string)
            // The one row of `sendwright_store`, and index order from its beginning up to a limit.
            .filter((detail) => /^SCAN (?!sendwright_store$)/.test(detail) && !/LIMIT/.test(sql))
            .map((detail) => `${detail}: ${sql}`),
        ),
    )
    assert.deepEqual(scans, [])
    const sorts = onFile(path, (database) =>
      [...statements]
        .filter((sql) => /ORDER BY/.test(sql))
        .filter((sql) =>
          database
            .prepare(`EXPLAIN QUERY PLAN ${sql}`)
            .all()
            .some(({ detail }) => detail === 'USE TEMP B-TREE FOR ORDER BY'),
        ),
    )
    assert.deepEqual(sorts, [])
    assert.ok(statements.size > 40, `${statements.size} statements`)
  })

  async function everyVerb(store: MailStore): Promise<void> {
    const row = rowOf({ key: 'k', tags: ['x'], kind: 'queue', work: work(), createdAt: Date.UTC(2026, 0, 1) })
    const claim = await store.claim(row, { lease, look: { keys: ['ada@example.com'], scopes: ['all'] } })
    assert.ok(claim.state === 'claimed')
    await store.claim(rowOf({ key: 'k' }), {})
    await store.renew({ ...row, providerMessageId: 'p' }, claim.fence, lease.ms)
    await store.renew({ ...row, providerMessageId: 'q', tags: ['y'] }, claim.fence, lease.ms)
    await store.settle({ ...row, status: 'sent', providerMessageId: 'q' }, claim.fence, { release: true })
    await store.takeover(row.id, ['sent'], lease)
    for (const index of [undefined, { status: 'sent' }, { tag: 'x' }, { recipient: 'ada@example.com' }] as const) {
      await store.list({ limit: 1, ...(index ? { index } : {}) })
    }
    await put(
      store,
      many(3, (i) => ({ status: i ? 'queued' : 'scheduled', dueAt: 0, tenant: `t${i}` })),
    )
    await dueIds(store, 2)
    await store.read(row.id)
    await store.find({ providerMessageId: 'q' })
    const gone = rowOf({ providerMessageId: 'r' })
    await store.settle(gone, await claimed(store, gone), { remove: true })
    await store.suppress.add([suppression()])
    await store.suppress.hasMany('t', ['a'], ['all'])
    await store.suppress.list(undefined, { limit: 1 })
    await store.suppress.remove(undefined, 'ada@example.com', 'all')
    await store.suppress.remove(undefined, 'ada@example.com')
    const take = await store.limits.take('k', [{ limit: 5, per: day }], 1)
    if (take.ok) await store.limits.refund('k', [{ limit: 5, per: day }], 1, take.at)
    await store.limits.usage('k', [{ limit: 5, per: day }])
    await store.counters.add('c', 1)
    await store.counters.read(['c'])
    await Promise.all(Array.from({ length: 40 }, (_, i) => store.once(`event ${i}`, 1)))
    const keyv = store as ReturnType<typeof sqlite>
    await keyv.set('a', 'b', 1_000)
    await keyv.getMany(['a', 'c'])
    for await (const _ of keyv.iterator());
    await keyv.delete('a')
    await keyv.clear()
  }
})
