import assert from 'node:assert/strict'
import type { Window } from '../../stores/store.ts'
import { day, type Suite, second } from './case.ts'
import { randomFrom } from './samples.ts'

export const limits = (seed: number): Suite => ({
  'P4: of many takes at once exactly the limit passes': async ({ store }) => {
    const windows = [{ limit: 100, per: 60 * second }]
    const takes = await Promise.all(Array.from({ length: 1_000 }, () => store.limits.take('k', windows, 1)))
    assert.equal(takes.filter(({ ok }) => ok).length, 100)
  },

  [`never more than the limit in any sliding window, whatever the bursts and refunds (seed ${seed})`]: async ({
    store,
    now,
    advance,
  }) => {
    const random = randomFrom(seed)
    for (let round = 0; round < 12; round++) {
      const windows: Window[] = [
        { limit: 1 + random(40), per: 1 + random(5_000) },
        { limit: 1 + random(90), per: 5_001 + random(60_000) },
      ]
      const passed: { at: number; cost: number }[] = []
      for (let step = 0; step < 80; step++) {
        const cost = random(8)
        const take = await store.limits.take(`round ${round}`, windows, cost)
        if (take.ok) passed.push({ at: now(), cost })
        if (take.ok && cost > 0 && random(4) === 0) {
          await advance(random(windows[0]!.per))
          await store.limits.refund(`round ${round}`, windows, cost, take.at)
          passed.pop()
        }
        await advance(random(3) === 0 ? random(windows[0]!.per * 2) : random(20))
      }
      for (const { limit, per } of windows) {
        for (const { at } of passed) {
          const inWindow = passed.filter((one) => one.at > at - per && one.at <= at)
          const total = inWindow.reduce((sum, { cost }) => sum + cost, 0)
          assert.ok(total <= limit, `${total} of ${limit} in ${per} ms, round ${round}, seed ${seed}`)
        }
      }
    }
  },

  [`retryAfter is when it fits, and not before (seed ${seed})`]: async ({ store, advance }) => {
    const random = randomFrom(seed)
    for (let round = 0; round < 20; round++) {
      const windows = [{ limit: 1 + random(20), per: 1 + random(100_000) }]
      await advance(random(10_000))
      assert.ok((await store.limits.take(`${round}`, windows, windows[0]!.limit)).ok)
      const refused = await store.limits.take(`${round}`, windows, 1)
      assert.ok(!refused.ok && refused.retryAfter >= windows[0]!.per)
      assert.deepEqual(refused.window, windows[0])
      await advance(refused.retryAfter - 1)
      assert.equal((await store.limits.take(`${round}`, windows, 1)).ok, false)
      await advance(1)
      assert.equal((await store.limits.take(`${round}`, windows, 1)).ok, true)
    }
  },

  'several windows give all or nothing': async ({ store, advance }) => {
    const windows = [
      { limit: 1, per: second },
      { limit: 3, per: day },
    ]
    for (let i = 0; i < 3; i++) {
      assert.equal((await store.limits.take('k', windows, 1)).ok, true)
      for (let refusal = 0; refusal < 5; refusal++) {
        assert.equal((await store.limits.take('k', windows, 1)).ok, false)
      }
      await advance(2 * second)
    }
    const refused = await store.limits.take('k', windows, 1)
    assert.ok(!refused.ok && refused.window.per === day, 'the refusals above took nothing from the day')
  },

  'what never fits says so; a limit of 0 lets nothing through': async ({ store }) => {
    const refused = await store.limits.take('k', [{ limit: 5, per: second }], 6)
    assert.ok(!refused.ok && refused.retryAfter === Number.POSITIVE_INFINITY)
    assert.equal((await store.limits.take('k', [{ limit: 5, per: second }], 5)).ok, true)
    assert.equal((await store.limits.take('none', [{ limit: 0, per: second }], 1)).ok, false)
  },

  'a refund can be used again, once, and only in the windows that counted it': async ({ store }) => {
    const windows = [{ limit: 10, per: day }]
    const take = await store.limits.take('k', windows, 10)
    assert.ok(take.ok)
    await store.limits.refund('k', windows, 4, take.at)
    assert.equal((await store.limits.take('k', windows, 5)).ok, false)
    assert.equal((await store.limits.take('k', windows, 4)).ok, true)
    assert.equal((await store.limits.take('k', windows, 1)).ok, false)
    await store.limits.refund('other', windows, 4, take.at)
    assert.equal((await store.limits.take('k', windows, 1)).ok, false)

    const all = await store.limits.take('all', windows, 10)
    assert.ok(all.ok)
    await store.limits.refund('all', windows, 10, all.at)
    assert.equal((await store.limits.take('all', windows, 10)).ok, true)
  },

  'P4: what is moved counts at its new moment, in every window': async ({ store, advance }) => {
    const windows = [
      { limit: 10, per: second },
      { limit: 100, per: 6 * second },
    ]
    const take = await store.limits.take('k', windows, 10)
    assert.ok(take.ok)
    await advance(0.9 * second)
    await store.limits.move('k', windows, [{ cost: 6, from: take.at, to: take.at + 0.8 * second }])
    assert.deepEqual(await store.limits.usage('k', windows), [10, 10])
    // What was left where it was counts no more.
    await advance(0.3 * second)
    assert.deepEqual(await store.limits.usage('k', windows), [6, 10])
    assert.equal((await store.limits.take('k', windows, 5)).ok, false)
    await advance(0.7 * second)
    assert.deepEqual(await store.limits.usage('k', windows), [0, 10])
    await store.limits.move('k', windows, [{ cost: 6, from: take.at + 0.8 * second, to: take.at + 1.8 * second }])
    assert.deepEqual(await store.limits.usage('k', windows), [6, 10])
  },

  'P4: what is moved to a moment still to come counts now; what counts nowhere any more counts again': async ({
    store,
    advance,
  }) => {
    const windows = [{ limit: 10, per: second }]
    const take = await store.limits.take('k', windows, 4)
    assert.ok(take.ok)
    await advance(day)
    await store.limits.move('k', windows, [{ cost: 4, from: take.at, to: take.at + 2 * day }])
    assert.deepEqual(await store.limits.usage('k', windows), [4])
    await advance(1.1 * second)
    assert.deepEqual(await store.limits.usage('k', windows), [0])
    const many = Array.from({ length: 1_000 }, () => ({ cost: 2, from: take.at, to: take.at + 2 * day }))
    await store.limits.move('other', windows, many)
    assert.deepEqual(await store.limits.usage('other', windows), [2_000])
    const refused = await store.limits.take('other', windows, 1)
    assert.ok(!refused.ok && refused.retryAfter >= second)
  },

  'a changed limit counts what passed under the old one': async ({ store }) => {
    assert.equal((await store.limits.take('k', [{ limit: 5, per: day }], 5)).ok, true)
    assert.equal((await store.limits.take('k', [{ limit: 7, per: day }], 3)).ok, false)
    assert.equal((await store.limits.take('k', [{ limit: 7, per: day }], 2)).ok, true)
    assert.equal((await store.limits.take('k', [{ limit: 5, per: day }], 1)).ok, false)
  },

  'what is used is told with every take, and on its own': async ({ store, advance }) => {
    const windows = [
      { limit: 10, per: second },
      { limit: 10, per: day },
    ]
    assert.deepEqual(await store.limits.usage('k', windows), [0, 0])
    assert.partialDeepStrictEqual(await store.limits.take('k', windows, 4), { ok: true, used: [4, 4] })
    await advance(2 * second)
    const take = await store.limits.take('k', windows, 3)
    assert.partialDeepStrictEqual(take, { ok: true, used: [3, 7] })
    assert.equal((await store.limits.take('k', windows, 9)).ok, false)
    assert.deepEqual(await store.limits.usage('k', windows), [3, 7])
    if (take.ok) await store.limits.refund('k', windows, 1, take.at)
    assert.deepEqual(await store.limits.usage('k', windows.toReversed()), [6, 2])
  },

  'keys have their own windows': async ({ store }) => {
    const windows = [{ limit: 1, per: day }]
    for (const key of ['a', 'b', 'a:b', '']) assert.equal((await store.limits.take(key, windows, 1)).ok, true)
  },
})

export const small: Suite = {
  'P12: once is true the first time within its time': async ({ store, advance }) => {
    const seen = await Promise.all(Array.from({ length: 100 }, () => store.once('event', 10 * second)))
    assert.equal(seen.filter(Boolean).length, 1)
    assert.equal(await store.once('other', 5 * second), true)
    await advance(10 * second - 1)
    assert.equal(await store.once('event', 10 * second), false)
    await advance(1)
    assert.equal(await store.once('event', 10 * second), true)
    assert.equal(await store.once('event', 10 * second), false)
  },

  'counters add up, and read 0 where nothing was counted': async ({ store }) => {
    await Promise.all(Array.from({ length: 100 }, () => store.counters.add('a', 2)))
    await store.counters.add('b', 1)
    assert.deepEqual(await store.counters.read(['b', 'none', 'a']), [1, 0, 200])
    assert.deepEqual(await store.counters.read([]), [])
  },
}
