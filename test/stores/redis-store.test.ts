import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createClient, createClientPool, type createSentinel, RESP_TYPES } from 'redis'
import type { Clock } from '../../src/clock.ts'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { RedisEntries } from '../../src/stores/redis/entries.ts'
import { Link } from '../../src/stores/redis/link.ts'
import { ServerClock } from '../../src/stores/redis/server-clock.ts'
import { type RedisClient, redis } from '../../src/stores/redis.ts'
import type { MailStore, Row } from '../../src/stores/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, dueIds, message, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { checkData, readData } from '../support/redis-data.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'
import { rejection } from '../support/rejection.ts'

const server = await findRedis()
const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000
const queued = { status: 'queued', kind: 'queue' } as const
const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected

describe('what redis() takes', () => {
  it('CONFIGURATION_ERROR for what is no client, and for options that are none', () => {
    const client = { isOpen: true, sendCommand: async () => null }
    const notClients = ['redis://127.0.0.1', undefined, null, {}, new Map(), { isOpen: true }, { sendCommand() {} }]
    for (const bad of notClients) assert.throws(() => redis({ client: bad as never }), code('CONFIGURATION_ERROR'))
    for (const bad of [
      { prefix: '' },
      { prefix: 'a{b}' },
      { prefix: 'a b' },
      { prefix: 'x'.repeat(65) },
      { durability: 'all' as never },
      { maxQueued: 0 },
      { maxQueued: Number.NaN },
    ]) {
      assert.throws(() => redis({ client, ...bad }), code('CONFIGURATION_ERROR'))
    }
    assert.throws(() => redis(undefined as never), code('CONFIGURATION_ERROR'))
    assert.deepEqual(redis({ client }).guarantees, { scope: 'cluster', durability: 'process-crash', list: true })
  })

  it('P9: a client that nobody connected is said to be so', async () => {
    const store = redis({ client: createClient({ url: 'redis://127.0.0.1:1' }) })
    assert.match((await rejection(Promise.resolve(store.read('x')))).message, /not connected.*connect\(\)/)
  })

  it('P9: answers that make no sense are a failure, not a default', async () => {
    for (const answer of [null, 'OK', [], [1], ['ok'], new Error('x'), undefined]) {
      const store = redis({ client: { isOpen: true, sendCommand: async () => answer } })
      assert.equal((await rejection(Promise.resolve(store.once('x', 1_000)))).code, 'STORE_UNAVAILABLE')
    }
  })

  it('L2: an error holds none of the words of the driver', async () => {
    const client = {
      isOpen: true,
      async sendCommand() {
        throw new Error('connect to redis://user:secret@host failed for ada@example.com')
      },
    }
    const error = await rejection(Promise.resolve(redis({ client }).read('x')))
    assert.equal(error.code, 'STORE_UNAVAILABLE')
    assert.doesNotMatch(error.message, /secret|ada@/)
  })
})

