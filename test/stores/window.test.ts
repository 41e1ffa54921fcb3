import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { SlidingWindow, WindowSet, Windows } from '../../src/stores/window.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000

describe('SlidingWindow', () => {
  const steps = fc.array(
    fc.record({
      wait: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 3_000 })),
      cost: fc.integer({ min: 0, max: 9 }),
      refund: fc.boolean(),
    }),
    { maxLength: 120 },
  )

  test(`never more than N in any window, and all of N at once when it is empty (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 4_000 }), steps, (limit, per, given) => {
        const window = new SlidingWindow(per)
        const passed: { at: number; cost: number }[] = []
        let now = 1_767_225_600_000
        for (const { wait, cost, refund } of given) {
          now += wait
          const needed = window.wait(cost, limit, now)
          const used = passed.filter(({ at }) => at > now - per).reduce((sum, one) => sum + one.cost, 0)
          const touched = passed.filter(({ at }) => at >= now - per - Math.ceil(per / 60)).length
          if (needed === 0) {
            assert.ok(used + cost <= limit)
            window.add(cost, now)
            if (refund) window.refund(cost, now, now)
            else passed.push({ at: now, cost })
          } else if (cost <= limit) {
            assert.ok(touched > 0, 'refused although nothing counts')
            assert.ok(window.wait(cost, limit, now + needed - 1) > 0, 'it fits before the time it names')
            now += needed
            assert.equal(window.wait(cost, limit, now), 0, 'it does not fit at the time it names')
          } else assert.equal(needed, Number.POSITIVE_INFINITY)
        }
      }),
      { seed, numRuns: 200 },
    )
  })

  test(`kept as JSON and read again, it answers the same (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4_000 }), steps, (per, given) => {
        const window = new SlidingWindow(per)
        let copy = new SlidingWindow(per)
        let now = 1_767_225_600_000
        for (const { wait, cost } of given) {
          now += wait
          window.add(cost, now)
          copy.add(cost, now)
          copy = SlidingWindow.from(JSON.parse(JSON.stringify(copy.state())))
          for (const asked of [1, 5, 20]) assert.equal(copy.wait(asked, 20, now), window.wait(asked, 20, now))
        }
      }),
      { seed, numRuns: 50 },
    )
  })

  test('a clock that steps back frees nothing', () => {
    const window = new SlidingWindow(60_000)
    window.add(10, 86_400_000)
    assert.ok(window.wait(1, 10, 0) > 0)
    window.add(1, 0)
    assert.equal(window.idle(86_400_000 + 59_999), false)
  })

  test('a refund from before the window, or of more than was counted, gives nothing away', () => {
    const window = new SlidingWindow(6_000)
    window.add(5, 100_000)
    window.refund(5, 100_000 - 61 * 100, 100_000)
    window.refund(5, 200_000, 100_000)
    assert.ok(window.wait(1, 5, 100_000) > 0)
    window.refund(50, 100_000, 100_000)
    assert.equal(window.wait(5, 5, 100_000), 0)
    window.add(5, 100_000)
    assert.ok(window.wait(1, 5, 100_000) > 0)
  })
})

describe('WindowSet', () => {
  test('a refund touches only the windows it names', () => {
    const set = new WindowSet()
    const [hour, minute] = [
      { limit: 10, per: 3_600_000 },
      { limit: 10, per: 60_000 },
    ]
    assert.ok(set.take([hour], 5, 1_000).ok)
    assert.ok(set.take([hour, minute], 5, 1_000).ok)
    set.refund([hour], 5, 1_000, 1_000)
    assert.equal(set.take([hour], 5, 1_000).ok, true)
    assert.equal(set.take([minute], 1, 1_000).ok, false)
  })

  test('the refusal names the window that takes longest', () => {
    const set = new WindowSet()
    const windows = [
      { limit: 1, per: 1_000 },
      { limit: 1, per: 60_000 },
    ]
    assert.ok(set.take(windows, 1, 0).ok)
    assert.partialDeepStrictEqual(set.take(windows, 1, 0), { ok: false, window: windows[1] })
  })

  test('its state leaves out what counts nothing any more', () => {
    const set = new WindowSet()
    set.take(
      [
        { limit: 9, per: 1_000 },
        { limit: 9, per: 60_000 },
      ],
      1,
      0,
    )
    assert.deepEqual(
      set.state(5_000).map(({ per }) => per),
      [60_000],
    )
    assert.deepEqual(set.state(100_000), [])
  })
})

describe('Windows', () => {
  test('P10: keys that fell idle are forgotten, busy ones are not', () => {
    const windows = new Windows()
    const window = [{ limit: 1, per: 1_000 }]
    const long = [{ limit: 1, per: 1e9 }]
    windows.take('busy', long, 1, 0)
    for (let i = 0; i < 20_000; i++) windows.take(`k${i}`, window, 1, i * 10)
    assert.ok(windows.size < 3_000, `${windows.size} keys kept`)
    assert.equal(windows.take('busy', long, 1, 200_000).ok, false)
  })
})
