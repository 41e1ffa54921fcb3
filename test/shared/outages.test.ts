import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Mailer } from '../../src/index.ts'
import { Chance, seedOf } from '../crash/chance.ts'
import { noAccidents } from '../support/accidents.ts'
import { type Engine, engineNames, findEngine } from './ground.ts'
import { faulty, type Outage } from './outage.ts'
import { subjectsAt } from './post.ts'
import { type Ending, ending, patiently, type Stage, stageOn, until } from './stage.ts'

noAccidents()

const seed = seedOf()
console.log(`SEED=${seed}`)

const mail = (subject: string) => ({ to: 'ada@example.com', subject, text: 'Hello' })
/** Long enough for a slow machine. */
const patient = { queue: { work: true, concurrency: 5 }, timeout: 4_000 }

/** What an engine's users see of its failing, and can be done to one of several stages at a time. */
const outagesOf = ({ name }: Engine, outages: readonly Outage[]) => (name === 'sqlite' ? outages.slice(0, 2) : outages)

describe('a store that is away for a while', { concurrency: true }, () => {
  for (const name of engineNames) {
    describe(name, { concurrency: true }, async () => {
      const engine = await findEngine(name)
      if ('skip' in engine) return test(name, { skip: engine.skip }, () => {})
      after(() => engine.close())
      const place = await faulty(engine.newGround())
      await place.close()
      for (const [i, outage] of outagesOf(engine, place.outages).entries()) {
        // A file that is not there is made.
        if (outage.name !== 'is gone') {
          test(`it ${outage.name} from the start: the mailer that was made meanwhile works once it is there`, (t) =>
            fromTheStart(t, engine, i))
        }
        test(`P10: it ${outage.name}: worker and recovery ask for it seldom, warn as often, and go on afterwards`, (t) =>
          loops(t, engine, i))
        test(`P9: it ${outage.name}: close ends all the same, and what it leaves is there for the next`, (t) =>
          closing(t, engine, i))
      }
      test(`S3, P1, P2: it comes and goes under load, SEED=${seed}`, (t) => flapping(t, engine))
    })
  }
})

interface Test {
  after(end: () => Promise<void>): void
  diagnostic(text: string): void
}

async function fromTheStart(t: Test, engine: Engine, outage: number): Promise<void> {
  const ground = engine.newGround()
  const before = await stageOn(ground)
  t.after(before.close)
  await before.mailer.messages.list()
  const stage = await stageOn(ground, patient)
  t.after(stage.close)
  const { begin, end } = stage.place.outages[outage]!
  await begin(stage.store)
  const refused = await Promise.all([
    ending(stage.mailer.send(mail('refused'))),
    ending(stage.mailer.enqueue(mail('refused too'))),
  ])
  end()
  assert.deepEqual(
    refused.map(({ code }) => code),
    ['STORE_UNAVAILABLE', 'STORE_UNAVAILABLE'],
  )
  await stage.well()
  assert.equal((await stage.mailer.send(mail('later'))).status, 'sent')
  await stage.mailer.enqueue(mail('later too'))
  await stage.rest()
  assert.deepEqual(subjectsAt(stage.post), ['later', 'later too'])
}

/** Milliseconds. */
const away = 4_500

async function loops(t: Test, engine: Engine, outage: number): Promise<void> {
  const stage = await stageOn(engine.newGround(), patient)
  t.after(stage.close)
  await stage.mailer.messages.list()
  await stage.mailer.enqueue(mail('before'))
  await stage.rest()
  await stage.mailer.enqueue(mail('during'), { sendAt: Date.now() + 500 })
  const { begin, end } = stage.place.outages[outage]!
  await begin(stage.store)
  const [verbs, warnings] = [stage.verbs.length, stage.warnings.length]
  const began = performance.now()
  await sleep(away)
  const seconds = (performance.now() - began) / 1_000
  const asked = stage.verbs.slice(verbs)
  const warned = stage.warnings.length - warnings
  end()
  t.diagnostic(`${asked.length} verbs and ${warned} warnings in ${seconds.toFixed(1)} s: ${asked.join(' ')}`)
  assert.ok(asked.length <= 2 * seconds + 4, `${asked.length} verbs in ${seconds} s`)
  assert.ok(warned <= asked.length + 1)
  assert.ok(warned > 0, 'nobody was told')
  await stage.well()
  await stage.mailer.enqueue(mail('after'))
  await stage.rest()
  assert.deepEqual(subjectsAt(stage.post).toSorted(), ['after', 'before', 'during'])
}

