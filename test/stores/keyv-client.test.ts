import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import Keyv from 'keyv'
import Keyv6 from 'keyv6'
import { memory as provider } from '../../providers/memory.ts'
import { createMailer } from '../../src/create-mailer.ts'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { keyvStore } from '../../src/stores/keyv.ts'
import { keyvAdapter } from '../../src/stores/keyv-adapter.ts'
import { clientOf, namespaceOf } from '../../src/stores/keyv-client.ts'
import { dataName } from '../../src/stores/keyv-client-store.ts'
import type { KeyvLike } from '../../src/stores/keyv-records.ts'
import { memory } from '../../src/stores/memory.ts'
import type { Guarantees, MailStore } from '../../src/stores/store.ts'

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected
const versions: Record<string, (store: object, options?: object) => KeyvLike> = {
  'keyv 5.6': (store, options) => new Keyv({ ...options, store }),
  'keyv 6.1': (store, options) => new Keyv6({ ...options, store }),
}

/** An adapter of somebody else: the methods of a Map, and whatever else it has. */
function adapterWith(more: object): object {
  const map = new Map<string, unknown>()
  return {
    opts: {},
    get: async (key: string) => map.get(key),
    set: async (key: string, value: unknown) => void map.set(key, value),
    delete: async (key: string) => map.delete(key),
    has: async (key: string) => map.has(key),
    clear: async () => map.clear(),
    ...more,
  }
}

const nobody = () => assert.fail('this adapter is not known to us')

const unknownAdapters: Record<string, () => object> = {
  'a Map': () => new Map(),
  'an adapter without a client': () => adapterWith({}),
  'an adapter of MySQL': () => adapterWith({ query: nobody, opts: { dialect: 'mysql', url: 'mysql://localhost' } }),
  'an adapter of SQLite': () => adapterWith({ query: nobody, opts: { dialect: 'sqlite', url: 'sqlite://x' } }),
  'an adapter with a client of something else': () =>
    adapterWith({ client: { get: nobody }, redis: {}, getClient: nobody }),
}

/** One of our own stores, as far as a Keyv sees it. */
function ownStore(guarantees: Guarantees = memory().guarantees) {
  const entries = {
    get: (_namespace: string, keys: readonly string[]) => keys.map(() => undefined),
    set() {},
    delete: (_namespace: string, keys: readonly string[]) => keys.map(() => false),
    clear() {},
    scan: () => [],
  }
  const store: MailStore = memory()
  return Object.assign(store, keyvAdapter(entries), { guarantees })
}

