import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { borrowedStore } from '../../src/stores/borrowed.ts'
import { memory } from '../../src/stores/memory.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rowOf } from '../../src/testing/stores/samples.ts'

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected
const { guarantees } = memory()

for (const [name, open] of Object.entries({
  'a borrowed store': (store: MailStore) => store,
  'a store that is opened meanwhile': async (store: MailStore) => store,
})) {
  describeStore(
    name,
    () => {
      const clock = fakeClock()
      const store = memory({ clock })
      return {
        store: borrowedStore({ guarantees, open: () => open(store), close: () => store.close(), clock }),
        now: clock.now,
        advance: clock.advance,
        step: clock.step,
      }
    },
    { describe, it },
  )
}

describe('borrowedStore', () => {
  it('is not closed with what borrowed it; only the borrower is', async () => {
    const store = memory()
    let closed = 0
    const borrowed = borrowedStore({
      guarantees,
      open: () => store,
      close(opened) {
        assert.equal(opened, store)
        closed++
      },
    })
    assert.equal(await borrowed.once('a', 1_000), true)
    await borrowed.close()
    await borrowed.close()
    assert.equal(closed, 1)
    assert.equal(await store.once('a', 1_000), false)
    await assert.rejects(async () => borrowed.once('b', 1_000), code('CLOSED'))
  })

  it('P9: a verb that waited too long for the store is a failure, and is not done later', async () => {
    const clock = fakeClock()
    const store = memory({ clock })
    const opening = Promise.withResolvers<MailStore>()
    const borrowed = borrowedStore({ guarantees, open: () => opening.promise, close() {}, clock })
    const failures: unknown[] = []
    const first = Promise.resolve(borrowed.once('a', 1_000)).catch((error: unknown) => failures.push(error))
    await clock.advance(400)
    await first
    assert.ok(code('STORE_UNAVAILABLE')(failures[0]))
    opening.resolve(store)
    await clock.advance(1)
    assert.equal(clock.pending, 0)
    assert.equal(await store.once('a', 1_000), true)
    assert.equal(await borrowed.once('b', 1_000), true)
  })

  it('what failed to open is opened again by the next verb, and nothing goes unhandled', async () => {
    let opened = 0
    const borrowed = borrowedStore({
      guarantees,
      async open() {
        if (++opened < 3) throw new Error('down')
        return memory()
      },
      close() {},
    })
    await new Promise(setImmediate)
    await assert.rejects(async () => borrowed.once('a', 1_000), /down/)
    assert.equal(await borrowed.once('a', 1_000), true)
    assert.equal(await borrowed.once('a', 1_000), false)
    assert.equal(opened, 3)
  })

  it('X7: closed while it is being opened, it closes what comes', async () => {
    const clock = fakeClock()
    const opening = Promise.withResolvers<MailStore>()
    const store = memory({ clock })
    let closed: MailStore | undefined
    const borrowed = borrowedStore({
      guarantees,
      open: () => opening.promise,
      close(opened) {
        closed = opened
      },
      clock,
    })
    const close = borrowed.close()
    opening.resolve(store)
    await close
    assert.equal(closed, store)
    assert.equal(clock.pending, 0)
  })

  it('writes in a transaction where the store can, and says so before it is there', async () => {
    const store = memory()
    const begun: unknown[] = []
    const within = (transaction: unknown) => {
      begun.push(transaction)
      return store
    }
    const options = { guarantees, open: async () => Object.assign(store, { within }), close() {} }
    assert.equal(borrowedStore(options).within, undefined)
    const borrowed = borrowedStore({ ...options, transactions: true })
    const transaction = { query: async () => ({ rows: [] }) }
    const row = rowOf({ key: 'k' })
    const claim = await borrowed.within!(transaction).claim(row, { lease: { owner: 'test', ms: 40_000 } })
    assert.ok(claim.state === 'claimed')
    assert.equal(await borrowed.within!(transaction).settle({ ...row, status: 'sent' }, claim.fence), true)
    assert.deepEqual(begun, [transaction, transaction])
  })
})
