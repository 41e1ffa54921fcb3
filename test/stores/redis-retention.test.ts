import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import type { Clock } from '../../src/clock.ts'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { type RedisClient, redis } from '../../src/stores/redis.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { checkData, readData } from '../support/redis-data.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'

const server = await findRedis()
const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000
const queued = { status: 'queued', kind: 'queue' } as const
const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected

if ('skip' in server) it('redis', { skip: server.skip }, () => {})
else {
  const { url } = server
  const client = createClient({ url }).on('error', () => {})
  let prefixes = 0
  const newPrefix = () => `${runPrefix}-retention-${++prefixes}`
  const open = (prefix = newPrefix(), options: { clock?: Clock; maxQueued?: number; client?: RedisClient } = {}) =>
    redis({ client, prefix, ...options })
  before(() => client.connect())
  after(async () => {
    await removeKeys(url)
    client.destroy()
    await server.stop()
  })

  describe('what is over and what is not', () => {
    it('content somebody works with stays, whatever its time', async () => {
      const clock = fakeClock()
      const store = open(undefined, { clock })
      const row = rowOf({ kind: 'queue', status: 'failed', work: work() })
      await store.settle(row, await claimed(store, row), { retention: { content: 10_000 } })
      await clock.advance(9_000)
      const held = await store.takeover(row.id, ['failed'], lease)
      await clock.advance(9_000)
      for (let i = 0; i < 3; i++) await store.due(1, lease)
      assert.deepEqual((await store.read(row.id))?.work, row.work)
      assert.ok(await store.settle(held!.row, held!.fence, { retention: { content: 10_000 } }))
      await clock.advance(9_999)
      assert.deepEqual((await store.read(row.id))?.work, row.work)
      await clock.advance(1)
      assert.equal((await store.read(row.id))?.work, undefined)
    })

    it('a row that is over leaves nothing to the one that takes its id', async () => {
      const clock = fakeClock()
      const prefix = newPrefix()
      const store = open(prefix, { clock })
      const row = rowOf({ key: 'k', tags: ['old'], status: 'sent', providerMessageId: 'p' })
      await store.settle(row, await claimed(store, row, 1_000), { retention: { records: 10_000 } })
      await clock.advance(20_000)
      await claimed(store, { ...rowOf({ tags: ['new'] }), id: row.id })
      checkData(await readData(url, prefix))
      assert.equal((await store.list({ index: { tag: 'old' } })).items.length, 0)
      assert.equal((await store.list({ index: { tag: 'new' } })).items.length, 1)
      assert.equal(await store.find({ providerMessageId: 'p' }), undefined)
    })

    it('an entry that is set again for good does not end with the one before', async () => {
      const clock = fakeClock()
      const store = open(undefined, { clock })
      await store.set('e', 'one', 1_000)
      await store.set('e', 'two')
      await clock.advance(2_000)
      await store.set('other', 'x')
      assert.equal(await store.get('e'), 'two')
    })
  })

  describe('what expires in the server', () => {
    it('K1: the note of a key, once its row is settled and its time is over; never while it is open', async () => {
      const prefix = newPrefix()
      const store = open(prefix)
      const row = rowOf({ key: 'k' })
      const fence = await claimed(store, row, 60_000)
      const [key] = await client.keys(`{${prefix}}:key:*`)
      assert.equal(await client.pTTL(key!), -1)
      await store.settle({ ...row, status: 'sent' }, fence)
      assert.ok((await client.pTTL(key!)) > 60_000)
      const held = await store.takeover(row.id, ['sent'], lease)
      assert.ok(await store.renew(row, held!.fence, lease.ms))
      assert.equal(await client.pTTL(key!), -1)
      await store.settle({ ...row, status: 'unknown' }, held!.fence)
      assert.equal(await client.pTTL(key!), -1)
    })

    it('P10: what a call leaves behind on its own ends on its own', async () => {
      const prefix = newPrefix()
      const own = new Redis(url).on('error', () => {})
      const store = redis({ client: own, prefix })
      await store.once('x', 1_000)
      await store.limits.take('l', [{ limit: 1, per: 1_000 }], 1)
      await store.counters.add('c', 1)
      own.disconnect()
      for (const key of await client.keys(`{${prefix}}:*`)) {
        const lasting = key.endsWith(':version')
        assert.equal((await client.pTTL(key)) === -1, lasting, key)
      }
    })
  })

  describe('P10: what is over goes in small steps', () => {
    it('each write sweeps a few rows, each due a bounded number, whatever has gathered', async () => {
      const clock = fakeClock()
      const prefix = newPrefix()
      const store = open(prefix, { clock })
      const rows = async () => [...(await readData(url, prefix)).hashes.keys()].filter((key) => key.startsWith('row:'))
      for (let i = 0; i < 200; i++) {
        const row = rowOf({ tags: ['x'], ...(i % 2 ? { key: `k${i}` } : {}) })
        await store.settle({ ...row, status: 'sent' }, await claimed(store, row, 1_000), {
          retention: { records: day },
        })
      }
      await clock.advance(day + 60_000)
      assert.equal((await store.list({})).items.length, 0, 'gone at once for whoever asks')
      assert.equal((await rows()).length, 200)
      await claimed(store, rowOf())
      const afterClaim = (await rows()).length
      assert.ok(afterClaim <= 200 && afterClaim >= 195, `${afterClaim}`)
      await store.due(1, lease)
      const afterDue = (await rows()).length
      assert.ok(afterDue < afterClaim && afterDue >= afterClaim - 100, `${afterDue}`)
      for (let i = 0; i < 10; i++) await store.due(1, lease)
      assert.equal((await rows()).length, 1)
    })

    it('with a life shorter than what is written, the rows do not grow in number', async () => {
      const clock = fakeClock()
      const prefix = newPrefix()
      const store = open(prefix, { clock })
      const sizes: number[] = []
      for (let i = 0; i < 1_200; i++) {
        const row = rowOf({ key: `k${i}` })
        await store.settle({ ...row, status: 'sent' }, await claimed(store, row, 1_000), {
          retention: { records: 60_000 },
        })
        await clock.advance(1_000)
        if (i % 400 === 399) sizes.push(Number(await client.zCard(`{${prefix}}:list:-`)))
      }
      assert.ok(
        sizes.every((size) => size <= 130),
        `${sizes}`,
      )
    })

    it('suppressions and entries that ended go too', async () => {
      const clock = fakeClock()
      const prefix = newPrefix()
      const store = open(prefix, { clock })
      for (let i = 0; i < 60; i++) {
        await store.suppress.add([suppression({ key: `a${i}@x.example`, expiresAt: clock.now() + 1_000 })])
        await store.set(`e${i}`, 'v', 1_000)
      }
      await clock.advance(1_000)
      for (let i = 0; i < 10; i++) {
        await store.suppress.add([suppression()])
        await store.set('last', 'v')
      }
      const { hashes, texts, sets } = await readData(url, prefix)
      assert.equal([...hashes.keys()].filter((name) => name.startsWith('no:')).length, 1)
      assert.equal([...texts.keys()].filter((name) => name.startsWith('entry:')).length, 1)
      assert.deepEqual([sets.has('no-ends'), sets.has('entry-ends')], [false, false])
    })

    it('QUEUE_FULL: no more than maxQueued rows wait; what was accepted goes on', async () => {
      const store = open(undefined, { maxQueued: 3 })
      for (let i = 0; i < 3; i++) await store.claim(rowOf(queued), {})
      await assert.rejects(async () => store.claim(rowOf(queued), {}), code('QUEUE_FULL'))
      const keyed = rowOf({ key: 'k', accepted: false })
      const fence = await claimed(store, keyed)
      const accepted = { ...keyed, ...queued, accepted: true }
      await assert.rejects(async () => store.settle(accepted, fence), code('QUEUE_FULL'))
      assert.deepEqual(await store.read(keyed.id), keyed, 'nothing changed')
      const [held] = (await store.due(1, lease)).held
      await store.claim(rowOf(queued), {})
      assert.equal(await store.settle(held!.row, held!.fence), true)
      const taken = (await store.due(10, lease)).held
      assert.equal(taken.length, 4)
      assert.equal(await store.settle(accepted, fence), true)
      // One that had ended comes in like a new one.
      const { row: ended, fence: its } = taken[0]!
      assert.equal(await store.settle({ ...ended, status: 'failed' }, its), true)
      for (let i = 0; i < 2; i++) await store.claim(rowOf(queued), {})
      const again = await store.takeover(ended.id, ['failed'], lease)
      await assert.rejects(async () => store.settle({ ...again!.row, ...queued }, again!.fence), code('QUEUE_FULL'))
      assert.equal(await store.settle(again!.row, again!.fence), true)
    })
  })
}
