import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Clock, systemClock } from '../../src/clock.ts'
import { noAccidents } from '../support/accidents.ts'
import { type Engine, engineNames, findEngine } from './ground.ts'
import { subjectsAt, takenTimes } from './post.ts'
import { ending, patiently, type Stage, stageOn, until } from './stage.ts'

noAccidents()

const day = 86_400_000
const mail = (subject: string) => ({ to: 'ada@example.com', subject, text: 'Hello' })

/** Wall time that somebody sets; what is measured goes on. A server's clock is its own, a file has that of its mailer. */
function steppingClock(): Clock & { step(ms: number): void } {
  let stepped = 0
  return {
    ...systemClock,
    now: () => Date.now() + stepped,
    step(ms) {
      stepped += ms
    },
  }
}

describe('the clock is set by a day under a mailer at work (S6, P1, P2, P7)', { concurrency: true }, () => {
  for (const name of engineNames) {
    describe(name, { concurrency: true }, async () => {
      const engine = await findEngine(name)
      if ('skip' in engine) return test(name, { skip: engine.skip }, () => {})
      after(() => engine.close())
      for (const [to, ms] of [
        ['forth', day],
        ['back', -day],
      ] as const) {
        test(`${to}: leases and keys hold`, (t) => leasesAndKeys(t, engine, ms))
        test(`${to}: limits stay as full as they were, and free in their time`, (t) => limits(t, engine, ms))
        test(`${to}: the queue goes on, retries and waiting tenants included`, (t) => queue(t, engine, ms))
      }
    })
  }
})

interface Test {
  after(end: () => Promise<void>): void
}

const timeout = 6_000

async function leasesAndKeys(t: Test, engine: Engine, ms: number): Promise<void> {
  const ground = engine.newGround()
  const clock = steppingClock()
  const gate = Promise.withResolvers<void>()
  const stage = await stageOn(ground, { clock, timeout, queue: { work: true } })
  const other = await stageOn(ground, { clock, timeout, queue: { work: true } })
  t.after(stage.close)
  t.after(other.close)
  await stage.mailer.messages.list()
  // Its attempt is on record and its hand-over about to begin when the clock is set.
  stage.surround(async (verb, run) => {
    const answer = await run()
    if (verb === 'renew') await gate.promise
    return answer
  })
  const key = { idempotencyKey: 'held' }
  const held = ending(stage.mailer.send(mail('held'), key))
  await until(() => stage.verbs.includes('renew'))
  const repeat = ending(other.mailer.send(mail('held'), key))
  clock.step(ms)
  // Looks for lost work, as often as it may.
  for (let i = 0; i < 3; i++) {
    await patiently(() => other.mailer.messages.list())
    await sleep(1_000 / 3)
  }
  gate.resolve()
  assert.equal((await held).code, 'sent')
  const replayed = (await repeat).receipt
  assert.deepEqual([replayed?.status, replayed?.replayed], ['sent', true])
  clock.step(-2 * ms)
  assert.equal((await other.mailer.send(mail('held'), { ...key, timeout })).replayed, true)
  assert.deepEqual([...subjectsAt(stage.post), ...subjectsAt(other.post)], ['held'])
}

async function limits(t: Test, engine: Engine, ms: number): Promise<void> {
  const clock = steppingClock()
  const quota = { limit: 3, per: 3_000 }
  const stage = await stageOn(engine.newGround(), { clock, timeout, limits: { quota } })
  t.after(stage.close)
  const { mailer } = stage
  await mailer.messages.list()
  for (const number of [1, 2, 3]) await mailer.send(mail(`${number}`))
  clock.step(ms)
  const { code, error } = await ending(mailer.send(mail('too many')))
  // On a slow machine it may have freed meanwhile.
  if (code !== 'sent') {
    assert.equal(code, 'SEND_LIMIT_EXCEEDED')
    assert.ok(error!.retryAfter! > 0 && error!.retryAfter! <= quota.per + quota.per / 60, `${error!.retryAfter}`)
    await sleep(error!.retryAfter!)
    clock.step(-ms)
    assert.equal((await mailer.send(mail('4'))).status, 'sent')
  }
}

async function queue(t: Test, engine: Engine, ms: number): Promise<void> {
  const clock = steppingClock()
  const few = { limit: 2, per: 1_500 }
  const stage: Stage = await stageOn(engine.newGround(), {
    clock,
    timeout,
    queue: { work: true },
    limits: { providers: { post: few } },
  })
  t.after(stage.close)
  const { mailer, post } = stage
  await mailer.messages.list()
  // At its worst moment: between what was reckoned and what is made of it.
  let settles = 0
  stage.surround(async (verb, run) => {
    if (verb === 'settle') clock.step(settles++ % 2 ? -ms : ms)
    return run()
  })
  post.fail({ at: 'sender', kind: '4xx', times: 4 })
  const subjects = Array.from({ length: 7 }, (_, i) => `${i}`)
  for (const subject of subjects) await mailer.enqueue(mail(subject))
  await until(() => subjects.every((subject) => takenTimes(post, subject) === 1))
  await stage.rest()
  assert.deepEqual(subjectsAt(post).toSorted(), subjects)
}
