import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeClock } from '../../src/testing/fake-clock.ts'

test('time stands still until it is moved', async () => {
  const clock = fakeClock(1_000)
  assert.equal(clock.now(), 1_000)
  assert.equal(clock.monotonic(), 0)
  await clock.advance(2.5)
  assert.equal(clock.now(), 1_002.5)
  assert.equal(clock.monotonic(), 2.5)
})

test('timers run in order of time, equals in the order they were set, each at its own moment', async () => {
  const clock = fakeClock()
  const ran: [string, number][] = []
  for (const [name, ms] of [
    ['c', 30],
    ['a', 10],
    ['a2', 10],
    ['b', 20],
    ['past', -5],
    ['late', 101],
  ] as const) {
    clock.setTimeout(() => ran.push([name, clock.monotonic()]), ms)
  }
  await clock.advance(100)
  assert.deepEqual(ran, [
    ['past', 0],
    ['a', 10],
    ['a2', 10],
    ['b', 20],
    ['c', 30],
  ])
  assert.equal(clock.monotonic(), 100)
  assert.equal(clock.pending, 1)
})

test('timers set on the way, also after a promise, still run in the same advance', async () => {
  const clock = fakeClock()
  const ran: number[] = []
  const again = async () => {
    ran.push(clock.monotonic())
    await null
    if (ran.length < 5) clock.setTimeout(again, 10)
  }
  clock.setTimeout(again, 10)
  await clock.advance(45)
  assert.deepEqual(ran, [10, 20, 30, 40])
})

test('a cancelled timer does not run', async () => {
  const clock = fakeClock()
  const timer = clock.setTimeout(() => assert.fail('ran'), 10)
  timer.unref()
  timer.cancel()
  assert.equal(clock.pending, 0)
  await clock.advance(20)
})

test('a step moves the wall clock and nothing else', async () => {
  const clock = fakeClock(1_000)
  let ran = 0
  clock.setTimeout(() => ran++, 10)
  clock.step(-500)
  await clock.advance(0)
  assert.equal(clock.now(), 500)
  assert.equal(clock.monotonic(), 0)
  assert.equal(ran, 0)
  clock.step(86_400_000)
  await clock.advance(10)
  assert.equal(clock.now(), 86_400_510)
  assert.equal(ran, 1)
})

test('time does not go back', async () => {
  await assert.rejects(fakeClock().advance(-1), RangeError)
  await assert.rejects(fakeClock().advance(Number.NaN), RangeError)
})
