import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import Keyv from 'keyv'
import Keyv6, { KeyvBridgeAdapter } from 'keyv6'
import { Pool } from 'pg'
import { createClient } from 'redis'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import type { Entries } from '../../src/stores/entries.ts'
import { type KeyvAdapter, keyvAdapter } from '../../src/stores/keyv-adapter.ts'
import { memory } from '../../src/stores/memory.ts'
import { postgres } from '../../src/stores/postgres.ts'
import { redis } from '../../src/stores/redis.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import { type FakeClock, fakeClock } from '../../src/testing/fake-clock.ts'
import { findPostgres, ownSchema } from '../support/postgres-server.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'

/** An adapter with nothing in it, and another one over the same entries. */
interface Opened {
  readonly store: KeyvAdapter
  again(): KeyvAdapter
  close(): unknown
}

/** The least an engine can be. */
function mapEntries(clock: FakeClock): Entries & { readonly calls: string[] } {
  const spaces = new Map<string, Map<string, { value: string; until: number }>>()
  const calls: string[] = []
  const space = (namespace: string) => {
    const found = spaces.get(namespace) ?? new Map<string, { value: string; until: number }>()
    spaces.set(namespace, found)
    for (const [key, { until }] of found) if (until <= clock.monotonic()) found.delete(key)
    return found
  }
  return {
    calls,
    async get(namespace, keys) {
      calls.push('get')
      return keys.map((key) => space(namespace).get(key)?.value)
    },
    async set(namespace, entries) {
      calls.push('set')
      for (const { key, value, ttl = Number.POSITIVE_INFINITY } of entries) {
        assert.ok(typeof value === 'string' && (ttl === Number.POSITIVE_INFINITY || Number.isSafeInteger(ttl)))
        space(namespace).set(key, { value, until: clock.monotonic() + ttl })
      }
      assert.equal(new Set(entries.map(({ key }) => key)).size, entries.length, 'each key once')
    },
    async delete(namespace, keys) {
      calls.push('delete')
      return keys.map((key) => space(namespace).delete(key))
    },
    async clear(namespace) {
      calls.push('clear')
      spaces.delete(namespace)
    },
    async scan(namespace, after, limit) {
      calls.push('scan')
      const keys = [...space(namespace).keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      const rest = keys.filter((key) => after === undefined || Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0)
      return rest.slice(0, limit).map((key) => [key, space(namespace).get(key)!.value] as const)
    },
  }
}

/** What `make` makes, any number of times over the same data, and closes all of them. */
function opened(make: () => KeyvAdapter & { close(): unknown }): Opened {
  const made: { close(): unknown }[] = []
  const again = () => {
    const store = make()
    made.push(store)
    return store
  }
  return { store: again(), again, close: () => Promise.all(made.map((store) => store.close())) }
}

const folder = mkdtempSync(join(tmpdir(), 'sendwright-keyv-'))
after(() => rmSync(folder, { recursive: true }))
let count = 0

const engines: Record<string, (clock: FakeClock) => Opened | Promise<Opened>> = {
  'a Map': (clock) => {
    const entries = mapEntries(clock)
    return opened(() => Object.assign(keyvAdapter(entries), { close() {} }))
  },
  sqlite: (clock) => {
    const path = join(folder, `${++count}.db`)
    return opened(() => sqlite(path, { clock }))
  },
}

const redisServer = await findRedis()
if ('skip' in redisServer) it('over redis', { skip: redisServer.skip }, () => {})
else {
  const { url } = redisServer
  const client = createClient({ url }).on('error', () => {})
  before(() => client.connect())
  after(async () => {
    client.destroy()
    await removeKeys(url)
    await redisServer.stop()
  })
  engines.redis = (clock) => {
    const prefix = `${runPrefix}-${++count}`
    return opened(() => redis({ client, prefix, clock }))
  }
}

const postgresServer = await findPostgres()
if ('skip' in postgresServer) it('over postgres', { skip: postgresServer.skip }, () => {})
else {
  const { schema, drop } = ownSchema(postgresServer.config)
  const pool = new Pool(postgresServer.config)
  before(async () => void (await postgres({ pool, schema }).read('msg_none')))
  after(async () => {
    await pool.end()
    await drop()
    await postgresServer.stop()
  })
  engines.postgres = async (clock) => {
    await pool.query(`DELETE FROM "${schema}".entries`)
    return opened(() => postgres({ pool, schema, clock }))
  }
}

/** What both versions have. */
interface AnyKeyv {
  ttl?: number | undefined
  get(key: string): Promise<unknown>
  getMany(keys: readonly string[]): Promise<readonly unknown[]>
  set(key: string, value: unknown, ttl?: number): Promise<boolean>
  setMany(
    entries: readonly { readonly key: string; readonly value: unknown; readonly ttl?: number }[],
  ): Promise<unknown>
  delete(key: string): Promise<boolean>
  deleteMany(keys: readonly string[]): Promise<unknown>
  has(key: string): Promise<boolean>
  hasMany(keys: readonly string[]): Promise<readonly boolean[]>
  clear(): Promise<void>
  iterator(): AsyncGenerator<[string, unknown]>
  disconnect(): Promise<void>
  on(event: 'error', listener: (error: unknown) => void): unknown
}

const versions: Record<string, (store: object, options?: object) => AnyKeyv> = {
  'keyv 5.6': (store, options) => new Keyv({ throwOnErrors: true, ...options, store }) as unknown as AnyKeyv,
  'keyv 6.1': (store, options) => new Keyv6({ ...options, store }) as unknown as AnyKeyv,
}

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected

async function all(keyv: AnyKeyv): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>()
  for await (const [key, value] of keyv.iterator()) {
    assert.ok(!found.has(key), `${key} twice`)
    found.set(key, value)
  }
  return found
}

