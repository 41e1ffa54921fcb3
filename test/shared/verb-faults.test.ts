import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { noAccidents } from '../support/accidents.ts'
import {
  type Flow,
  flows,
  mail,
  mailboxes,
  type Outcome,
  outcomeOf,
  type Step,
  type Strike,
  smoothing,
  stageFor,
  stepsOf,
  struck,
} from './flows.ts'
import { type Engine, engineNames, findEngine, sqliteEngine } from './ground.ts'
import { faulty, type Outage, type Place } from './outage.ts'
import { takenTimes } from './post.ts'
import { type Ending, ending, type Stage, until } from './stage.ts'

noAccidents()

/** The verb meets an outage that is over when it has failed. */
const during = ({ name }: Outage, i: number): Strike => ({
  name,
  async around({ place, store }, run) {
    const { begin, end } = place.outages[i]!
    await begin(store)
    try {
      return await run()
    } finally {
      end()
    }
  },
})

const losing: Strike = {
  name: 'loses the answer',
  loses: true,
  around({ place }, run) {
    place.cut!()
    return run()
  },
}

/** The verb does its work, and nobody can ask whether it did. */
const leaving: Strike = {
  name: 'loses the answer and stays away',
  loses: true,
  async around(stage, run) {
    try {
      return await losing.around(stage, run)
    } finally {
      await stage.place.outages[0]!.begin(stage.store)
    }
  },
  end: ({ outages }) => outages[0]!.end(),
}

/** Over sockets a refusal says what silence says, only sooner; and what befalls a file befalls it between the verbs. */
const strikesOf = ({ outages, cut }: Place): Strike[] =>
  cut ? [...named(outages, 'is silent'), losing, leaving] : named(outages, 'is locked')

const named = (outages: readonly Outage[], wanted: string): Strike[] =>
  outages.map(during).filter(({ name }) => name === wanted)

/** S3, P2: refused and never heard of again, or done once and said so. */
function judge({ end, taken, records, used, warnings }: Outcome, flow: Flow, step: Step, strike: Strike): void {
  assert.ok(taken <= 1, 'mailed twice')
  if (end.code === 'STORE_UNAVAILABLE' && mayBeHeld(end, flow)) {
    assert.equal(records.length, taken)
  } else if (end.code === 'STORE_UNAVAILABLE') {
    assert.deepEqual([taken, records], [0, []], 'what was refused took effect')
    assert.ok(step !== smoothing || strike.end, 'smoothing fails open')
  } else if (end.code === 'SEND_FAILED') {
    // On a slow machine the time of a call may end with the verb.
    assert.equal(taken, 0)
  } else {
    assert.equal(end.code, flow.queued ? 'queued' : 'sent', end.error?.message)
    assert.deepEqual([taken, records], [1, ['sent']])
  }
  if (step === smoothing) assert.ok(warnings > 0, 'smoothing that fails says so')
  assert.ok(used >= mailboxes * taken, 'more was mailed than was counted')
  // A take whose answer was lost counts, and while the store is away nothing can be given back. The worker's look may
  // strike down whatever is under way beside it.
  if (!strike.loses && step !== 'due 1') assert.equal(used, mailboxes * taken)
}

/** Nobody could tell whether the store has it: the error names it, and whoever repeats the call with its key learns. */
const mayBeHeld = ({ error }: Ending, { keyed, queued }: Flow) => keyed && queued && error?.id !== undefined

async function check(engine: Engine, flow: Flow, step: Step, strike: Strike): Promise<string> {
  const stage: Stage = await stageFor(engine.newGround(), flow)
  try {
    const outcome = await outcomeOf(stage, await struck(stage, flow, step, strike))
    judge(outcome, flow, step, strike)
    if (flow.keyed) {
      // Longer than the lease of a claim that nobody heard of.
      const again = await ending(flow.call(stage.mailer, { timeout: 20_000 }))
      await until(() => takenTimes(stage.post, mail.subject) > 0)
      await stage.rest()
      assert.equal(again.code === 'sent' || again.code === 'queued', true, `the key is not free: ${again.code}`)
      assert.equal(takenTimes(stage.post, mail.subject), 1, 'one key, one mail (P7)')
    }
    return outcome.end.code
  } finally {
    await stage.close()
  }
}

describe('a store that fails in the middle (S3, P2, P7)', () => {
  for (const name of engineNames) {
    describe(name, { concurrency: 8 }, async () => {
      const engine = await findEngine(name)
      if ('skip' in engine) return test(name, { skip: engine.skip }, () => {})
      after(() => engine.close())
      const place = await faulty(engine.newGround())
      await place.close()
      for (const flow of flows) {
        const steps = await stepsOf(engine.newGround(), flow)
        for (const strike of strikesOf(place)) {
          for (const step of steps) {
            test(`${flow.name}: it ${strike.name} at ${step}`, async (t) => {
              t.diagnostic(await check(engine, flow, step, strike))
            })
          }
        }
      }
    })
  }
})

// For all who run meanwhile it is full as well.
describe('a disk that is full in the middle (S3, P2, P7)', async () => {
  const engine = sqliteEngine()
  after(() => engine.close())
  const { outages } = await faulty(engine.newGround())
  for (const flow of flows) {
    const steps = await stepsOf(engine.newGround(), flow)
    for (const strike of named(outages, 'has no room')) {
      for (const step of steps) {
        test(`${flow.name}: at ${step}`, async (t) => {
          t.diagnostic(await check(engine, flow, step, strike))
        })
      }
    }
  }
})
