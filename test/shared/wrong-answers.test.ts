import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { noAccidents } from '../support/accidents.ts'
import { flows, type Outcome, outcomeOf, type Strike, stageFor, stepsOf, struck } from './flows.ts'
import { sqliteEngine } from './ground.ts'

noAccidents()

const answers: Readonly<Record<string, unknown>> = { nothing: undefined, false: false, '{}': {} }

/** Whether a step may be told so without anything being wrong: it is what the port says when a row is no longer ours. */
const isLegal = (step: string, answer: string) =>
  (answer === 'nothing' && /^(renew|takeover|read) /.test(step)) || (answer === 'false' && step.startsWith('settle '))

const strikes = Object.entries(answers).flatMap(([name, answer]): (Strike & { readonly answer: string })[] => [
  { name: `answers ${name} and does nothing`, answer: name, around: () => answer },
  { name: `does it and answers ${name}`, answer: name, around: (_, run) => run().then(() => answer) },
])

/** Nothing is taken for granted: whoever was told that it failed is not mailed, and whoever was not is mailed once. */
function judge({ end, taken, records }: Outcome, legal: boolean): void {
  assert.ok(taken <= 1, 'mailed twice')
  if (end.receipt) assert.ok(taken === 1 || (legal && records.length === 1), `promised, and not mailed: ${records}`)
  else {
    // On a slow machine the time of a call may end before.
    assert.ok(['STORE_UNAVAILABLE', 'SEND_FAILED'].includes(end.code) || legal, `${end.code}: ${end.error?.message}`)
    assert.equal(taken, 0, 'refused and mailed')
    assert.ok(!records.includes('sent'))
  }
}

// The engine below makes no difference to what is answered in its place.
describe('S1, S3: a verb that gives no usable answer has failed', { concurrency: 3 }, async () => {
  const engine = sqliteEngine()
  after(() => engine.close())
  for (const flow of flows) {
    for (const step of await stepsOf(engine.newGround(), flow)) {
      test(`${flow.name}: ${step}`, async (t) => {
        await Promise.all(
          strikes.map(async (strike) => {
            const stage = await stageFor(engine.newGround(), flow)
            try {
              const legal = isLegal(step, strike.answer)
              const outcome = await outcomeOf(stage, await struck(stage, flow, step, strike), !legal)
              t.diagnostic(`${strike.name}: ${outcome.end.code} ${outcome.taken} ${outcome.records}`)
              judge(outcome, legal)
            } catch (error) {
              throw new Error(`it ${strike.name}`, { cause: error })
            } finally {
              await stage.close()
            }
          }),
        )
      })
    }
  }
})