for (const [engine, open] of Object.entries(engines)) {
  for (const [version, keyvOver] of Object.entries(versions)) {
    const test = (name: string, body: (stores: Opened, clock: FakeClock) => Promise<void>) =>
      it(name, async () => {
        // Keyv looks at the clock of the process.
        const clock = fakeClock(Date.now())
        const stores = await open(clock)
        try {
          await body(stores, clock)
        } finally {
          await stores.close()
        }
      })

    describe(`${version} over ${engine}`, () => {
      for (const [setting, options] of Object.entries({
        'without options': {},
        'with a namespace': { namespace: 'shop' },
        'with a colon in its namespace': { namespace: 'shop:eu' },
        'without a namespace': { namespace: undefined },
      })) {
        test(`get, set, has and delete, one and many, ${setting}`, async ({ store }) => {
          const keyv = keyvOver(store, options)
          assert.equal(await keyv.get('a'), undefined)
          assert.equal(await keyv.set('a', { n: 1, text: 'ä\u0000\ud83d\ude00' }), true)
          assert.deepEqual(await keyv.get('a'), { n: 1, text: 'ä\u0000\ud83d\ude00' })
          assert.deepEqual(
            await keyv.setMany([
              { key: 'b', value: 2 },
              { key: 'c', value: 'three' },
              { key: 'b', value: 'two' },
            ]),
            [true, true, true],
          )
          assert.deepEqual(await keyv.getMany(['c', 'none', 'b', 'c']), ['three', undefined, 'two', 'three'])
          assert.equal(await keyv.has('b'), true)
          assert.equal(await keyv.has('none'), false)
          assert.deepEqual(await keyv.hasMany(['none', 'a']), [false, true])
          assert.equal(await keyv.set('b', 'second'), true)
          assert.equal(await keyv.get('b'), 'second')
          assert.equal(await keyv.delete('b'), true)
          assert.equal(await keyv.delete('b'), false)
          const deleted = await keyv.deleteMany(['a', 'none'])
          assert.deepEqual(deleted, version === 'keyv 5.6' ? false : [true, false])
          assert.deepEqual(await keyv.getMany(['a', 'b', 'c']), [undefined, undefined, 'three'])
        })

        test(`S2: keys are data, ${setting}`, async ({ store }) => {
          const keyv = keyvOver(store, options)
          const keys = ['a:b', 'a::b', 'a', ' ', 'A', '%', '_', '*', '?', '[a]', '\\', "'", '"', '{a}', 'é', 'e\u0301']
          keys.push(
            '\u{1f600}',
            'nul\0',
            '\ud800',
            '\ud801',
            '\uffff',
            'n\nn',
            'x'.repeat(1_000),
            '__proto__',
            'constructor',
          )
          for (const key of keys) await keyv.set(key, `value of ${key}`)
          for (const key of keys) assert.equal(await keyv.get(key), `value of ${key}`)
          assert.deepEqual(
            await keyv.getMany(keys),
            keys.map((key) => `value of ${key}`),
          )
          assert.equal(await keyv.delete('%'), true)
          assert.equal(await keyv.delete('*'), true)
          assert.equal((await keyv.getMany(keys)).filter((value) => value !== undefined).length, keys.length - 2)
        })
      }

      for (const [setting, options] of Object.entries({
        'without options': {},
        'with a namespace': { namespace: 'shop' },
      })) {
        test(`iterates over every entry once, ${setting}`, async ({ store }) => {
          const keyv = keyvOver(store, options)
          assert.equal((await all(keyv)).size, 0)
          const keys = Array.from({ length: 250 }, (_, i) => `${'aA_-é\u{1f600}'.at(i % 6)}:${i}`)
          await keyv.setMany(keys.map((key) => ({ key, value: `value of ${key}` })))
          const found = await all(keyv)
          assert.deepEqual([...found.keys()].sort(), keys.sort())
          for (const [key, value] of found) assert.equal(value, `value of ${key}`)
        })
      }

      test('iterates while entries come and go: those that stay are seen once', async ({ store }) => {
        const keyv = keyvOver(store, { namespace: 'shop' })
        const keys = Array.from({ length: 300 }, (_, i) => `k${String(i).padStart(4, '0')}`)
        await keyv.setMany(keys.map((key) => ({ key, value: key })))
        const seen: string[] = []
        for await (const [key] of keyv.iterator()) {
          seen.push(key)
          if (seen.length % 3 === 0) await keyv.delete(key)
          if (seen.length % 5 === 0) await keyv.set(`a${seen.length}`, 1)
        }
        assert.deepEqual(seen, keys)
      })

      test('an entry ends with its TTL and not before', async ({ store }, clock) => {
        const keyv = keyvOver(store, { namespace: 'shop' })
        await keyv.set('short', 1, 60_000)
        await keyv.set('odd', 1, 60_000.25)
        await keyv.set('long', 1, 100 * 366 * 86_400_000)
        await keyv.set('good', 1)
        await keyv.set('zero', 1, 0)
        await keyv.setMany([
          { key: 'one', value: 1, ttl: 60_000 },
          { key: 'two', value: 1 },
        ])
        await clock.advance(50_000)
        const keys = ['short', 'odd', 'one', 'long', 'good', 'zero', 'two']
        assert.deepEqual(await keyv.hasMany(keys), Array(7).fill(true))
        await clock.advance(10_002)
        const left = [false, false, false, true, true, true, true]
        assert.deepEqual(await keyv.hasMany(keys), left)
        for (const [i, key] of keys.entries()) assert.equal(await keyv.has(key), left[i], key)
        assert.deepEqual([...(await all(keyv)).keys()].sort(), ['good', 'long', 'two', 'zero'])
        await clock.advance(1_000 * 86_400_000)
        assert.deepEqual(await keyv.hasMany(keys), left)
      })

      test('a TTL of the Keyv counts, and a set without ends the one before', async ({ store }, clock) => {
        const keyv = keyvOver(store, { namespace: 'shop', ttl: 1_000 })
        await keyv.set('a', 1)
        await clock.advance(1_002)
        assert.equal(await keyv.get('a'), undefined)
        await keyv.set('b', 1, 60_000)
        keyv.ttl = undefined
        await keyv.set('b', 2)
        await clock.advance(60_002)
        assert.equal(await keyv.get('b'), 2)
      })

      test('clear leaves the other namespaces alone, each Keyv with a store of its own', async ({ store, again }) => {
        const names = ['a_b', 'axb', 'a', 'a%', 'A', undefined]
        const keyvs = names.map((namespace, i) => keyvOver(i === 0 ? store : again(), { namespace }))
        // Keyv 6 without a namespace clears all there is; so do not count on it here.
        if (version === 'keyv 6.1') keyvs.pop()
        for (const [i, keyv] of keyvs.entries())
          await keyv.setMany([
            { key: 'x', value: i },
            { key: 'y', value: i },
          ])
        for (const [i, keyv] of keyvs.entries()) assert.equal(await keyv.get('x'), i)
        await keyvs[0]!.clear()
        assert.deepEqual(await keyvs[0]!.getMany(['x', 'y']), [undefined, undefined])
        for (const [i, keyv] of [...keyvs.entries()].slice(1)) {
          assert.deepEqual(await keyv.getMany(['x', 'y']), [i, i])
          // Without a namespace Keyv 5 cuts what it yields short.
          if (names[i] !== undefined) assert.equal((await all(keyv)).size, 2)
        }
      })

      test('two Keyvs with namespaces of their own on one store read and write apart', async ({ store }) => {
        const [one, two] = ['one', 'two'].map((namespace) => keyvOver(store, { namespace })) as [AnyKeyv, AnyKeyv]
        for (const [keyv, value] of [
          [one, 1],
          [two, 2],
          [one, 3],
        ] as const) {
          await keyv.set('x', value)
          await keyv.setMany([{ key: 'y', value }])
        }
        assert.deepEqual(await one.getMany(['x', 'y']), [3, 3])
        assert.deepEqual(await two.getMany(['x', 'y']), [2, 2])
        assert.equal(await one.delete('y'), true)
        assert.deepEqual(await two.hasMany(['x', 'y']), [true, true])
        if (version === 'keyv 6.1') {
          assert.deepEqual([...(await all(one))], [['x', 3]])
          await one.clear()
          assert.equal((await all(one)).size, 0)
        } else {
          // It does not tell the adapter which of them it is.
          await assert.rejects(async () => one.clear(), code('UNSUPPORTED_FEATURE'))
          await assert.rejects(async () => all(two), code('UNSUPPORTED_FEATURE'))
        }
        assert.deepEqual(await two.getMany(['x', 'y']), [2, 2])
      })

      test('what one adapter writes, another over the same entries reads', async ({ store, again }) => {
        const options = { namespace: 'shop' }
        await keyvOver(store, options).set('x', 1)
        assert.equal(await keyvOver(again(), options).get('x'), 1)
        // Also where two Keyvs share it.
        const shared = again()
        const [, second] = ['other', 'shop'].map((namespace) => keyvOver(shared, { namespace }))
        assert.equal(await second!.get('x'), 1)
        const [first] = ['shop', 'other'].map((namespace) => keyvOver(shared, { namespace }))
        assert.equal(await first!.get('x'), 1)
      })

      test('a value that is no text is refused, and nothing is written', async ({ store }) => {
        const off = version === 'keyv 5.6' ? { serialize: undefined, deserialize: undefined } : { serialization: false }
        const keyv = keyvOver(store, { namespace: 'shop', ...off })
        const errors: unknown[] = []
        keyv.on('error', (error: unknown) => errors.push(error))
        await keyv.set('x', 1).catch(() => {})
        await keyv.setMany([{ key: 'x', value: 1 }]).catch(() => {})
        assert.ok(errors.length >= 2)
        for (const error of errors) assert.match((error as MailError).message, /serialization/)
        assert.equal(await store.has('x'), false)
        assert.equal(await store.has('shop:x'), false)
        assert.equal(await store.has('shop::x'), false)
      })

      test('disconnect leaves the store open', async ({ store }) => {
        const keyv = keyvOver(store)
        await keyv.set('x', 1)
        await keyv.disconnect()
        assert.equal(await keyv.get('x'), 1)
      })
    })
  }
}

