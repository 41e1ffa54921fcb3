import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { DueList, type Moment } from '../../src/stores/due-list.ts'
import { Heap } from '../../src/stores/heap.ts'

const both = (now: number) => ({ wall: now, elapsed: now })
const seed = Number(process.env.SEED) || Date.now() % 1_000_000

describe('Heap', () => {
  test(`pops in order, whatever was pushed and popped before (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined })), (steps) => {
        const heap = new Heap<number>((a, b) => a < b)
        const model: number[] = []
        for (const step of steps) {
          if (step === undefined) {
            assert.equal(heap.peek(), model[0])
            assert.equal(heap.pop(), model.shift())
          } else {
            heap.push(step)
            model.push(step)
            model.sort((a, b) => a - b)
          }
          assert.equal(heap.size, model.length)
        }
        while (model.length > 0) assert.equal(heap.pop(), model.shift())
        assert.equal(heap.pop(), undefined)
      }),
      { seed },
    )
  })

  test('comparisons for n items grow as n log n, not faster', () => {
    const comparisons = (n: number) => {
      let count = 0
      const heap = new Heap<number>((a, b) => {
        count++
        return a < b
      })
      for (let i = 0; i < n; i++) heap.push((i * 7919) % n)
      while (heap.pop() !== undefined);
      return count
    }
    assert.ok(comparisons(8 * 1_000) < 8 * 1.5 * comparisons(1_000))
  })
})

describe('DueList', () => {
  interface Model {
    readonly id: string
    readonly tenant: string
    readonly priority: number
    readonly dueAt: number
    readonly order: number
  }
  const op = fc.oneof(
    fc.record({
      do: fc.constant('put' as const),
      id: fc.integer({ min: 0, max: 12 }),
      tenant: fc.constantFrom('a', 'b', 'c'),
      priority: fc.integer({ min: -1, max: 1 }),
      wait: fc.integer({ min: 0, max: 30 }),
      clock: fc.constantFrom('wall', 'elapsed'),
    }),
    fc.record({ do: fc.constant('remove' as const), id: fc.integer({ min: 0, max: 12 }) }),
    fc.record({
      do: fc.constant('take' as const),
      count: fc.integer({ min: 1, max: 6 }),
      pass: fc.integer({ max: 20, min: 0 }),
    }),
  )

  test(`takes what is due, each once, best of its tenant first, tenants in turn (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
        const list = new DueList()
        const model = new Map<string, Model>()
        let now = 0
        for (const [order, step] of ops.entries()) {
          if (step.do === 'put') {
            const id = String(step.id)
            list.put({ id, tenant: step.tenant, priority: step.priority }, { [step.clock]: now + step.wait } as Moment)
            model.set(id, { id, tenant: step.tenant, priority: step.priority, dueAt: now + step.wait, order })
          } else if (step.do === 'remove') {
            list.remove(String(step.id))
            model.delete(String(step.id))
          } else {
            now += step.pass
            const ripe = [...model.values()].filter(({ dueAt }) => dueAt <= now)
            const taken = list.take(step.count, both(now)).map(({ id }) => model.get(id)!)
            assert.equal(taken.length, Math.min(step.count, ripe.length))
            for (const tenant of ['a', 'b', 'c']) {
              const best = ripe
                .filter((one) => one.tenant === tenant)
                .sort((a, b) => b.priority - a.priority || a.order - b.order)
              const own = taken.filter((one) => one.tenant === tenant)
              assert.deepEqual(own, best.slice(0, own.length))
              const waiting = best.length > own.length
              const most = Math.max(...['a', 'b', 'c'].map((other) => taken.filter((t) => t.tenant === other).length))
              assert.ok(!waiting || own.length >= most - 1, 'a tenant that waits is at most one turn behind')
            }
            for (const { id } of taken) model.delete(id)
          }
          assert.equal(list.size, model.size)
          const next = model.size === 0 ? undefined : Math.min(...[...model.values()].map(({ dueAt }) => dueAt))
          assert.equal(list.next(both(now)), next === undefined ? undefined : Math.max(0, next - now))
        }
      }),
      { seed, numRuns: 300 },
    )
  })

  test('a step of the wall clock moves only what waits for it', () => {
    const list = new DueList()
    list.put({ id: 'scheduled', priority: 0 }, { wall: 1_000 })
    list.put({ id: 'again', priority: 0 }, { elapsed: 1_000 })
    assert.equal(list.next({ wall: -5_000, elapsed: 400 }), 600)
    assert.deepEqual(
      list.take(2, { wall: -5_000, elapsed: 1_000 }).map(({ id }) => id),
      ['again'],
    )
    assert.equal(list.next({ wall: -5_000, elapsed: 1_000 }), 6_000)
  })

  test('what failed after it was taken comes back in its old place', () => {
    const list = new DueList()
    for (const id of ['a', 'b', 'c']) list.put({ id, priority: 0 }, { elapsed: 0 })
    const [first] = list.take(1, both(0))
    list.restore(first!)
    assert.deepEqual(
      list.take(3, both(0)).map(({ id }) => id),
      ['a', 'b', 'c'],
    )
  })

  test('with the sequence it was given first, a row comes back to its place, also after a delay', () => {
    const list = new DueList()
    const [a] = ['a', 'b', 'c'].map((id) => list.put({ id, priority: 0 }, { elapsed: 0 }))
    const ids = (now: number) => list.take(3, both(now)).map(({ id }) => id)
    assert.equal(list.remove('a'), a)
    assert.equal(list.remove('a'), undefined)
    assert.equal(list.put({ id: 'a', priority: 0 }, { elapsed: 10 }, a), a)
    assert.deepEqual(ids(10), ['a', 'b', 'c'])
  })

  test('P10: rows put off again and again leave nothing behind', () => {
    const list = new DueList()
    for (let i = 0; i < 50_000; i++) {
      list.put({ id: String(i % 100), priority: 0 }, { elapsed: 1e12 + i })
      if (i % 3 === 0) list.remove(String(i % 100))
    }
    assert.ok(list.size <= 100)
    assert.ok(list.held <= 1_200, `${list.held} places for ${list.size} rows`)
    const { size } = list
    assert.equal(list.take(1_000, both(2e12)).length, size)
  })
})