for (const [version, keyvOver] of Object.entries(versions)) {
  describe(`${version}: what it stands on`, () => {
    for (const [name, adapter] of Object.entries(unknownAdapters)) {
      it(`${name}: one process, no lists, and no shared scope`, async () => {
        const keyv = keyvOver(adapter())
        assert.equal(clientOf(keyv), undefined)
        const store = keyvStore(keyv)
        assert.deepEqual(store.guarantees, { scope: 'process', durability: 'none', list: false })
        assert.equal(await store.once('a', 1_000), true)
        assert.equal(await store.once('a', 1_000), false)
        await store.close()
        assert.throws(
          () => createMailer({ providers: { provider: provider() }, store: keyv, scope: 'shared' }),
          (error) =>
            code('CONFIGURATION_ERROR')(error) && /sqlite\(.*redis\(.*postgres\(.*@keyv\/redis/.test(String(error)),
        )
        await createMailer({ providers: { provider: provider() }, store: keyv }).close()
      })
    }

    it('a store of ours: that store itself, with its guarantees, left open', async () => {
      const own = ownStore({ scope: 'host', durability: 'power-loss', list: true })
      const keyv = keyvOver(own, { namespace: 'shop' })
      const store = keyvStore(keyv)
      assert.deepEqual(store.guarantees, own.guarantees)
      assert.equal(await store.once('a', 1_000), true)
      assert.equal(await own.once('a', 1_000), false)
      await store.close()
      assert.equal(await own.once('b', 1_000), true)
      const mailer = createMailer({ providers: { provider: provider() }, store: keyv, scope: 'shared' })
      assert.equal(await mailer.messages.get('msg_a'), undefined)
      await mailer.close()
      assert.equal(await own.once('c', 1_000), true)
    })

    it('options that a store of ours would not see are refused', () => {
      assert.throws(() => keyvStore(keyvOver(ownStore()), { maxQueued: 5 }), code('CONFIGURATION_ERROR'))
    })

    it('a cluster of @keyv/redis is asked as a cluster, a single server as one', async () => {
      for (const [more, expected] of [
        [{}, [['EVALSHA']]],
        [{ slots: [] }, ['{sendwright}:version', false, ['EVALSHA']]],
      ] as const) {
        const calls: unknown[][] = []
        const client = {
          isOpen: false,
          ...more,
          async sendCommand(...args: unknown[]) {
            calls.push(args.map((arg) => (Array.isArray(arg) ? arg.slice(0, 1) : arg)))
            throw new Error('down')
          },
        }
        const keyv = keyvOver(adapterWith({ client, getClient: async () => client }))
        const store = keyvStore(keyv)
        await assert.rejects(async () => store.read('msg_a'), code('STORE_UNAVAILABLE'))
        assert.deepEqual(calls[0], expected)
        await store.close()
      }
    })

    it('client: false keeps everything in the Keyv', async () => {
      const own = ownStore({ scope: 'host', durability: 'power-loss', list: true })
      assert.equal(keyvStore(keyvOver(own), { client: false }).guarantees.scope, 'process')
      for (const client of [0, null, own, 'redis://localhost']) {
        assert.throws(() => keyvStore(keyvOver(own), { client: client as never }), code('CONFIGURATION_ERROR'))
      }
    })
  })
}

describe('engines are loaded when a Keyv needs one', () => {
  const loadedBy = (statement: string): readonly string[] => {
    const script = `
      import { registerHooks } from 'node:module'
      import Keyv from 'keyv'
      import KeyvRedis from '@keyv/redis'
      const loaded = []
      registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context) } })
      const { createMailer } = await import('./src/index.ts')
      const { memory } = await import('./providers/memory.ts')
      const providers = { memory: memory() }
      ${statement}
      console.log(JSON.stringify(loaded.filter((url) => /stores\\/(redis|postgres|sqlite)/.test(url))))`
    const cwd = join(import.meta.dirname, '../..')
    return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '--eval', script], { cwd }).toString())
  }

  it('none for a mailer whose Keyv has no client, and none before the first call', () => {
    assert.deepEqual(loadedBy("await createMailer({ providers, store: new Keyv() }).messages.get('msg_a')"), [])
    assert.deepEqual(loadedBy('createMailer({ providers, store: new Keyv({ store: new KeyvRedis() }) })'), [])
  })

  it('its own otherwise', () => {
    const store = "new Keyv({ store: new KeyvRedis('redis://127.0.0.1:1') })"
    const loaded = loadedBy(`
      const mailer = createMailer({ providers, store: ${store} })
      await mailer.messages.get('msg_a').catch(() => {})
      await mailer.close()
      setImmediate(() => process.exit())`)
    assert.ok(loaded.some((url) => url.endsWith('/redis.ts')))
    assert.ok(loaded.every((url) => url.includes('/redis')))
  })
})

describe('the name of a namespace on the server', () => {
  it('the default of either version is none', () => {
    assert.equal(namespaceOf(new Keyv()), undefined)
    assert.equal(namespaceOf(new Keyv6()), undefined)
    assert.equal(namespaceOf(new Keyv({ namespace: 'shop' })), 'shop')
    assert.equal(namespaceOf(new Keyv6({ namespace: 'shop' })), 'shop')
    assert.equal(dataName(undefined), 'sendwright')
    assert.equal(dataName('shop'), 'sendwright_shop')
  })

  it('P8: no two namespaces have one name, and every name is fit for a prefix and a schema', () => {
    const long = 'x'.repeat(41)
    const namespaces = [
      'shop',
      'Shop',
      'shop_',
      '_shop',
      'shop__eu',
      'shop_eu',
      'shop:eu',
      'shop-eu',
      'a}b',
      ' ',
      'ä',
      'a"b',
    ]
    namespaces.push('0', '\ud800', '\ud801', '\0', long, `${long}x`, long.slice(1))
    // What another namespace is called.
    namespaces.push(dataName('Shop').slice('sendwright_'.length), dataName('Shop').slice('sendwright__'.length))
    const names = namespaces.map(dataName)
    assert.equal(new Set(names).size, namespaces.length)
    for (const name of names) assert.match(name, /^sendwright_[a-z0-9_]{1,42}$/)
  })
})