async function closing(t: Test, engine: Engine, outage: number): Promise<void> {
  const ground = engine.newGround()
  const stage = await stageOn(ground, patient)
  t.after(stage.close)
  const { mailer, post, place } = stage
  await mailer.messages.list()
  await mailer.send(mail('before'))
  await mailer.enqueue(mail('much later'), { sendAt: Date.now() + 3_600_000 })
  // One hand-over the server took and does not answer, and one of the queue's.
  post.fail({ at: 'afterBody', kind: 'stall', times: 2 })
  const hanging = ending(mailer.send(mail('hanging')))
  const { id } = await mailer.enqueue(mail('hanging too'))
  await until(() => post.bodies === 3)
  const { begin, end } = place.outages[outage]!
  await begin(stage.store)
  const refused = ending(mailer.send(mail('refused')))
  const began = performance.now()
  const manifest = await mailer.close({ deadline: 500 })
  t.diagnostic(`closed in ${Math.round(performance.now() - began)} ms`)
  assert.ok(performance.now() - began < 15_000)
  assert.equal((await hanging).code, 'OUTCOME_UNKNOWN')
  assert.match((await refused).code, /^(STORE_UNAVAILABLE|CANCELLED|CLOSED)$/)
  assert.deepEqual(manifest.unknown.toSorted(), [id, (await hanging).error!.id!].toSorted())
  end()
  await stage.close()

  const next = await stageOn(ground, patient)
  t.after(next.close)
  const all = async () => (await patiently(() => next.mailer.messages.list())).items
  await until(async () => (await all()).every(({ status }) => status !== 'dispatching'))
  assert.deepEqual(Object.fromEntries((await all()).map(({ subject, status }) => [subject, status])), {
    before: 'sent',
    hanging: 'unknown',
    'hanging too': 'unknown',
    'much later': 'scheduled',
  })
  assert.deepEqual(subjectsAt(next.post), [])
}

async function flapping(t: Test, engine: Engine): Promise<void> {
  const chance = new Chance(seed, engine.name)
  const stage = await stageOn(engine.newGround(), patient)
  t.after(stage.close)
  await stage.mailer.messages.list()
  const endings = new Map<string, Ending>()
  let over = false
  const storm = async () => {
    while (!over) {
      await sleep(chance.between(20, 400))
      if (stage.place.cut && chance.is(0.5)) stage.place.cut()
      else {
        const { begin, end } = chance.pick(outagesOf(engine, stage.place.outages))
        await begin(stage.store)
        await sleep(chance.between(5, 300))
        end()
      }
    }
  }
  const lane = async (lane: number) => {
    for (let number = 0; !over; number++) {
      const subject = `message ${lane}-${number}`
      endings.set(subject, await ending(submit(stage.mailer, chance, subject)))
    }
  }
  const all = Promise.all([storm(), ...Array.from({ length: 8 }, (_, i) => lane(i))])
  await sleep(5_000)
  over = true
  await all
  await stage.well()
  await stage.rest()
  await sleep(1_500)
  await stage.rest()
  judge(t, endings, stage)
}

function submit(mailer: Mailer, chance: Chance, subject: string) {
  const options = chance.is(0.5) ? { idempotencyKey: subject.replaceAll(' ', '-') } : {}
  return chance.is(0.5) ? mailer.send(mail(subject), options) : mailer.enqueue(mail(subject), options)
}

function judge(t: Test, endings: ReadonlyMap<string, Ending>, { post }: Stage): void {
  const taken = new Map<string, number>()
  for (const subject of subjectsAt(post)) taken.set(subject, (taken.get(subject) ?? 0) + 1)
  const codes = new Map<string, number>()
  const wrong: string[] = []
  for (const [subject, { code, error }] of endings) {
    codes.set(code, (codes.get(code) ?? 0) + 1)
    const times = taken.get(subject) ?? 0
    const promised = code === 'sent' || code === 'queued'
    // Where nobody could tell whether the store has it, the error names it.
    const most = promised || code === 'OUTCOME_UNKNOWN' || (code === 'STORE_UNAVAILABLE' && error?.id) ? 1 : 0
    if (times > most || (promised && times === 0)) wrong.push(`${subject}: ${code}, taken ${times} times`)
  }
  t.diagnostic(`${[...codes].map(([code, count]) => `${count} ${code}`).join(', ')}; ${post.raw.length} taken`)
  assert.deepEqual(wrong, [])
}