describe('the server’s clock', () => {
  it('is taken for what it shows at least', () => {
    const clock = new ServerClock()
    assert.equal(clock.known, false)
    clock.learn(10_000, 1_000)
    assert.equal(clock.at(1_500), 9_500 + 1_000)
    clock.learn(10_000, 1_400)
    assert.ok(clock.at(1_500) >= 10_499, 'an answer that was long on its way changes nothing')
    clock.learn(11_000, 1_600)
    assert.equal(clock.at(1_600), 11_000, 'one that was faster does')
  })

  it('P9: set forth or back, the next answer tells', () => {
    const clock = new ServerClock()
    clock.learn(day, 0)
    clock.learn(2 * day, 10)
    assert.equal(clock.at(10), 2 * day)
    clock.learn(day, 20)
    assert.equal(clock.at(20), day)
  })

  it('a command that was refused as late because the clock was set forth is done all the same', async () => {
    let time = 1_000_000
    const seen: string[] = []
    const client = {
      isOpen: true,
      async sendCommand([name, , , , deadline]: string[]) {
        if (name === 'CONFIG') return []
        seen.push(deadline!)
        if (seen.length === 2) time += day
        return Number(deadline) < time ? ['late', `${time}`] : ['first', `${time}`]
      },
    }
    assert.equal(await redis({ client }).once('x', 1_000), true)
    assert.equal(seen.length, 3)
  })
})

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

  describe('one round trip', () => {
    it('every verb is one command, whatever it does', async () => {
      let commands = 0
      const counting = {
        isOpen: true,
        sendCommand: (command: string[]) => {
          commands++
          return client.sendCommand(command)
        },
      }
      const prefix = newPrefix()
      const store = open(prefix, { client: counting })
      const look = { keys: ['ada@example.com'], scopes: ['all'] }
      const row = rowOf({ key: 'k', tags: ['x'] })
      const fence = await claimed(store, row)
      const windows = [{ limit: 5, per: 1_000 }]
      const verbs: Readonly<Record<string, () => unknown>> = {
        claim: () => store.claim(rowOf({ key: 'other' }), { lease, look }),
        'held claim': () => store.claim(rowOf({ key: 'k' }), { lease, look }),
        renew: () => store.renew(row, fence, lease.ms, look),
        settle: () => store.settle({ ...row, status: 'sent', providerMessageId: 'p' }, fence),
        takeover: () => store.takeover(row.id, ['sent'], lease),
        read: () => store.read(row.id),
        find: () => store.find({ messageId: row.messageId }),
        'find what a provider named': () => store.find({ providerMessageId: 'p' }),
        list: () => store.list({ index: { tag: 'x' } }),
        due: () => store.due(10, lease),
        add: () => store.suppress.add([suppression(), suppression({ scope: 'topic:a' })]),
        hasMany: () => store.suppress.hasMany(undefined, look.keys, look.scopes),
        get: () => store.suppress.get(undefined, 'ada@example.com'),
        remove: () => store.suppress.remove(undefined, 'ada@example.com'),
        'suppress.list': () => store.suppress.list(undefined, {}),
        take: () => store.limits.take('k', windows, 1),
        refund: () => store.limits.refund('k', windows, 1, Date.now()),
        usage: () => store.limits.usage('k', windows),
        'counters.add': () => store.counters.add('c', 1),
        'counters.read': () => store.counters.read(['c', 'd']),
        once: () => store.once('x', 1_000),
      }
      // The first call of each may have to give the server its script.
      for (const verb of Object.values(verbs)) await verb()
      for (const [name, verb] of Object.entries(verbs)) {
        commands = 0
        await verb()
        assert.equal(commands, 1, name)
      }
      await store.close()
    })

    it('content that is in the store already is not sent again', async () => {
      let sent = 0
      const counting = {
        isOpen: true,
        sendCommand: (command: string[]) => {
          sent += command.reduce((sum, { length }) => sum + length, 0)
          return client.sendCommand(command)
        },
      }
      const clock = fakeClock()
      const store = open(undefined, { client: counting, clock })
      const content = { filename: 'a', content: new Uint8Array(300_000), contentType: 'application/octet-stream' }
      const row = rowOf({ ...queued, work: { ...work(), message: message({ attachments: [content] }) } })
      await store.claim(row, {})
      assert.ok(sent > 400_000)
      const [held] = (await store.due(1, lease)).held
      const after = sent
      const renewed = { ...held!.row, status: 'dispatching' } as const
      assert.ok(await store.renew(renewed, held!.fence, lease.ms))
      assert.ok(await store.settle({ ...renewed, status: 'failed' }, held!.fence, { retention: { content: day } }))
      assert.ok(sent - after < 20_000)
      assert.deepEqual((await store.read(row.id))?.work, row.work)

      await clock.advance(day)
      const again = await store.takeover(row.id, ['failed'], lease)
      assert.equal(again?.row.work, undefined)
      assert.ok(await store.settle({ ...renewed, status: 'failed' }, again!.fence), 'what has gone is sent in full')
      assert.deepEqual((await store.read(row.id))?.work, row.work)
      await store.close()
    })
  })

  describe('whatever client it is', () => {
    const reads = async (store: MailStore) => {
      const row = rowOf({ ...queued, key: 'k', work: work() })
      await store.claim(row, {})
      const [held] = (await store.due(1, lease)).held
      assert.deepEqual(held?.row, row)
      assert.deepEqual(await store.due(1, lease), { held: [] })
      await store.suppress.add([suppression()])
      assert.deepEqual(await store.suppress.get(undefined, 'ada@example.com'), [suppression()])
      assert.partialDeepStrictEqual(await store.limits.take('l', [{ limit: 3, per: day }], 2), { ok: true, used: [2] })
      assert.equal((await store.list({})).items.length, 1)
    }

    it('with the older protocol, and with one that answers bytes', async () => {
      for (const options of [
        { RESP: 2 },
        { RESP: 3 },
        { RESP: 3, commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } } },
      ] as const) {
        const own = createClient({ url, ...options }).on('error', () => {})
        await own.connect()
        await reads(open(undefined, { client: own }))
        own.destroy()
      }
    })

    it('a pool', async () => {
      const pool = createClientPool({ url }, { minimum: 1, maximum: 3 }).on('error', () => {})
      await pool.connect()
      await reads(open(undefined, { client: pool }))
      pool.destroy()
    })

    it('a sentinel’s client is asked in its own way', async () => {
      const sentinel: RedisClient = {
        isOpen: true,
        getMasterNode: () => undefined,
        sendCommand: (isReadonly: boolean | undefined, command: string[]) => {
          assert.equal(isReadonly, false)
          return client.sendCommand(command)
        },
      }
      // Only that the types fit: no sentinel runs here.
      const typed = (real: ReturnType<typeof createSentinel>): RedisClient => real
      assert.equal(typeof typed, 'function')
      await reads(open(undefined, { client: sentinel }))
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

  describe('whose data it is', () => {
    it('P8: two prefixes do not meet', async () => {
      const [one, other] = [open(), open()]
      const row = rowOf({ key: 'k', providerMessageId: 'p' })
      await claimed(one, row)
      await one.suppress.add([suppression()])
      await one.once('x', day)
      await one.counters.add('c', 1)
      await one.limits.take('l', [{ limit: 1, per: day }], 1)
      await one.set('entry', 'value')
      assert.equal(await other.read(row.id), undefined)
      assert.equal(await other.find({ providerMessageId: 'p' }), undefined)
      assert.deepEqual(await other.suppress.get(undefined, 'ada@example.com'), [])
      assert.equal(await other.once('x', day), true)
      assert.deepEqual(await other.counters.read(['c']), [0])
      assert.equal((await other.limits.take('l', [{ limit: 1, per: day }], 1)).ok, true)
      assert.equal(await other.get('entry'), undefined)
      assert.equal((await other.claim(row, { lease })).state, 'claimed')
    })

    it('all keys share one hash tag, and the key prefix of an ioredis client stands before it', async () => {
      const prefix = newPrefix()
      const prefixed = new Redis(url, { keyPrefix: `${runPrefix}:` }).on('error', () => {})
      const store = redis({ client: prefixed, prefix })
      await claimed(store, rowOf({ key: 'k' }))
      await store.close()
      prefixed.disconnect()
      const keys = await client.keys(`*${prefix}*`)
      assert.ok(keys.length > 4)
      for (const key of keys) assert.ok(key.startsWith(`${runPrefix}:{${prefix}}:`), key)
      await client.unlink(keys)
    })

    it('data of a newer release are refused, whatever is asked, and left alone', async () => {
      const prefix = newPrefix()
      await client.set(`{${prefix}}:version`, '2')
      const store = open(prefix)
      for (const ask of [() => store.read('x'), () => store.claim(rowOf(), { lease }), () => store.once('x', 1_000)]) {
        const error = await rejection(Promise.resolve(ask()))
        assert.equal(error.code, 'CONFIGURATION_ERROR')
        assert.match(error.message, /newer release/)
      }
      assert.equal((await client.keys(`{${prefix}}*`)).length, 1)
      await client.set(`{${prefix}}:version`, '1')
      assert.equal(await store.read('x'), undefined)
      await client.set(`{${prefix}}:version`, '2')
      assert.equal((await rejection(Promise.resolve(store.read('x')))).code, 'CONFIGURATION_ERROR', 'also meanwhile')
    })
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
      assert.equal((await store.due(10, lease)).held.length, 4)
      assert.equal(await store.settle(accepted, fence), true)
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
