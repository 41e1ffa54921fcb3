import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Redis } from 'ioredis'
import { createClient, createClientPool, type createSentinel, RESP_TYPES } from 'redis'
import type { Clock } from '../../src/clock.ts'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { ServerClock } from '../../src/stores/redis/server-clock.ts'
import { type RedisClient, redis } from '../../src/stores/redis.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, message, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
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
  const newPrefix = () => `${runPrefix}-client-${++prefixes}`
  const open = (prefix = newPrefix(), options: { clock?: Clock; maxQueued?: number; client?: RedisClient } = {}) =>
    redis({ client, prefix, ...options })
  before(() => client.connect())
  after(async () => {
    await removeKeys(url)
    client.destroy()
    await server.stop()
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
        waiting: () => store.waiting(),
        add: () => store.suppress.add([suppression(), suppression({ scope: 'topic:a' })]),
        hasMany: () => store.suppress.hasMany(undefined, look.keys, look.scopes),
        get: () => store.suppress.get(undefined, 'ada@example.com'),
        remove: () => store.suppress.remove(undefined, 'ada@example.com'),
        'suppress.list': () => store.suppress.list(undefined, {}),
        take: () => store.limits.take('k', windows, 1),
        refund: () => store.limits.refund('k', windows, 1, Date.now()),
        move: () => store.limits.move('k', windows, [{ cost: 1, from: Date.now() - 10, to: Date.now() }]),
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
}
