import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { systemClock } from '../../src/clock.ts'
import { MailError } from '../../src/errors.ts'
import { checkedStore } from '../../src/stores/checked.ts'
import { type RedisClient, redis } from '../../src/stores/redis.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { claimed, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { flakyProxy } from '../support/flaky-proxy.ts'
import { checkData, readData } from '../support/redis-data.ts'
import { hasRedisServer, type OwnRedis, startRedis } from '../support/redis-server.ts'
import { rejection } from '../support/rejection.ts'

const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000
const queued = { status: 'queued', kind: 'queue' } as const

interface Driver {
  readonly client: RedisClient
  end(): void
}

const drivers: Readonly<Record<string, (url: string) => Promise<Driver>>> = {
  async 'node-redis'(url) {
    const client = createClient({ url, socket: { reconnectStrategy: 50 } }).on('error', () => {})
    await client.connect()
    return { client, end: () => client.destroy() }
  },
  async ioredis(url) {
    const client = new Redis(url, { retryStrategy: () => 50, maxRetriesPerRequest: null }).on('error', () => {})
    await client.ping()
    return { client, end: () => client.disconnect() }
  },
}

if (!hasRedisServer()) it('redis with faults', { skip: 'install redis-server' }, () => {})
else {
  let server: OwnRedis
  before(async () => {
    server = await startRedis()
  })
  after(() => server.stop())
  let prefixes = 0
  const newPrefix = () => `faults-${++prefixes}`

  async function connected(test: TestContext, driver: string, port: number): Promise<RedisClient> {
    const { client, end } = await drivers[driver]!(`redis://127.0.0.1:${port}`)
    test.after(end)
    return client
  }

  /** A store as the mailer has it over a flaky network, one straight to the server, and the clients counted. */
  async function overProxy(test: TestContext, driver: string) {
    const proxy = await flakyProxy(server.port)
    const client = await connected(test, driver, proxy.port)
    test.after(() => proxy.close())
    const prefix = newPrefix()
    const store = redis({ client, prefix })
    const straight = redis({ client: await connected(test, driver, server.port), prefix })
    // Scripts are known and the server's clock is.
    for (const one of [store, straight]) await everyVerb(one)
    return { proxy, store, straight, prefix, checked: checkedStore(store, systemClock) }
  }

  async function everyVerb(store: MailStore): Promise<void> {
    const row = rowOf()
    await store.settle(row, await claimed(store, row), { remove: true })
    await store.limits.take('warm', [{ limit: 1, per: 1 }], 1)
    await store.counters.add('warm', 1)
    await store.once('warm', 1)
    await store.suppress.add([])
    await store.suppress.remove(undefined, 'nobody@x.example')
    await store.due(1, lease)
  }

  for (const driver of Object.keys(drivers)) {
    describe(`over ${driver}`, () => {
      const windows = [{ limit: 5, per: day }]

      const assertNothingHappened = async (store: MailStore, rows: readonly string[]) => {
        for (const id of rows) assert.equal(await store.read(id), undefined)
        assert.deepEqual(await store.limits.usage('l', windows), [0])
        assert.deepEqual(await store.counters.read(['c']), [0])
        assert.equal(await store.once('event', day), true)
        assert.deepEqual(await store.suppress.get(undefined, 'ada@example.com'), [])
      }

      /** Verbs that are told to fail while nobody can be reached. Answers the ids they were about. */
      const failing = async (store: MailStore): Promise<string[]> => {
        const rows = [rowOf({ key: 'k' }), rowOf(queued)]
        const calls = [
          store.claim(rows[0]!, { lease }),
          store.claim(rows[1]!, {}),
          store.limits.take('l', windows, 5),
          store.counters.add('c', 1),
          store.once('event', day),
          store.suppress.add([suppression()]),
        ]
        for (const error of await Promise.all(calls.map((call) => rejection(Promise.resolve(call))))) {
          assert.equal(error.code, 'STORE_UNAVAILABLE')
        }
        return rows.map(({ id }) => id)
      }

      it('S1: a server that is silent is STORE_UNAVAILABLE, and what it reads later has no effect', async (test) => {
        const { proxy, checked, straight } = await overProxy(test, driver)
        proxy.pause()
        const rows = await failing(checked)
        proxy.resume()
        await checked.read('x')
        await assertNothingHappened(straight, rows)
        await claimed(straight, rowOf({ key: 'k' }))
      })

      it('what waited in the client’s own queue while there was no connection has no effect either', async (test) => {
        const { proxy, checked, straight } = await overProxy(test, driver)
        proxy.refuse()
        await sleep(100)
        const rows = await failing(checked)
        proxy.resume()
        await eventually(() => checked.read('x'))
        await assertNothingHappened(straight, rows)
      })

      it('a short silence is none: what is answered in time is done once', async (test) => {
        const { proxy, checked, straight } = await overProxy(test, driver)
        proxy.pause()
        const call = checked.counters.add('c', 1)
        await sleep(300)
        proxy.resume()
        await call
        assert.deepEqual(await straight.counters.read(['c']), [1])
      })

      for (const bytes of [0, 1, 30]) {
        it(`P2: a connection cut ${bytes} bytes into the answer: a typed error, and the effect at most once`, async (test) => {
          const { proxy, checked, straight } = await overProxy(test, driver)
          const before = await straight.counters.read(['c'])
          for (const [i, ask] of [
            () => checked.counters.add('c', 1),
            () => checked.limits.take('l', windows, 1),
            () => checked.suppress.add([suppression({ scope: 'topic:a' })]),
          ].entries()) {
            proxy.cutAfter(bytes)
            const outcome = await Promise.resolve(ask()).then(
              () => 'done',
              (error) => error.code,
            )
            // With room for a whole answer it may have come through.
            assert.ok(outcome === 'STORE_UNAVAILABLE' || (bytes === 30 && outcome === 'done'), `${i}: ${outcome}`)
            await eventually(() => checked.read('x'))
          }
          assert.deepEqual(before, [0])
          assert.deepEqual(await straight.counters.read(['c']), [1])
          assert.deepEqual(await straight.limits.usage('l', windows), [1])
          assert.equal((await straight.suppress.get(undefined, 'ada@example.com')).length, 1)
        })
      }

      it('P7: claims cut off in the middle of many never end in two winners', async (test) => {
        const { proxy, checked, straight, prefix } = await overProxy(test, driver)
        const winners = new Map<string, number>()
        for (let round = 0; round < 5; round++) {
          const keys = Array.from({ length: 40 }, (_, i) => `${round}-${i % 20}`)
          const claims = keys.map(async (key) => {
            const claim = await checked.claim(rowOf({ key }), { lease })
            if (claim.state === 'claimed') winners.set(key, (winners.get(key) ?? 0) + 1)
          })
          proxy.cutAfter(300 * round)
          await Promise.allSettled(claims)
          await eventually(() => checked.read('x'))
        }
        assert.ok([...winners.values()].every((count) => count === 1))
        for (let round = 0; round < 5; round++) {
          for (let i = 0; i < 20; i++) {
            const claim = await straight.claim(rowOf({ key: `${round}-${i}` }), { lease })
            assert.ok(winners.has(`${round}-${i}`) ? claim.state === 'held' : true)
          }
        }
        const { texts, ...data } = await readData(server.url, prefix)
        checkData({ texts, ...data })
      })

      it('D2: a server with an append-only file that is killed and started again has everything', async (test) => {
        const own = await startRedis({ appendonly: 'always' })
        test.after(() => own.stop())
        const client = await connected(test, driver, own.port)
        const store = redis({ client, durability: 'power-loss' })
        const rows = Array.from({ length: 20 }, (_, i) => rowOf({ ...queued, key: `k${i}`, work: work() }))
        for (const row of rows) await store.claim(row, {})
        const taken = await store.limits.take('l', [{ limit: 1, per: day }], 1)
        await store.suppress.add([suppression()])
        await own.kill()
        const error = await rejection(Promise.resolve(store.claim(rowOf(), { lease })))
        assert.equal(error.code, 'STORE_UNAVAILABLE')
        await own.start()
        await eventually(() => store.read('x'))
        for (const row of rows) assert.deepEqual(await store.read(row.id), row)
        assert.equal((await store.claim(rowOf({ key: 'k0' }), { lease })).state, 'held')
        assert.equal((await store.limits.take('l', [{ limit: 1, per: day }], 1)).ok, !taken.ok)
        assert.equal((await store.suppress.get(undefined, 'ada@example.com')).length, 1)
        assert.equal((await store.due(100, lease)).held.length, 20)
        checkData(await readData(own.url, 'sendwright'))
      })

      it('scripts that were flushed are given again', async (test) => {
        const store = redis({ client: await connected(test, driver, server.port), prefix: newPrefix() })
        await everyVerb(store)
        const admin = await createClient({ url: server.url })
          .on('error', () => {})
          .connect()
        await admin.scriptFlush()
        const calls = await Promise.all(Array.from({ length: 50 }, () => store.claim(rowOf({ key: 'k' }), { lease })))
        assert.equal(calls.filter(({ state }) => state === 'claimed').length, 1)
        admin.destroy()
      })
    })
  }

  describe('servers that are not what they should be', () => {
    async function on(test: TestContext, settings: readonly string[]) {
      const own = await startRedis({ settings })
      const client = createClient({ url: own.url }).on('error', () => {})
      await client.connect()
      test.after(async () => {
        client.destroy()
        await own.stop()
      })
      return { own, client }
    }

    it('a full one refuses with a typed error, changes nothing, and can still be read and emptied', async (test) => {
      const { own, client } = await on(test, ['--maxmemory', '4mb', '--maxmemory-policy', 'noeviction'])
      const store = redis({ client })
      const big = () => rowOf({ ...queued, work: { ...work(), timeout: 1, provider: 'x'.repeat(100_000) } })
      const rows = []
      let refused: unknown
      for (let i = 0; i < 100 && !refused; i++) {
        const row = big()
        try {
          await store.claim(row, {})
          rows.push(row)
        } catch (error) {
          refused = error
        }
      }
      assert.ok(refused instanceof MailError && refused.code === 'STORE_UNAVAILABLE')
      assert.match(String(refused), /OOM.*maxmemory/)
      await client.sendCommand(['CONFIG', 'SET', 'maxmemory', '1mb'])
      const [row] = rows
      assert.deepEqual(await store.read(row!.id), row)
      const held = await store.takeover(row!.id, ['queued'], lease)
      assert.ok(held, 'what makes no more of it is let through')
      for (const ask of [
        () => store.limits.take('l', [{ limit: 1, per: 1 }], 1),
        () => store.once('x', 1_000),
        () => store.counters.add('c', 1),
        () => store.renew(held.row, held.fence, lease.ms),
        () => store.settle({ ...held.row, status: 'sent' }, held.fence),
      ]) {
        assert.match((await rejection(Promise.resolve(ask()))).message, /OOM/)
      }
      assert.deepEqual(await store.read(row!.id), row)
      assert.equal(await store.settle(held.row, held.fence, { remove: true }), true)
      assert.equal((await store.due(1, lease)).held.length, 1)
      checkData(await readData(own.url, 'sendwright'))
    })

    it('P7: one that evicts is refused by the name of the setting', async (test) => {
      const { client } = await on(test, ['--maxmemory', '50mb', '--maxmemory-policy', 'volatile-lru'])
      const error = await rejection(Promise.resolve(redis({ client }).claim(rowOf(), { lease })))
      assert.equal(error.code, 'CONFIGURATION_ERROR')
      assert.match(error.message, /maxmemory-policy volatile-lru/)
    })

    it('one that comes back with other settings is looked at again', async (test) => {
      const { client } = await on(test, [])
      const store = redis({ client })
      await store.read('x')
      await client.sendCommand(['CONFIG', 'SET', 'maxmemory', '50mb'])
      await client.sendCommand(['CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru'])
      await store.read('x')
      // As after a restart.
      await client.sendCommand(['SCRIPT', 'FLUSH'])
      await store.read('x')
      assert.equal((await rejection(Promise.resolve(store.read('x')))).code, 'CONFIGURATION_ERROR')
    })

    it('a policy without a maximum evicts nothing', async (test) => {
      const { client } = await on(test, ['--maxmemory-policy', 'allkeys-lru'])
      await claimed(redis({ client }), rowOf())
    })

    it('power-loss is claimed of a server that fsyncs always, and of no other', async (test) => {
      for (const appendonly of [undefined, 'everysec'] as const) {
        const own = await startRedis(appendonly ? { appendonly } : {})
        test.after(() => own.stop())
        const store = redis({ client: await connected(test, 'node-redis', own.port), durability: 'power-loss' })
        const error = await rejection(Promise.resolve(store.read('x')))
        assert.equal(error.code, 'CONFIGURATION_ERROR')
        assert.match(error.message, /appendfsync always/)
      }
      const own = await startRedis({ appendonly: 'always' })
      test.after(() => own.stop())
      const store = redis({ client: await connected(test, 'ioredis', own.port), durability: 'power-loss' })
      assert.equal(store.guarantees.durability, 'power-loss')
      await claimed(store, rowOf())
    })

    it('a read-only replica says that it is one', async (test) => {
      const { client } = await on(test, ['--replicaof', '127.0.0.1', `${server.port}`])
      const store = redis({ client })
      const error = await rejection(Promise.resolve(store.claim(rowOf(), { lease })))
      assert.equal(error.code, 'STORE_UNAVAILABLE')
      assert.match(error.message, /READONLY|MASTERDOWN/)
    })

    it('a user who may not see the settings may use the store; one who may not run scripts is told', async (test) => {
      const { own } = await on(test, [])
      const admin = await createClient({ url: own.url })
        .on('error', () => {})
        .connect()
      await admin.sendCommand(['ACL', 'SETUSER', 'mail', 'on', '>pw', '~{sendwright}:*', '+@all', '-config'])
      await admin.sendCommand(['ACL', 'SETUSER', 'poor', 'on', '>pw', '~{sendwright}:*', '+@all', '-@scripting'])
      admin.destroy()
      const as = async (user: string) => {
        const { client, end } = await drivers['node-redis']!(own.url.replace('//', `//${user}:pw@`))
        test.after(end)
        return redis({ client })
      }
      await everyVerb(await as('mail'))
      const error = await rejection(Promise.resolve((await as('poor')).read('x')))
      assert.match(error.message, /NOPERM/)
    })

    it('the keys of somebody else under the prefix are a typed error', async (test) => {
      const { own, client } = await on(test, [])
      const store = redis({ client })
      await store.read('x')
      const admin = await createClient({ url: own.url })
        .on('error', () => {})
        .connect()
      await admin.set('{sendwright}:leases', 'mine')
      admin.destroy()
      const error = await rejection(Promise.resolve(store.due(1, lease)))
      assert.match(error.message, /WRONGTYPE/)
    })
  })

  describe('P10: while the server is away', () => {
    it('the client’s queue does not grow with every call: after a thousand others are refused at once', async () => {
      let given = 0
      const client = {
        isOpen: true,
        sendCommand: () => {
          given++
          return new Promise<never>(() => {})
        },
      }
      const store = redis({ client })
      const ask = () => rejection(Promise.resolve(store.once('x', 1_000)))
      await Promise.all(Array.from({ length: 1_000 }, ask))
      given = 0
      const errors = await Promise.all(Array.from({ length: 500 }, ask))
      assert.equal(given, 1, 'one tries whether it is back')
      assert.equal(errors.filter(({ message }) => /refused at once/.test(message)).length, 499)
    })

    it('close waits for what is under way, answers nothing afterwards, and leaves no timer behind', async (test) => {
      const client = await connected(test, 'node-redis', server.port)
      const store = redis({ client, prefix: newPrefix() })
      const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
      const before = timers()
      const calls = Array.from({ length: 20 }, () => store.once('x', 1_000))
      assert.ok(timers() > before)
      await store.close()
      assert.equal((await Promise.all(calls)).filter(Boolean).length, 1)
      assert.equal((await rejection(Promise.resolve(store.read('x')))).code, 'CLOSED')
      assert.equal(timers(), before)
    })
  })
}

/** Waits for a connection to come back. */
async function eventually(ask: () => unknown): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await ask()
      return
    } catch (error) {
      if (tries > 60) throw error
      await sleep(100)
    }
  }
}
