import assert from 'node:assert/strict'
import type { Row } from '../../stores/store.ts'
import { day, lease, type Suite, second } from './case.ts'
import { claimed, dueIds, rowOf } from './samples.ts'

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

  'what goes back to the queue keeps its place, however often and for whatever time': async ({
    store,
    now,
    advance,
  }) => {
    const put = async () => {
      const row = rowOf({ status: 'queued', kind: 'queue', dueAt: now() })
      await store.claim(row, {})
      return row
    }
    const change = async ({ id }: Row, to: Partial<Row>, delay = 0) => {
      const held = await store.takeover(id, ['queued', 'scheduled', 'failed'], lease)
      assert.equal(await store.settle({ ...held!.row, ...to }, held!.fence, { delay }), true)
    }
    /** All that is due, put back last first. */
    const order = async () => {
      const { held } = await store.due(10, lease)
      for (const { row, fence } of held.toReversed()) await store.settle({ ...row, status: 'queued' }, fence)
      return held.map(({ row }) => row.id)
    }
    const keyed = rowOf({ kind: 'queue', key: 'k' })
    const fence = await claimed(store, keyed)
    const [a, b, c] = [await put(), await put(), await put()]
    assert.equal(await store.settle({ ...keyed, status: 'queued' }, fence), true)
    const all = [a.id, b.id, c.id, keyed.id]
    for (let i = 0; i < 2; i++) assert.deepEqual(await order(), all)

    const [first] = (await store.due(1, lease)).held
    assert.equal(await store.settle({ ...a, status: 'queued' }, first!.fence, { delay: 10 * second }), true)
    await change(b, { status: 'scheduled', dueAt: now() + 10 * second })
    await change(keyed, {}, 10 * second)
    assert.deepEqual(await order(), [c.id])
    const late = await put()
    all.push(late.id)
    await advance(10 * second)
    assert.deepEqual(await order(), all)

    await change(late, { priority: 5 })
    assert.deepEqual(await order(), [late.id, ...all.slice(0, -1)])
    await change(late, { priority: 0 })
    assert.deepEqual(await order(), all)

    const [lost] = (await store.due(1, lease)).held
    assert.ok(await store.renew({ ...a, status: 'dispatching' }, lost!.fence, lease.ms))
    await advance(lease.ms + 2 * second)
    assert.deepEqual(await order(), all)
    assert.deepEqual(await order(), all)

    await change(a, { status: 'failed' })
    await change(a, { status: 'queued' })
    assert.deepEqual(await order(), [...all.slice(1), a.id], 'what had ended begins anew')
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

  'what waits is counted: queued and scheduled, and nothing that somebody works on or that has ended': async ({
    store,
    now,
  }) => {
    assert.equal(await store.waiting(), 0)
    for (const tenant of ['a', undefined]) {
      await store.claim(rowOf({ status: 'queued', kind: 'queue', dueAt: now(), ...(tenant && { tenant }) }), {})
    }
    const later = rowOf({ status: 'scheduled', kind: 'queue', dueAt: now() + day })
    await store.claim(later, {})
    await store.claim(rowOf(), { lease })
    assert.equal(await store.waiting(), 3)
    const [first, second] = (await store.due(2, lease)).held
    assert.equal(await store.waiting(), 1)
    await store.settle({ ...first!.row, status: 'sent' }, first!.fence)
    await store.settle({ ...second!.row, status: 'queued' }, second!.fence, { delay: 10 * 1_000 })
    assert.equal(await store.waiting(), 2)
    const held = await store.takeover(later.id, ['scheduled'], lease)
    await store.settle({ ...held!.row, status: 'cancelled' }, held!.fence)
    assert.equal(await store.waiting(), 1)
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
    assert.ok(await store.renew(started, first!.fence, lease.ms))
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

  'a queued row is due at once, or after its delay on the clock that never steps; a scheduled one by the wall clock':
    async ({ store, now, advance, step }) => {
      if (!step) return
      const later = rowOf({ kind: 'queue', dueAt: now() + 10 * second })
      const fence = await claimed(store, later)
      await store.settle({ ...later, status: 'queued' }, fence, { delay: 10 * second })
      const scheduled = rowOf({ status: 'scheduled', kind: 'queue', dueAt: now() + 10 * second })
      await store.claim(scheduled, {})
      step(-day)
      const fresh = rowOf({ status: 'queued', kind: 'queue' })
      await store.claim(fresh, {})
      assert.deepEqual(await dueIds(store, 10), [fresh.id])
      await advance(10 * second)
      assert.deepEqual(await dueIds(store, 10), [later.id])
      step(day)
      assert.deepEqual(await dueIds(store, 10), [scheduled.id])
    },

  'a step of the wall clock ends no lease, no key and no window': async ({ store, step }) => {
    if (!step) return
    const row = rowOf({ key: 'k' })
    const fence = await claimed(store, row, day)
    const windows = [{ limit: 1, per: day }]
    assert.ok((await store.limits.take('k', windows, 1)).ok)
    assert.ok(await store.once('event', day))
    for (const ms of [2 * day, -4 * day]) {
      step(ms)
      assert.equal(await store.takeover(row.id, ['dispatching'], lease), undefined)
      assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'held')
      assert.equal((await store.limits.take('k', windows, 1)).ok, false)
      assert.equal(await store.once('event', day), false)
    }
    assert.equal(await store.settle({ ...row, status: 'sent' }, fence), true)
  },

  '`without` leaves the rows of those tenants in their place': async ({ store }) => {
    const put = async (tenant: string | undefined) => {
      const row = rowOf({ status: 'queued', kind: 'queue', ...(tenant && { tenant }) })
      await store.claim(row, {})
      return row.id
    }
    const [first, second, own, other] = [await put('a'), await put('a'), await put(undefined), await put('b')]
    const ids = async (...without: (string | undefined)[]) => {
      const { held } = await store.due(1, lease, { without: new Set(without) })
      return held.map(({ row }) => row.id)
    }
    assert.deepEqual(await ids('a', undefined), [other])
    assert.deepEqual(await ids('a'), [own])
    const none = await store.due(10, lease, { without: new Set(['a', 'b', undefined]) })
    assert.deepEqual(none, { held: [] })
    assert.deepEqual(await ids('b'), [first])
    assert.deepEqual(await ids(), [second])
  },

  'with `lost`, only rows whose lease ran out': async ({ store, advance }) => {
    const lost = rowOf()
    await claimed(store, lost)
    await store.claim(rowOf({ status: 'queued', kind: 'queue' }), {})
    await advance(lease.ms + 2 * second)
    const { held } = await store.due(10, lease, { lost: true })
    assert.deepEqual(
      held.map(({ row }) => row.id),
      [lost.id],
    )
    assert.equal((await store.due(10, lease)).held.length, 1)
  },
}
