import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { inspect } from 'node:util'
import Keyv from 'keyv'
import Keyv6 from 'keyv6'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { isKeyv, type KeyvLike, type KeyvStoreOptions, keyvStore } from '../../src/stores/keyv.ts'
import { memory } from '../../src/stores/memory.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { message, rowOf } from '../../src/testing/stores/samples.ts'

const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000
const canary = 'canary-ada@example.com'

/** Both are tried on the same adapters; each takes a Map or an object with its methods. */
const versions: Record<string, (adapter?: object, options?: object) => Keyv | Keyv6> = {
  'keyv 5.6': (adapter = new Map(), options = {}) => new Keyv({ ...options, store: adapter as Map<string, unknown> }),
  'keyv 6.1': (adapter = new Map(), options = {}) => new Keyv6({ ...options, store: adapter as Map<string, unknown> }),
}

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected

function assertUnavailable(error: unknown): true {
  assert.ok(error instanceof MailError && error.code === 'STORE_UNAVAILABLE', inspect(error))
  assert.doesNotMatch(inspect(error, { depth: 9 }) + JSON.stringify(error), /canary|ada@/)
  return true
}

/** An adapter over a Map, each call of which can be made to fail. */
class Adapter {
  readonly map = new Map<string, unknown>()
  readonly ttls: unknown[] = []
  readonly opts = {}
  namespace?: string
  fault: ((method: string) => unknown) | undefined
  readonly #listeners: ((error: unknown) => void)[] = []

  on(_event: string, listener: (error: unknown) => void): this {
    this.#listeners.push(listener)
    return this
  }

