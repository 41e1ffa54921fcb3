import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Ordered } from '../../src/stores/ordered.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000

test(`what was appended and not removed comes in order from any place, also one that is gone (seed ${seed})`, () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { maxLength: 400 }),
      fc.array(fc.nat(400), { maxLength: 400 }),
      fc.nat(401),
      (appends, removals, from) => {
        const ordered = new Ordered<string>()
        const model = new Map<number, string>()
        for (const [i, append] of appends.entries()) {
          if (append) model.set(ordered.append(`item ${i}`), `item ${i}`)
          const gone = removals[i] ?? -1
          ordered.remove(gone)
          model.delete(gone)
        }
        const live = [...model].sort(([a], [b]) => a - b)
        assert.deepEqual([...ordered.after()], live)
        assert.deepEqual([...ordered.before()], live.toReversed())
        assert.deepEqual(
          [...ordered.after(from)],
          live.filter(([place]) => place > from),
        )
        assert.deepEqual([...ordered.before(from)], live.filter(([place]) => place < from).toReversed())
      },
    ),
    { seed, numRuns: 300 },
  )
})
