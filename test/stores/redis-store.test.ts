import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'redis'
import type { Clock } from '../../src/clock.ts'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { RedisEntries } from '../../src/stores/redis/entries.ts'
import { Link } from '../../src/stores/redis/link.ts'
import { type RedisClient, redis } from '../../src/stores/redis.ts'
import type { MailStore, Row } from '../../src/stores/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, dueIds, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'
import { rejection } from '../support/rejection.ts'

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
  const newPrefix = () => `${runPrefix}-store-${++prefixes}`
  const open = (prefix = newPrefix(), options: { clock?: Clock; maxQueued?: number; client?: RedisClient } = {}) =>
    redis({ client, prefix, ...options })
  before(() => client.connect())
  after(async () => {
    await removeKeys(url)
    client.destroy()
    await server.stop()
  })

  describe('by the clock of the server', () => {
    it('S6: leases, delays, once and windows end by themselves', async () => {
      const store = open()
      const row = rowOf({ key: 'k' })
      const claim = await store.claim(row, { lease: { owner: 'a', ms: 300 } })
      assert.ok(claim.state === 'claimed')
      const later = rowOf({ kind: 'queue' })
      await store.settle({ ...later, ...queued }, await claimed(store, later), { delay: 300 })
      const scheduled = rowOf({ status: 'scheduled', kind: 'queue', dueAt: Date.now() + 300 })
      await store.claim(scheduled, {})
      const windows = [{ limit: 1, per: 300 }]
      const take = await store.limits.take('k', windows, 1)
      assert.ok(take.ok && Math.abs(take.at - Date.now()) < day)
      assert.equal(await store.once('event', 300), true)

      assert.equal(await store.takeover(row.id, ['dispatching'], lease), undefined)
      const { next } = await store.due(10, lease)
      assert.ok(next !== undefined && next > 0 && next <= 300)
      assert.equal((await store.limits.take('k', windows, 1)).ok, false)
      assert.equal(await store.once('event', 300), false)

      await sleep(700)
      assert.deepEqual((await dueIds(store, 10)).sort(), [row.id, later.id, scheduled.id].sort())
      assert.equal((await store.limits.take('k', windows, 1)).ok, true)
      assert.equal(await store.once('event', 300), true)
      await store.close()
    })

    it('fences ascend, also after a row was removed and came again', async () => {
      const store = open()
      const row = rowOf()
      const first = await claimed(store, row)
      await store.settle(row, first, { remove: true })
      const second = await claimed(store, row)
      assert.ok(second > first)
      assert.equal(await store.settle(row, first), false)
      await store.close()
    })
  })

  describe('K4: a key that ended and went to another row', () => {
    for (const options of [{ release: true }, { remove: true }]) {
      it(`stays there when the old row is settled with ${Object.keys(options)}`, async () => {
        const clock = fakeClock()
        const store = open(undefined, { clock })
        const [old, current] = [rowOf({ key: 'k' }), rowOf({ key: 'k' })]
        await store.settle({ ...old, status: 'failed' }, await claimed(store, old, 1_000))
        await clock.advance(1_000)
        await claimed(store, current)
        const held = await store.takeover(old.id, ['failed'], lease)
        assert.equal(await store.settle(old, held!.fence, options), true)
        assert.partialDeepStrictEqual(await store.claim(rowOf({ key: 'k' }), { lease }), { row: { id: current.id } })
      })
    }
  })

  describe('D2: a row that cannot be read', () => {
    const torn: Readonly<Record<string, (key: string) => unknown>> = {
      'half a body': async (key) => client.hSet(key, 'b', (await client.hGet(key, 'b'))!.slice(0, 30)),
      'another letter in its body': async (key) =>
        client.hSet(key, 'b', (await client.hGet(key, 'b'))!.replace('order', 'ordes')),
      'half its content': async (key) => client.hSet(key, 'c', (await client.hGet(key, 'c'))!.slice(0, 30)),
      'no notes': (key) => client.hSet(key, 'm', 'what'),
    }
    for (const [name, tear] of Object.entries(torn)) {
      it(`with ${name} is set aside and reported, and the others go on`, async () => {
        const clock = fakeClock()
        const prefix = newPrefix()
        const store = open(prefix, { clock })
        const [bad, good] = [rowOf({ ...queued, key: 'k', work: work() }), rowOf(queued)]
        await store.claim(bad, {})
        await store.claim(good, {})
        await tear(`{${prefix}}:row:${bad.id}`)
        for (const ask of [() => store.read(bad.id), () => store.claim(rowOf({ key: 'k' }), { lease })]) {
          const error = await rejection(Promise.resolve(ask()))
          assert.equal(error.code, 'STORE_UNAVAILABLE')
          assert.equal(error.id, bad.id)
        }
        const due = await store.due(10, lease)
        assert.deepEqual([due.held.map(({ row }) => row.id), due.unreadable], [[good.id], [bad.id]])
        await store.settle({ ...good, status: 'sent' }, due.held[0]!.fence)
        await clock.advance(10 * lease.ms)
        assert.deepEqual(await store.due(10, lease), { held: [] })
        await assert.rejects(async () => store.takeover(bad.id, ['queued'], lease), code('STORE_UNAVAILABLE'))
        const page = await store.list({})
        if (name !== 'half its content') assert.deepEqual(page.unreadable, [bad.id])
        assert.ok(page.items.some(({ id }) => id === good.id))
        await clock.advance(10 * lease.ms)
        assert.deepEqual(await store.due(10, lease), { held: [] })
        await store.close()
      })
    }

    it('found by a takeover is set aside as well', async () => {
      const clock = fakeClock()
      const prefix = newPrefix()
      const store = open(prefix, { clock })
      const row = rowOf(queued)
      await store.claim(row, {})
      await torn['half a body']!(`{${prefix}}:row:${row.id}`)
      await assert.rejects(async () => store.takeover(row.id, ['queued'], lease), code('STORE_UNAVAILABLE'))
      await clock.advance(10 * lease.ms)
      assert.deepEqual(await store.due(10, lease), { held: [] })
      await store.close()
    })

    it('S3: a suppression that cannot be read is a failure, not nobody', async () => {
      const prefix = newPrefix()
      const store = open(prefix)
      await store.suppress.add([suppression()])
      await client.hSet(`{${prefix}}:no:-:ada@example.com`, 'all', 'what')
      const ask = async () => store.suppress.hasMany(undefined, ['ada@example.com'], ['all'])
      await assert.rejects(ask, code('STORE_UNAVAILABLE'))
    })
  })

  describe('lists', () => {
    it('of rows made in one moment go on where they ended, also when that row is gone', async () => {
      const store = open()
      const made: Row[] = []
      for (let i = 0; i < 60; i++) {
        const row = rowOf({ status: 'sent', ...(i % 3 ? {} : { createdAt: Date.UTC(2026, 0, 2) }) })
        await store.settle(row, await claimed(store, row))
        made.push(row)
      }
      const order = made.toSorted((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1)).map(({ id }) => id)
      const seen: string[] = []
      for (let cursor: string | undefined; ; ) {
        const page = await store.list({ limit: 7, ...(cursor === undefined ? {} : { cursor }) })
        seen.push(...page.items.map(({ id }) => id))
        cursor = page.cursor
        if (cursor === undefined) break
        const last = await store.takeover(seen.at(-1)!, ['sent'], lease)
        await store.settle(last!.row, last!.fence, { remove: seen.length % 2 === 0 })
      }
      assert.deepEqual(seen, order)
      const since = Date.UTC(2026, 0, 2)
      const ids = async (query: Parameters<MailStore['list']>[0]) => (await store.list(query)).items.length
      assert.equal((await ids({ since })) + (await ids({ until: since })), await ids({}))
    })

    it('P13: a page between rows that are over is short, not endless, and the next goes on', async () => {
      const clock = fakeClock()
      const prefix = newPrefix()
      const store = open(prefix, { clock })
      const put = async (records: number) => {
        const row = rowOf({ status: 'sent' })
        await store.settle(row, await claimed(store, row), { retention: { records } })
        return row.id
      }
      const oldest = await put(30 * day)
      for (let i = 0; i < 700; i++) await put(2 * day)
      await clock.advance(3 * day)
      const pages: string[][] = []
      for (let cursor: string | undefined; ; ) {
        const page = await store.list({ limit: 10, ...(cursor === undefined ? {} : { cursor }) })
        pages.push(page.items.map(({ id }) => id))
        cursor = page.cursor
        if (cursor === undefined) break
      }
      assert.deepEqual(pages, [[], [oldest]])
    })

    it('VALIDATION_ERROR for a cursor that is none of ours', async () => {
      const store = open()
      const wrong = ['x', '', '12', 'W10', Buffer.from('["a","b","c"]').toString('base64url'), '='.repeat(2_000)]
      for (const cursor of [...wrong, Buffer.from('["x","y"]').toString('base64url'), 5 as never]) {
        await assert.rejects(async () => store.list({ cursor }), code('VALIDATION_ERROR'), cursor)
      }
      for (const cursor of wrong) {
        await assert.rejects(async () => store.suppress.list(undefined, { cursor }), code('VALIDATION_ERROR'), cursor)
      }
    })
  })

  describe('numbers and texts', () => {
    it('large numbers stay exact', async () => {
      const clock = fakeClock()
      const store = open(undefined, { clock })
      await store.counters.add('c', Number.MAX_SAFE_INTEGER - 1)
      await store.counters.add('c', 1)
      assert.deepEqual(await store.counters.read(['c']), [Number.MAX_SAFE_INTEGER])
      const windows = [{ limit: 2 ** 40, per: 400 * day }]
      assert.partialDeepStrictEqual(await store.limits.take('l', windows, 2 ** 40 - 1), {
        ok: true,
        used: [2 ** 40 - 1],
      })
      assert.equal((await store.limits.take('l', windows, 2)).ok, false)
      assert.equal((await store.limits.take('l', windows, 1)).ok, true)
      assert.deepEqual(await store.limits.usage('l', windows), [2 ** 40])
      const row = rowOf({ createdAt: 1_767_225_600_123.5, key: 'k' })
      const claim = await store.claim(row, { lease, keyTtl: Number.POSITIVE_INFINITY, retention: { records: 1e300 } })
      assert.ok(claim.state === 'claimed')
      await store.settle({ ...row, status: 'sent' }, claim.fence)
      await clock.advance(100_000 * day)
      assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'held')
    })

    it('S2: texts that UTF-8 would make one stay two', async () => {
      const store = open()
      const texts = ['a\ud800', 'a\ud801', 'a\ufffd', 'a\uffffd800', 'a\uffff', 'a', '', 'a b', 'a\0', 'a\n', '{a}:']
      for (const [i, text] of texts.entries()) {
        await store.suppress.add([suppression({ tenant: text, key: text, scope: text, note: `${i}` })])
        await store.counters.add(text, i + 1)
        assert.equal(await store.once(text, day), true)
      }
      for (const [i, text] of texts.entries()) {
        const [entry, ...others] = await store.suppress.get(text, text)
        assert.deepEqual([entry?.key, entry?.scope, entry?.note, others.length], [text, text, `${i}`, 0])
        assert.equal((await store.suppress.hasMany(text, [text], [text]))[0]?.note, `${i}`)
      }
      assert.deepEqual(
        await store.counters.read(texts),
        texts.map((_, i) => i + 1),
      )
    })

    it('entries: all texts, in the order of their keys, each once while others come and go', async () => {
      const link = new Link(
        { send: (_, args) => client.sendCommand(args), isOpen: () => true, repeats: true },
        newPrefix(),
        undefined,
        async () => {},
      )
      const entries = new RedisEntries(link)
      const keys = ['a\ud800', 'a\ud801', 'b', '', 'a', 'a b', 'a\n1', ...Array.from({ length: 30 }, (_, i) => `n${i}`)]
      await entries.set(
        's',
        keys.map((key) => ({ key, value: `v ${key}\n\ud800` })),
      )
      await entries.set('', [{ key: 'a', value: 'other' }])
      assert.deepEqual(
        await entries.get('s', keys),
        keys.map((key) => `v ${key}\n\ud800`),
      )
      const seen: string[] = []
      for (let after: string | undefined, round = 0; ; round++) {
        const page = await entries.scan('s', after, 4)
        if (page.length === 0) break
        seen.push(...page.map(([key]) => key))
        after = seen.at(-1)
        await entries.set('s', [{ key: `A new ${round}`, value: 'x' }])
        await entries.delete('s', [after!])
      }
      assert.deepEqual(seen.filter((key) => keys.includes(key)).sort(), keys.toSorted())
      assert.equal(new Set(seen).size, seen.length)
      await entries.clear('s')
      assert.deepEqual(await entries.scan('s', undefined, 10), [])
      assert.deepEqual(await entries.get('', ['a']), ['other'])
    })
  })
}
