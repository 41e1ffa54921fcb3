import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { MailError } from '../../src/errors.ts'
import { checkedStore } from '../../src/stores/checked.ts'
import { memory } from '../../src/stores/memory.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { type FakeClock, fakeClock } from '../../src/testing/fake-clock.ts'
import { rowOf } from '../../src/testing/stores/samples.ts'

const canary = 'canary-ada@example.com'

/** Every verb, called once. */
const calls: Record<string, (store: MailStore) => unknown> = {
  claim: (store) => store.claim(rowOf(), {}),
  renew: (store) => store.renew(rowOf(), 1, 1),
  settle: (store) => store.settle(rowOf(), 1),
  takeover: (store) => store.takeover('id', ['sent'], { owner: 'o', ms: 1 }),
  read: (store) => store.read('id'),
  find: (store) => store.find({ messageId: 'id' }),
  list: (store) => store.list({}),
  due: (store) => store.due(1, { owner: 'o', ms: 1 }),
  waiting: (store) => store.waiting(),
  'suppress.add': (store) => store.suppress.add([]),
  'suppress.hasMany': (store) => store.suppress.hasMany(undefined, ['a'], ['all']),
  'suppress.get': (store) => store.suppress.get(undefined, 'a'),
  'suppress.remove': (store) => store.suppress.remove(undefined, 'a'),
  'suppress.list': (store) => store.suppress.list(undefined, {}),
  'limits.take': (store) => store.limits.take('k', [], 1),
  'limits.refund': (store) => store.limits.refund('k', [], 1, 0),
  'limits.move': (store) => store.limits.move('k', [], []),
  'counters.add': (store) => store.counters.add('k', 1),
  'counters.read': (store) => store.counters.read(['k']),
  once: (store) => store.once('id', 1),
  close: (store) => store.close(),
}

/** A store all of whose verbs do this. */
function storeThat(answer: () => unknown): MailStore {
  const verbs: Record<string, unknown> = { guarantees: memory().guarantees }
  for (const name of Object.keys(calls)) {
    const [group, verb] = name.split('.') as [string, string?]
    if (verb === undefined) verbs[group] = answer
    else verbs[group] = { ...(verbs[group] as object), [verb]: answer }
  }
  return verbs as unknown as MailStore
}

function assertUnavailable(error: unknown, verb: string): true {
  assert.ok(error instanceof MailError)
  assert.equal(error.code, 'STORE_UNAVAILABLE')
  assert.ok(error.message.includes(` at ${verb};`), error.message)
  assert.doesNotMatch(inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error), /canary|ada@/i)
  return true
}

const failures: Record<string, () => unknown> = {
  throws: () => {
    throw new Error(canary)
  },
  'throws no error': () => {
    throw canary
  },
  rejects: () => Promise.reject(new Error(canary)),
  'rejects with words in name and code': () =>
    Promise.reject(Object.assign(new Error(canary), { name: canary, code: 'canary_code' })),
  'rejects with an error that cannot be read': () =>
    Promise.reject(
      new Proxy(new Error(canary), {
        get: () => {
          throw new Error(canary)
        },
      }),
    ),
  'rejects with nothing': () => Promise.reject(),
  'answers a thenable that throws': () => ({
    // biome-ignore lint/suspicious/noThenProperty: that is the fault.
    then() {
      throw new Error(canary)
    },
  }),
}

describe('S1: the checked wrapper', () => {
  for (const [fault, answer] of Object.entries(failures)) {
    test(`P9 P11: a store that ${fault} is STORE_UNAVAILABLE at every verb, without the driver's words`, async () => {
      const store = checkedStore(storeThat(answer), fakeClock())
      for (const [verb, call] of Object.entries(calls)) {
        await assert.rejects(
          async () => call(store),
          (error) => assertUnavailable(error, verb),
        )
      }
    })
  }

  const hanging = (clock: FakeClock, answer: () => unknown) => {
    const store = checkedStore(storeThat(answer), clock)
    const settled: [string, unknown][] = []
    for (const [verb, call] of Object.entries(calls)) {
      Promise.resolve(call(store)).then(
        (value) => settled.push([verb, value]),
        (error: unknown) => settled.push([verb, error]),
      )
    }
    return settled
  }

  test('P9: a store that hangs is STORE_UNAVAILABLE after 2 s, and leaves no timer', async () => {
    const clock = fakeClock()
    const settled = hanging(clock, () => new Promise(() => {}))
    await clock.advance(1_999)
    assert.equal(settled.length, 0)
    await clock.advance(1)
    assert.equal(settled.length, Object.keys(calls).length)
    for (const [verb, error] of settled) assertUnavailable(error, verb)
    assert.equal(clock.pending, 0)
  })

  test('P9: an answer or failure after the deadline changes nothing and is nobody’s unhandled rejection', async () => {
    for (const late of ['resolve', 'reject'] as const) {
      const clock = fakeClock()
      const pending: PromiseWithResolvers<unknown>[] = []
      const settled = hanging(clock, () => {
        pending.push(Promise.withResolvers())
        return pending.at(-1)!.promise
      })
      await clock.advance(2_000)
      for (const one of pending) one[late](new Error(canary))
      await clock.advance(0)
      assert.equal(settled.length, Object.keys(calls).length)
      for (const [verb, error] of settled) assertUnavailable(error, verb)
    }
  })

  test('an answer in time leaves no timer, and one at once needs none', async () => {
    const clock = fakeClock()
    const asynchronous = checkedStore(
      storeThat(() => Promise.resolve(true)),
      clock,
    )
    assert.equal(await asynchronous.once('id', 1), true)
    assert.equal(clock.pending, 0)
    assert.equal(checkedStore(memory({ clock }), clock).once('id', 1), true)
    assert.equal(clock.pending, 0)
  })

  test('a MailError of the store is passed on as it is', () => {
    const error = new MailError('QUEUE_FULL', 'Full.')
    const store = checkedStore(
      storeThat(() => {
        throw error
      }),
      fakeClock(),
    )
    assert.throws(
      () => store.read('id'),
      (thrown) => thrown === error,
    )
  })

  test('S3: an answer that says nothing where silence would let mail through is a failure', async () => {
    for (const nothing of [undefined, null, {}, []]) {
      for (const wrap of [(value: unknown) => value, (value: unknown) => Promise.resolve(value)]) {
        const store = checkedStore(
          storeThat(() => wrap(nothing)),
          fakeClock(),
        )
        for (const verb of ['claim', 'renew', 'settle', 'suppress.hasMany', 'limits.take', 'once']) {
          // A renewal that answers nothing says that the fence is another's.
          if (verb === 'renew' && nothing === undefined) continue
          await assert.rejects(
            async () => calls[verb]!(store),
            (error) => assertUnavailable(error, verb),
          )
        }
      }
    }
  })

  test('a driver code that is a plain word is named, so that an operator knows where to look', async () => {
    const store = checkedStore(
      storeThat(() => Promise.reject(Object.assign(new Error(canary), { code: 'ECONNREFUSED' }))),
      fakeClock(),
    )
    await assert.rejects(async () => store.read('id'), /ECONNREFUSED/)
  })
})
