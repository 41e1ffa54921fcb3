import assert from 'node:assert/strict'
import type { Row } from '../../stores/store.ts'
import { day, lease, type Suite, second } from './case.ts'
import { claimed, dueIds, message, rowOf } from './samples.ts'

export const due: Suite = {
  'higher priority leaves first, and equals in the order they came': async ({ store, now }) => {
    const queued: Row[] = []
    for (const priority of [0, 5, -5, 5, 0]) {
      const row = rowOf({ status: 'queued', kind: 'queue', priority, dueAt: now() })
      await store.claim(row, {})
      queued.push(row)
    }
    assert.deepEqual(
      await dueIds(store, 10),
      [1, 3, 0, 4, 2].map((i) => queued[i]!.id),
    )
  },

  'a repeat of its key leaves a queued row in its place': async ({ store, now }) => {
    const [first, second] = ['a', 'b'].map((key) => rowOf({ key, status: 'queued', kind: 'queue', dueAt: now() }))
    for (const row of [first!, second!]) await store.claim(row, { keyTtl: day })
    await store.claim(rowOf({ key: 'a' }), { lease })
    assert.deepEqual(await dueIds(store, 2), [first!.id, second!.id])
  },

  'tenants take turns, however much one has queued': async ({ store, now }) => {
    for (const tenant of ['big', 'big', 'big', 'big', 'small', undefined]) {
      await store.claim(rowOf({ status: 'queued', kind: 'queue', dueAt: now(), ...(tenant && { tenant }) }), {})
    }
    const { held } = await store.due(6, lease)
    assert.deepEqual(new Set(held.slice(0, 3).map(({ row }) => row.tenant)), new Set(['big', 'small', undefined]))
    assert.equal(held.length, 6)
  },

  'a row is handed to one worker': async ({ store, now }) => {
    for (let i = 0; i < 100; i++) await store.claim(rowOf({ status: 'queued', kind: 'queue', dueAt: now() }), {})
    const takes = await Promise.all(Array.from({ length: 20 }, () => store.due(10, lease)))
    const ids = takes.flatMap(({ held }) => held.map(({ row }) => row.id))
    assert.equal(ids.length, 100)
    assert.equal(new Set(ids).size, 100)
  },

  'what is scheduled waits for its time, and `next` says how long': async ({ store, now, advance }) => {
    const row = rowOf({ status: 'scheduled', kind: 'queue', dueAt: now() + 10 * second })
    await store.claim(row, {})
    assert.deepEqual(await store.due(10, lease), { held: [], next: 10 * second })
    await advance(10 * second - 1)
    assert.deepEqual(await dueIds(store, 10), [])
    await advance(1)
    assert.deepEqual(await dueIds(store, 10), [row.id])
    assert.deepEqual(await store.due(10, lease), { held: [] })
  },

  'D1: a row whose lease ran out is handed out again': async ({ store, now, advance }) => {
    const row = rowOf({ status: 'queued', kind: 'queue', dueAt: now() })
    await store.claim(row, {})
    const [first] = (await store.due(1, lease)).held
    const started = { ...row, status: 'dispatching' } as const
    assert.equal(await store.renew(started, first!.fence, lease.ms), true)
    await advance(lease.ms - 1)
    assert.deepEqual(await dueIds(store, 10), [])
    await advance(2 * second)
    const [again] = (await store.due(10, lease)).held
    assert.deepEqual(again?.row, started)
    assert.equal(await store.settle(started, first!.fence), false)
    assert.equal(await store.settle({ ...row, status: 'sent' }, again!.fence), true)
    await advance(10 * lease.ms)
    assert.deepEqual(await store.due(10, lease), { held: [] })
  },

  'a row settled or unknown is nobody’s work, also when the lease on it ran out': async ({ store, advance }) => {
    for (const status of ['sent', 'unknown'] as const) {
      const row = rowOf()
      await store.settle({ ...row, status }, await claimed(store, row))
      assert.ok(await store.takeover(row.id, [status], lease))
    }
    await advance(2 * lease.ms)
    assert.deepEqual(await store.due(10, lease), { held: [] })
  },

  'a row put back is due at its new time; one taken out never': async ({ store, now, advance }) => {
    const [later, cancelled] = [0, 1].map(() => rowOf({ status: 'queued', kind: 'queue', dueAt: now() }))
    for (const row of [later!, cancelled!]) await store.claim(row, {})
    const moved = await store.takeover(later!.id, ['queued'], lease)
    await store.settle({ ...later!, status: 'scheduled', dueAt: now() + day }, moved!.fence)
    const out = await store.takeover(cancelled!.id, ['queued'], lease)
    await store.settle({ ...cancelled!, status: 'cancelled' }, out!.fence)
    assert.deepEqual(await store.due(10, lease), { held: [], next: day })
    await advance(day)
    assert.deepEqual(await dueIds(store, 10), [later!.id])
  },

  'no more than asked for': async ({ store, now }) => {
    for (let i = 0; i < 5; i++) await store.claim(rowOf({ status: 'queued', kind: 'queue', dueAt: now() }), {})
    const { held, next } = await store.due(3, lease)
    assert.equal(held.length, 3)
    assert.equal(next, 0)
    assert.equal((await store.due(3, lease)).held.length, 2)
  },
}

export const rows: Suite = {
  'a row comes back field for field, with the bytes of its attachments': async ({ store }) => {
    const row = rowOf({
      status: 'unknown',
      kind: 'queue',
      tags: ['a', 'b'],
      subject: ':base64:not, "quoted" \u2028 ☃',
      notAfter: 5,
      work: { message: message(), onUnknown: 'hold', timeout: 1, taken: [{ key: 'q', windows: [], at: 1 }] },
    })
    await store.settle(row, await claimed(store, { ...row, status: 'dispatching' }))
    const read = await store.get(row.id)
    assert.deepEqual(read, row)
    assert.ok(read?.work?.message.attachments[0]?.content instanceof Uint8Array)
    assert.deepEqual((await store.takeover(row.id, ['unknown'], lease))?.row, row)
  },

  'what is not there is undefined': async ({ store }) => {
    assert.equal(await store.get('msg_none'), undefined)
    assert.equal(await store.find({ messageId: '<msg_none@acme.example>' }), undefined)
    assert.equal(await store.find({ messageId: 'no message id' }), undefined)
    assert.equal(await store.find({ providerMessageId: 'none' }), undefined)
  },

  'a row is found by its Message-ID and by every id a provider gave it': async ({ store }) => {
    const row = rowOf()
    const fence = await claimed(store, row)
    assert.equal(await store.renew({ ...row, providerMessageId: 'first' }, fence, lease.ms), true)
    await store.settle({ ...row, status: 'sent', providerMessageId: 'second' }, fence)
    for (const by of [{ messageId: row.messageId }, { providerMessageId: 'first' }, { providerMessageId: 'second' }]) {
      assert.equal((await store.find(by))?.id, row.id)
    }
    assert.equal(await store.find({ messageId: row.messageId.replace('acme', 'evil') }), undefined)
  },
}