describe('keyvAdapter', () => {
  const over = () => {
    const entries = mapEntries(fakeClock())
    return { entries, adapter: keyvAdapter(entries) }
  }

  it('can be given to a store with Object.assign: no name is a verb, and nothing is bound to the adapter', async () => {
    const { entries, adapter } = over()
    const store = memory()
    const verbs = [...Object.keys(store), ...Object.getOwnPropertyNames(Object.getPrototypeOf(store))]
    for (const verb of 'claim renew settle takeover read find list due suppress limits counters once close'.split(
      ' ',
    )) {
      assert.ok(verbs.includes(verb), verb)
    }
    for (const name of Object.keys(adapter)) assert.ok(!verbs.includes(name) && name !== 'guarantees', name)
    const both = Object.assign(store, adapter)
    both.namespace = 'shop'
    await both.set('shop:x', 'text')
    assert.deepEqual(await entries.get('shop', ['shop:x']), ['text'])
    await store.close()
  })

  it('Keyv 6 takes it through its bridge and keeps the namespace itself', async () => {
    const { entries, adapter } = over()
    const keyv = new Keyv6({ store: adapter, namespace: 'shop' })
    assert.ok(keyv.store instanceof KeyvBridgeAdapter)
    assert.deepEqual(entries.calls, [], 'nothing is asked to find out what it is')
    await keyv.set('x', 1)
    assert.equal(adapter.namespace, undefined)
    assert.equal((await entries.get('', ['shop::x'])).length, 1)
  })

  it('Keyv 5 and Keyv 6 over one store do not meet', async () => {
    const { adapter } = over()
    const six = new Keyv6({ store: adapter, namespace: 'shop' })
    const five = new Keyv({ store: adapter, namespace: 'shop.five', throwOnErrors: true })
    await six.set('x', 6)
    await five.set('x', 5)
    assert.equal(await six.get('x'), 6)
    assert.equal(await five.get('x'), 5)
    assert.deepEqual([...(await all(six as unknown as AnyKeyv))], [['x', 6]])
  })

  it('Keyv 5 without key prefix has its namespace from the adapter', async () => {
    const { entries } = over()
    const [one, two] = ['one', 'two'].map((namespace) =>
      versions['keyv 5.6']!(keyvAdapter(entries), { namespace, useKeyPrefix: false }),
    ) as [AnyKeyv, AnyKeyv]
    await one.set('x', 1)
    await two.set('x', 2)
    assert.deepEqual([...(await all(one))], [['x', 1]])
    await one.clear()
    assert.equal(await two.get('x'), 2)
  })

  it('P8: a key that could belong to two Keyvs over one store is refused', async () => {
    const { adapter } = over()
    const [outer, inner] = ['a', 'a:b'].map((namespace) => new Keyv({ store: adapter, namespace, throwOnErrors: true }))
    await outer!.set('x', 1)
    await assert.rejects(async () => inner!.set('x', 2), code('UNSUPPORTED_FEATURE'))
    await assert.rejects(async () => outer!.set('b:x', 2), code('UNSUPPORTED_FEATURE'))
    const bare = new Keyv({ store: adapter, namespace: 'c', useKeyPrefix: false, throwOnErrors: true })
    await assert.rejects(async () => bare.set('x', 2), code('UNSUPPORTED_FEATURE'))
    assert.equal(await outer!.get('x'), 1)
  })

  it('two Keyv 5 with one namespace may clear it, and one may change its namespace', async () => {
    const { adapter } = over()
    const [one, two] = [0, 1].map(() => new Keyv({ store: adapter, namespace: 'a', throwOnErrors: true }))
    await one!.set('x', 1)
    await two!.clear()
    assert.equal(await one!.has('x'), false)
    const alone = new Keyv({ store: keyvAdapter(mapEntries(fakeClock())), namespace: 'a', throwOnErrors: true })
    await alone.set('x', 1)
    alone.namespace = 'b'
    await alone.set('x', 2)
    await alone.clear()
    alone.namespace = 'a'
    assert.equal(await alone.get('x'), 1)
  })

  it('P10: namespaces over one store are bounded', () => {
    const { adapter } = over()
    assert.throws(() => {
      for (let i = 0; i < 1_100; i++) new Keyv({ store: adapter, namespace: `n${i}` })
    }, code('CONFIGURATION_ERROR'))
    for (let i = 0; i < 1_100; i++) new Keyv6({ store: over().adapter, namespace: `n${i}` })
  })

  it('S5: a TTL that is over deletes, and one that is no number, or beyond a lifetime, is none', async () => {
    const { adapter } = over()
    for (const ttl of [-1, 0, Number.NEGATIVE_INFINITY]) {
      await adapter.set('x', 'before')
      assert.equal(await adapter.set('x', 'after', ttl), true)
      assert.equal(await adapter.get('x'), undefined, String(ttl))
      await adapter.setMany([
        { key: 'y', value: 'v' },
        { key: 'x', value: 'v', ttl },
      ])
      assert.deepEqual(await adapter.getMany(['x', 'y']), [undefined, 'v'])
    }
    for (const ttl of [undefined, Number.NaN, Number.POSITIVE_INFINITY, Number.MAX_VALUE, '100', null]) {
      await adapter.set('x', 'v', ttl as number)
      assert.equal(await adapter.get('x'), 'v', String(ttl))
    }
  })

  it('what is no text is refused: keys, values, in one and in many', async () => {
    const { adapter, entries } = over()
    for (const value of [1, undefined, null, {}, Buffer.from('x'), true]) {
      await assert.rejects(adapter.set('x', value), code('VALIDATION_ERROR'))
      await assert.rejects(
        adapter.setMany([
          { key: 'a', value: 'v' },
          { key: 'x', value },
        ]),
        code('VALIDATION_ERROR'),
      )
      await assert.rejects(adapter.get(value as unknown as string), code('VALIDATION_ERROR'))
    }
    assert.ok(!entries.calls.includes('set'))
  })

  it('P10: many are read in one call, and iterated in pages', async () => {
    const { adapter, entries } = over()
    const keyv = versions['keyv 5.6']!(adapter, { namespace: 'a' })
    await keyv.setMany(Array.from({ length: 1_000 }, (_, i) => ({ key: `k${i}`, value: i })))
    await keyv.getMany(Array.from({ length: 1_000 }, (_, i) => `k${i}`))
    assert.deepEqual(entries.calls, ['set', 'get'])
    await all(keyv)
    assert.equal(entries.calls.filter((call) => call === 'scan').length, 11)
  })

  it('Keyv 6 reads only what begins with its namespace', async () => {
    const { adapter, entries } = over()
    const [few, many] = ['m', 'z'].map((namespace) => versions['keyv 6.1']!(adapter, { namespace })) as [
      AnyKeyv,
      AnyKeyv,
    ]
    await many.setMany(Array.from({ length: 1_000 }, (_, i) => ({ key: `k${i}`, value: i })))
    await few.set('x', 1)
    entries.calls.length = 0
    assert.deepEqual([...(await all(few))], [['x', 1]])
    assert.equal(entries.calls.length, 1)
  })
})
