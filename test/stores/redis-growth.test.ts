import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { createClient } from 'redis'
import { redis } from '../../src/stores/redis.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { type FakeClock, fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, rowOf, suppression } from '../../src/testing/stores/samples.ts'
import { hasRedisServer, type OwnRedis, startRedis } from '../support/redis-server.ts'

const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000
const queued = { status: 'queued', kind: 'queue' } as const
const few = 200

if (!hasRedisServer()) it('growth of the Redis store', { skip: 'install redis-server' }, () => {})
else {
  let server: OwnRedis
  const open = () => createClient({ url: server.url }).on('error', () => {})
  let client: ReturnType<typeof open>
  before(async () => {
    server = await startRedis()
    client = open()
    await client.connect()
  })
  after(async () => {
    client.destroy()
    await server.stop()
  })
  let prefixes = 0

  /** Commands the server ran, those inside scripts too. */
  async function commands(): Promise<number> {
    const stats = await client.info('commandstats')
    return [...stats.matchAll(/^cmdstat_(?!info|config)[^:]+:calls=(\d+)/gm)].reduce((sum, [, n]) => sum + Number(n), 0)
  }

  interface Case {
    fill(store: MailStore, count: number, clock: FakeClock): Promise<void>
    act(store: MailStore, clock: FakeClock): unknown
  }

  async function inBatches(count: number, act: (i: number) => unknown): Promise<void> {
    for (let i = 0; i < count; i += 100) {
      await Promise.all(Array.from({ length: Math.min(100, count - i) }, (_, j) => act(i + j)))
    }
  }

  const settled = async (store: MailStore, change: Parameters<typeof rowOf>[0] = {}) => {
    const row = rowOf(change)
    await store.settle({ ...row, status: 'sent' }, await claimed(store, row), { retention: { records: day } })
  }

  const cases: Readonly<Record<string, Case>> = {
    'a claim and its settling among settled rows': {
      fill: (store, count) => inBatches(count, (i) => settled(store, { key: `k${i}`, tags: ['x'] })),
      act: (store) => settled(store, { key: 'one more', tags: ['x'] }),
    },
    'a claim among rows that are over and not swept yet': {
      async fill(store, count, clock) {
        await inBatches(count, () => settled(store))
        await clock.advance(2 * day)
      },
      act: (store) => claimed(store, rowOf()),
    },
    'due, with the queue of another tenant': {
      async fill(store, count) {
        await inBatches(count, () => store.claim(rowOf({ ...queued, tenant: 'big' }), {}))
        await store.claim(rowOf({ ...queued, tenant: 'small' }), {})
      },
      async act(store) {
        const { held } = await store.due(2, lease)
        assert.deepEqual(held.map(({ row }) => row.tenant).sort(), ['big', 'small'])
      },
    },
    'due, with many scheduled rows of another tenant come due at once': {
      async fill(store, count, clock) {
        const dueAt = clock.now() + 1_000
        const scheduled = { status: 'scheduled', kind: 'queue', dueAt } as const
        await inBatches(count, () => store.claim(rowOf({ ...scheduled, tenant: 'big' }), {}))
        await store.claim(rowOf({ ...scheduled, tenant: 'small', dueAt: dueAt + 1 }), {})
        await clock.advance(2_000)
      },
      async act(store) {
        const { held } = await store.due(2, lease)
        assert.deepEqual(held.map(({ row }) => row.tenant).sort(), ['big', 'small'])
      },
    },
    'due, with many tenants': {
      fill: (store, count) => inBatches(count, (i) => store.claim(rowOf({ ...queued, tenant: `t${i}` }), {})),
      act: async (store) => assert.equal((await store.due(5, lease)).held.length, 5),
    },
    'due, with many rows whose lease ran out': {
      async fill(store, count, clock) {
        await inBatches(count, () => claimed(store, rowOf()))
        await clock.advance(2 * lease.ms)
      },
      act: async (store) => assert.equal((await store.due(5, lease)).held.length, 5),
    },
    'a takeover of a row that waits': {
      fill: (store, count) =>
        inBatches(count, (i) => store.claim(rowOf({ ...queued, ...(i ? {} : { id: 'msg_first' }) }), {})),
      act: async (store) => {
        const held = await store.takeover('msg_first', ['queued'], lease)
        assert.ok(held && (await store.settle(held.row, held.fence)))
      },
    },
    'a page in the middle of rows made at one moment': {
      fill: (store, count) => inBatches(count, () => settled(store)),
      async act(store) {
        const { cursor } = await store.list({ limit: 30 })
        assert.equal((await store.list({ limit: 30, cursor: cursor! })).items.length, 30)
      },
    },
    'a page of suppressions, and one added': {
      fill: (store, count) => inBatches(count, (i) => store.suppress.add([suppression({ key: `a${i}@x.example` })])),
      async act(store) {
        const { cursor } = await store.suppress.list(undefined, { limit: 30 })
        assert.equal((await store.suppress.list(undefined, { limit: 30, cursor: cursor! })).items.length, 30)
        await store.suppress.add([suppression()])
      },
    },
    'a take among the windows of many keys': {
      fill: (store, count) => inBatches(count, (i) => store.limits.take(`k${i}`, [{ limit: 9, per: day }], 1)),
      act: (store) => store.limits.take('k1', [{ limit: 9, per: day }], 1),
    },
  }

  describe('P10: no call does more because more is there', () => {
    for (const [name, { fill, act }] of Object.entries(cases)) {
      it(name, async () => {
        const counts: number[] = []
        for (const count of [few, 8 * few]) {
          const clock = fakeClock()
          const store = redis({ client, prefix: `growth-${++prefixes}`, clock })
          await fill(store, count, clock)
          await store.read('x')
          const before = await commands()
          await act(store, clock)
          counts.push((await commands()) - before)
        }
        // Halving eight times as much takes three steps more.
        assert.ok(counts[1]! <= counts[0]! + 6, `${counts}`)
      })
    }
  })
}
