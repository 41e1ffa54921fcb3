import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadline } from '../src/deadline.ts'
import { fakeClock } from '../src/testing/fake-clock.ts'

test('the first cause wins, and tells which error it is', () => {
  for (const [cause, code] of [
    ['signal', 'CANCELLED'],
    ['close', 'CANCELLED'],
    ['timeout', 'SEND_FAILED'],
  ] as const) {
    const deadline = new Deadline(fakeClock(), 1_000)
    deadline.check()
    deadline.abort(cause)
    deadline.abort('signal')
    assert.equal(deadline.cause, cause)
    assert.throws(() => deadline.check(), { code })
    assert.equal((deadline.signal.reason as { code: string }).code, code)
  }
})

test('S6: time is monotonic: a step of the wall clock neither ends nor prolongs it', async () => {
  const clock = fakeClock()
  const deadline = new Deadline(clock, 1_000)
  clock.step(86_400_000)
  assert.equal(deadline.remaining, 1_000)
  clock.step(-172_800_000)
  await clock.advance(999)
  assert.equal(deadline.cause, undefined)
  assert.equal(deadline.remaining, 1)
  await clock.advance(1)
  assert.equal(deadline.cause, 'timeout')
  assert.equal(deadline.remaining, 0)
})

test('wait ends after its time, early, or at once when the call is given up; nothing is left behind', async () => {
  const clock = fakeClock()
  const controller = new AbortController()
  const deadline = new Deadline(clock, 10_000, controller.signal)
  const whole = deadline.wait(500)
  await clock.advance(500)
  assert.equal(await whole, true)
  const early = Promise.withResolvers<void>()
  const short = deadline.wait(5_000, early.promise)
  early.reject(new Error('even so'))
  assert.equal(await short, true)
  const given = deadline.wait(5_000)
  controller.abort()
  assert.equal(await given, false)
  assert.equal(await deadline.wait(5_000), false)
  assert.equal(clock.pending, 0)
})

test('within answers what the work answers, unless the call is given up first', async () => {
  const clock = fakeClock()
  const deadline = new Deadline(clock, 1_000)
  assert.equal(await deadline.within(Promise.resolve(7)), 7)
  await assert.rejects(deadline.within(Promise.reject(new TypeError('own'))), TypeError)
  const late = Promise.withResolvers<never>()
  const waiting = assert.rejects(deadline.within(late.promise), { code: 'SEND_FAILED' })
  await clock.advance(1_000)
  await waiting
  late.reject(new Error('nobody listens any more'))
  await assert.rejects(deadline.within(Promise.resolve(7)), { code: 'SEND_FAILED' })
})

test('a signal that has aborted before ends the call before it begins, without a timer', () => {
  const clock = fakeClock()
  const deadline = new Deadline(clock, 1_000, AbortSignal.abort())
  assert.equal(deadline.cause, 'signal')
  assert.equal(clock.pending, 0)
})

test('end frees the timer and tells once it is over; giving up is not the end', async () => {
  const clock = fakeClock()
  let ended = 0
  const deadline = new Deadline(clock, 1_000, undefined, () => {
    ended++
  })
  deadline.abort('close')
  assert.deepEqual([ended, clock.pending], [0, 0])
  deadline.end()
  assert.equal(ended, 1)
})