  emit(error: unknown): void {
    for (const listener of this.#listeners) listener(error)
  }

  async get(key: string): Promise<unknown> {
    return this.fault ? this.fault('get') : this.map.get(key)
  }

  async set(key: string, value: unknown, ttl?: number): Promise<unknown> {
    this.ttls.push(ttl)
    if (this.fault) return this.fault('set')
    this.map.set(key, value)
    return true
  }

  async delete(key: string): Promise<unknown> {
    return this.fault ? this.fault('delete') : this.map.delete(key)
  }

  async has(key: string): Promise<boolean> {
    return this.map.has(key)
  }

  async clear(): Promise<void> {
    this.map.clear()
  }
}

async function claimed(store: MailStore, row = rowOf(), keyTtl = day): Promise<number> {
  const claim = await store.claim(row, { lease, keyTtl })
  assert.ok(claim.state === 'claimed')
  return claim.fence
}

const suppression = { key: 'ada@example.com', scope: 'all', reason: 'manual', createdAt: 0 }

/** Every verb that touches the Keyv. */
const verbs: Record<string, (store: MailStore) => unknown> = {
  claim: (store) => store.claim(rowOf({ key: 'k' }), { lease }),
  takeover: (store) => store.takeover('msg_a', ['sent'], lease),
  read: (store) => store.read('msg_a'),
  'find by Message-ID': (store) => store.find({ messageId: '<msg_a@acme.example>' }),
  'find by provider id': (store) => store.find({ providerMessageId: 'p' }),
  'suppress.add': (store) => store.suppress.add([suppression]),
  'suppress.hasMany': (store) => store.suppress.hasMany(undefined, ['ada@example.com'], ['all']),
  'suppress.get': (store) => store.suppress.get(undefined, 'ada@example.com'),
  'suppress.remove': (store) => store.suppress.remove(undefined, 'ada@example.com'),
  'limits.take': (store) => store.limits.take('k', [{ limit: 1, per: 1_000 }], 1),
  'limits.usage': (store) => store.limits.usage('k', [{ limit: 1, per: 1_000 }]),
  'limits.refund': (store) => store.limits.refund('k', [{ limit: 1, per: 1_000 }], 1, 0),
  'limits.move': (store) => store.limits.move('k', [{ limit: 1, per: 1_000 }], [{ cost: 1, from: 0, to: 1 }]),
  'counters.add': (store) => store.counters.add('k', 1),
  'counters.read': (store) => store.counters.read(['k']),
  once: (store) => store.once('id', 1_000),
}

for (const [name, keyv] of Object.entries(versions)) {
  describeStore(
    name,
    () => {
      const clock = fakeClock()
      return { store: keyvStore(keyv(), { clock }), now: clock.now, advance: clock.advance, step: clock.step }
    },
    { describe, it },
  )

  const open = (adapter: object = new Map(), options: KeyvStoreOptions & { keyv?: object } = {}) => {
    const clock = options.clock ?? fakeClock()
    const { keyv: keyvOptions, ...rest } = options
    return {
      store: keyvStore(keyv(adapter, keyvOptions), { clock, ...rest }),
      clock: clock as ReturnType<typeof fakeClock>,
    }
  }

  /** What a new process finds: the same entries, and no memory of who worked on what. */
  const restarted = (adapter: Map<string, unknown>, clock: ReturnType<typeof fakeClock>) =>
    open(new Map(adapter), { clock }).store

  describe(`${name}: after a restart`, () => {
    it('P7: an idempotent repeat is answered', async () => {
      const map = new Map()
      const { store, clock } = open(map)
      const row = rowOf({ key: 'k', fingerprint: 'f' })
      const sent = { ...row, status: 'sent', providerMessageId: 'p' } as const
      await store.settle(sent, await claimed(store, row))
      await clock.advance(day - 1)
      const after = restarted(map, clock)
      assert.deepEqual(await after.claim(rowOf({ key: 'k' }), { lease }), { state: 'held', row: sent, leased: false })
      assert.deepEqual(await after.find({ providerMessageId: 'p' }), sent)
      await clock.advance(1)
      assert.equal((await after.claim(rowOf({ key: 'k' }), { lease })).state, 'claimed')
    })

    it('P2: a row somebody worked on is left alone until its lease ran out', async () => {
      const map = new Map()
      const { store, clock } = open(map)
      const row = rowOf({ key: 'k' })
      const fence = await claimed(store, row)
      const after = restarted(map, clock)
      assert.partialDeepStrictEqual(await after.claim(rowOf({ key: 'k' }), { lease }), { state: 'held', leased: true })
      assert.equal(await after.takeover(row.id, ['dispatching'], lease), undefined)
      assert.equal(await after.renew(row, fence, lease.ms), undefined)
      await clock.advance(lease.ms)
      assert.ok(await after.takeover(row.id, ['dispatching'], lease))
    })

    it('P3: who is suppressed stays suppressed', async () => {
      const map = new Map()
      const { store, clock } = open(map)
      await store.suppress.add([suppression])
      await clock.advance(1_000 * day)
      const [entry] = await restarted(map, clock).suppress.hasMany(undefined, ['ada@example.com'], ['all'])
      assert.deepEqual(entry, suppression)
    })

    it('P4: a window counts what passed before, and no event is taken twice', async () => {
      const map = new Map()
      const { store, clock } = open(map)
      const windows = [{ limit: 3, per: 60_000 }]
      assert.ok((await store.limits.take('l', windows, 2)).ok)
      assert.equal(await store.once('event', 60_000), true)
      await clock.advance(30_000)
      const after = restarted(map, clock)
      assert.equal((await after.limits.take('l', windows, 2)).ok, false)
      assert.equal((await after.limits.take('l', windows, 1)).ok, true)
      assert.equal(await after.once('event', 60_000), false)
      await clock.advance(32_000)
      assert.equal((await after.limits.take('l', windows, 2)).ok, true)
      assert.equal((await after.limits.take('l', windows, 1)).ok, false)
    })

    it('what was queued is dispatched when a call repeats its key, once', async () => {
      const map = new Map()
      const { store, clock } = open(map)
      const row = rowOf({ key: 'k', status: 'queued', kind: 'queue', dueAt: clock.now() })
      await store.claim(row, {})
      const after = restarted(map, clock)
      assert.deepEqual(await after.due(10, lease), { held: [] })
      await after.claim(rowOf({ key: 'k' }), { lease })
      await after.claim(rowOf({ key: 'k' }), { lease })
      const { held } = await after.due(10, lease)
      assert.deepEqual(
        held.map((one) => one.row),
        [row],
      )
      await after.claim(rowOf({ key: 'k' }), { lease })
      assert.deepEqual(await after.due(10, lease), { held: [] })
    })
  })

  describe(`${name}: S1 a failing Keyv is a failure`, () => {
    const faults: Record<string, (adapter: Adapter) => (method: string) => unknown> = {
      'an adapter that throws': () => () => {
        throw new Error(canary)
      },
      'an adapter that swallows and only emits (Redis, PostgreSQL)': (adapter) => (method) => {
        adapter.emit(new Error(canary))
        return method === 'get' ? undefined : true
      },
    }
    for (const [fault, make] of Object.entries(faults)) {
      for (const [setting, options] of Object.entries({
        'by default': {},
        'with throwOnErrors': { throwOnErrors: true },
      })) {
        it(`${fault}, ${setting}: every verb rejects`, async () => {
          for (const [verb, call] of Object.entries(verbs)) {
            const adapter = new Adapter()
            const { store } = open(adapter, { keyv: options })
            adapter.fault = make(adapter)
            await assert.rejects(async () => call(store), assertUnavailable, verb)
            adapter.fault = undefined
            await call(store)
          }
        })
      }
    }

    it('a set that answers false has not written', async () => {
      const adapter = new Adapter()
      const { store } = open(adapter)
      adapter.fault = (method) => (method === 'set' ? false : undefined)
      for (const verb of ['claim', 'suppress.add', 'limits.take', 'once', 'counters.add']) {
        await assert.rejects(async () => verbs[verb]!(store), assertUnavailable, verb)
      }
    })

    it('also for the holder: renew, settle and due reject, and what was due still is', async () => {
      const adapter = new Adapter()
      const { store, clock } = open(adapter)
      const row = rowOf({ key: 'k' })
      const fence = await claimed(store, row)
      const queued = [0, 1, 2].map(() => rowOf({ status: 'queued', kind: 'queue', dueAt: clock.now() }))
      for (const one of queued) await store.claim(one, {})
      adapter.fault = () => {
        throw new Error(canary)
      }
      await assert.rejects(async () => store.renew(row, fence, 1), assertUnavailable)
      await assert.rejects(async () => store.settle({ ...row, status: 'sent' }, fence), assertUnavailable)
      await assert.rejects(async () => store.due(2, lease), assertUnavailable)
      adapter.fault = undefined
      assert.equal(await store.settle({ ...row, status: 'sent' }, fence), true)
      const { held } = await store.due(10, lease)
      assert.deepEqual(
        held.map((one) => one.row.id),
        queued.map(({ id }) => id),
      )
    })

    it('P9: one that hangs is a failure in less than 2 s, and later calls are not stuck behind it', async () => {
      const adapter = new Adapter()
      const { store, clock } = open(adapter)
      adapter.fault = () => new Promise(() => {})
      const failures: unknown[] = []
      const first = verbs.once!(store) as Promise<unknown>
      first.catch((error: unknown) => failures.push(error))
      await clock.advance(1_999)
      assert.equal(failures.length, 1)
      assertUnavailable(failures[0])
      adapter.fault = undefined
      assert.equal(await verbs.once!(store), true)
      assert.equal(clock.pending, 0)
    })

    it('a call that waited longer than its caller is not carried out', async () => {
      const adapter = new Adapter()
      const { store, clock } = open(adapter)
      adapter.fault = () => new Promise(() => {})
      const results = [0, 1, 2].map(() => (verbs.once!(store) as Promise<unknown>).catch((error: unknown) => error))
      await clock.advance(2_900)
      adapter.fault = undefined
      await clock.advance(100)
      for (const result of await Promise.all(results)) assertUnavailable(result)
      assert.equal(adapter.map.size, 0)
      assert.equal(await verbs.once!(store), true)
    })

    it('D2: a record that cannot be read is a failure, never an absence', async () => {
      const map = new Map<string, unknown>()
      const { store } = open(map)
      await store.suppress.add([suppression])
      const [key] = map.keys()
      for (const value of ['{', '{"v":2,"data":{}}', 'null', 7, { entries: [] }]) {
        const own = keyv(new Map())
        // The key as the store gave it, without what the Keyv puts before it.
        await own.set(key!.slice(key!.indexOf('sendwright')), value)
        const other = keyvStore(own)
        await assert.rejects(
          async () => other.suppress.hasMany(undefined, ['ada@example.com'], ['all']),
          assertUnavailable,
        )
      }
    })
  })

  describe(`${name}: with the application's Keyv`, () => {
    it('S5: a default TTL of the Keyv ends nothing; every TTL is a positive whole number', async () => {
      const adapter = new Adapter()
      const { store } = open(adapter, { keyv: { ttl: 1 } })
      const row = rowOf({ key: 'k' })
      await store.settle({ ...row, status: 'sent', providerMessageId: 'p' }, await claimed(store, row))
      for (const call of Object.values(verbs)) await call(store)
      await store.limits.take('odd', [{ limit: 1, per: 0.7 }], 1)
      await store.suppress.add([{ ...suppression, key: 'b@x.example', expiresAt: 1 }])
      assert.ok(adapter.ttls.length > 8)
      for (const ttl of adapter.ttls) assert.ok(Number.isInteger(ttl) && (ttl as number) > day / 2, String(ttl))
    })

    it('P3: a suppression without end outlives a default TTL', async () => {
      const { store } = open(new Map(), { keyv: { ttl: 1 } })
      await store.suppress.add([suppression])
      const until = Date.now() + 5
      while (Date.now() < until) await new Promise(setImmediate)
      assert.equal((await store.suppress.get(undefined, 'ada@example.com')).length, 1)
    })

    it('K1: an unsettled or unknown row and its key are written for good, a settled one for its time', async () => {
      const adapter = new Adapter()
      const { store } = open(adapter)
      const years = 90 * 365 * day
      const row = rowOf({ key: 'k' })
      const fence = await claimed(store, row, 1_000)
      await store.renew(row, fence, lease.ms)
      await store.settle({ ...row, status: 'unknown' }, fence)
      assert.ok(adapter.ttls.every((ttl) => (ttl as number) > years))
      adapter.ttls.length = 0
      const held = await store.takeover(row.id, ['unknown'], lease)
      adapter.ttls.length = 0
      await store.settle({ ...row, status: 'sent' }, held!.fence)
      assert.equal(adapter.ttls.length, 2)
      assert.ok(adapter.ttls.every((ttl) => (ttl as number) <= 31 * day + 1_000))
    })

    it('S2: keys are a constant and a hash: nothing a caller wrote is in them', async () => {
      const map = new Map<string, unknown>()
      const { store } = open(map)
      for (const call of Object.values(verbs)) await call(store)
      await store.suppress.add([{ ...suppression, tenant: 'secret-tenant', key: canary }])
      assert.ok(map.size > 4)
      for (const key of map.keys()) assert.match(key, /(^|:)sendwright-v1-[a-z]+-[\w-]{43}$/)
    })

    it('S5: rows survive a custom serializer, and are not shared objects', async () => {
      const { store } = open(new Map(), {
        keyv: { serialize: undefined, deserialize: undefined, serialization: false },
      })
      const content = new Uint8Array([1, 2, 3])
      const attachments = [{ filename: 'a', content, contentType: 'text/plain' }]
      const work = { message: message({ attachments }), onUnknown: 'hold' as const, timeout: 1, taken: [] }
      const row = rowOf({ work })
      await claimed(store, row)
      content[0] = 9
      assert.deepEqual((await store.read(row.id))?.work?.message.attachments[0]?.content, new Uint8Array([1, 2, 3]))
    })

    it('P7: two stores over one adapter in one process see each other’s claims and leases', async () => {
      for (const share of [
        () => {
          const one = keyv(new Map())
          return [one, one]
        },
        () => {
          const map = new Map()
          return [keyv(map), keyv(map)]
        },
      ]) {
        const clock = fakeClock()
        const [first, second] = share().map((one) => keyvStore(one, { clock }))
        const claims = await Promise.all(
          Array.from({ length: 100 }, (_, i) => (i % 2 ? first! : second!).claim(rowOf({ key: 'k' }), { lease })),
        )
        assert.equal(claims.filter(({ state }) => state === 'claimed').length, 1)
        const held = claims.find((claim) => claim.state === 'held')
        assert.ok(held?.state === 'held')
        for (const store of [first!, second!]) {
          assert.equal(await store.takeover(held.row.id, ['dispatching'], lease), undefined)
        }
        await first!.close()
        assert.equal(await second!.takeover(held.row.id, ['dispatching'], lease), undefined)
      }
    })

    it('P10: a window that counts nothing leaves no record', async () => {
      const map = new Map<string, unknown>()
      const { store } = open(map)
      const windows = [{ limit: 1, per: day }]
      const take = await store.limits.take('l', windows, 1)
      assert.ok(take.ok)
      assert.equal(map.size, 1)
      await store.limits.refund('l', windows, 1, take.at)
      assert.equal(map.size, 0)
    })

    it('X7: close leaves the Keyv open and without our listener', async () => {
      const own = keyv(new Map())
      const before = own.listeners('error').length
      let disconnected = false
      own.on('disconnect', () => {
        disconnected = true
      })
      const store = keyvStore(own)
      await store.once('a', 1_000)
      assert.equal(own.listeners('error').length, before + 1)
      await store.close()
      await store.close()
      assert.equal(own.listeners('error').length, before)
      assert.equal(disconnected, false)
      assert.equal(await own.set('app', 1), true)
    })

    it('P10: over maxQueued an accept is QUEUE_FULL, also when the key was claimed before', async () => {
      const { store } = open(new Map(), { maxQueued: 1 })
      const queue = { status: 'queued', kind: 'queue', dueAt: 0 } as const
      await store.claim(rowOf(queue), {})
      await assert.rejects(async () => store.claim(rowOf(queue), {}), code('QUEUE_FULL'))
      const row = rowOf({ key: 'k', accepted: false })
      const fence = await claimed(store, row)
      await assert.rejects(async () => store.settle({ ...row, ...queue, accepted: true }, fence), code('QUEUE_FULL'))
      assert.equal(await store.settle(row, fence, { remove: true }), true)
      const other = rowOf({ key: 'other', accepted: false })
      const otherFence = await claimed(store, other)
      await store.renew({ ...other, accepted: true }, otherFence, lease.ms)
      const [held] = (await store.due(1, lease)).held
      await store.claim(rowOf(queue), {})
      assert.equal(await store.settle({ ...other, ...queue, accepted: true }, otherFence), true)
      assert.equal(await store.settle(held!.row, held!.fence), true, 'what was accepted finds its place again')
    })
  })
}

describe('keyvStore refuses what would lose mail in silence', () => {
  const refused = (keyv: unknown, words: RegExp) =>
    assert.throws(
      () => keyvStore(keyv as KeyvLike),
      (error) => code('CONFIGURATION_ERROR')(error) && words.test((error as Error).message),
    )

  it('a connection text, a Map, an older Keyv', () => {
    refused('redis://localhost', /connection text/)
    refused(undefined, /Keyv instance/)
    refused(new Map(), /getRaw/)
    refused({ get() {}, set() {}, delete() {}, on() {}, off() {} }, /getRaw/)
  })

  it('a Keyv that hides its failures', () => {
    refused(new Keyv({ emitErrors: false }), /emitErrors/)
    const nonBlocking = Object.assign(new Adapter(), { throwOnConnectError: false })
    for (const keyv of Object.values(versions)) refused(keyv(nonBlocking), /createKeyv/)
  })

  it('options that are no positive numbers', () => {
    for (const name of ['maxQueued']) {
      for (const value of [0, -1, Number.NaN, '1']) {
        assert.throws(() => keyvStore(new Keyv(), { [name]: value }), code('CONFIGURATION_ERROR'))
      }
    }
  })

  it('a Keyv is told from a store', () => {
    for (const keyv of Object.values(versions)) assert.equal(isKeyv(keyv()), true)
    assert.equal(isKeyv(memory()), false)
    assert.equal(isKeyv({}), false)
  })
})
