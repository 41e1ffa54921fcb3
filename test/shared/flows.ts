import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Mailer, MessageStatus, Receipt, SendOptions } from '../../src/index.ts'
import type { Ground } from './ground.ts'
import type { Place } from './outage.ts'
import { takenTimes } from './post.ts'
import { type Ending, ending, patiently, type Stage, stageOn, until } from './stage.ts'

/** The one message of a flow. */
export const mail = { to: ['ada@example.com', 'bob@example.com'], subject: 'the one', text: 'Hello' }
export const mailboxes = 2

/** One message's way, from the call to its end. */
export interface Flow {
  readonly name: string
  readonly keyed: boolean
  readonly queued: boolean
  /** Where it differs from the others. Default: every step. */
  readonly own?: readonly string[]
  call(mailer: Mailer, options?: SendOptions): Promise<Receipt>
}

const key = { idempotencyKey: 'the-one' }

export const flows: readonly Flow[] = [
  {
    name: 'send',
    keyed: false,
    queued: false,
    own: ['suppress.hasMany 1', 'claim 1'],
    call: (mailer, given) => mailer.send(mail, given),
  },
  {
    name: 'send with a key',
    keyed: true,
    queued: false,
    call: (mailer, given) => mailer.send(mail, { ...given, ...key }),
  },
  { name: 'enqueue', keyed: false, queued: true, call: (mailer, given) => mailer.enqueue(mail, given) },
  {
    name: 'enqueue with a key',
    keyed: true,
    queued: true,
    own: ['claim 1', 'limits.take 1', 'settle 1'],
    call: (mailer, given) => mailer.enqueue(mail, { ...given, ...key }),
  },
]

/** The n-th call of a verb in a flow, as `limits.take 2`. */
export type Step = string

/** The second take is of the provider's budget; the quota was the first. */
export const smoothing: Step = 'limits.take 2'

/** A stage that has looked for lost work and begun to wait for some. */
export async function stageFor(ground: Ground, { queued }: Flow): Promise<Stage> {
  const stage = await stageOn(ground, { queue: { work: queued } })
  await stage.mailer.messages.list()
  return stage
}

/** The steps of the flow on a store that is well, in order. */
export async function stepsOf(ground: Ground, flow: Flow): Promise<Step[]> {
  const stage = await stageFor(ground, flow)
  const from = stage.verbs.length
  const verbs = () => stage.verbs.slice(from)
  let made: readonly string[]
  try {
    await flow.call(stage.mailer, { timeout: 60_000 })
    await until(() => verbs().lastIndexOf('settle') > verbs().lastIndexOf('renew'))
    made = verbs()
  } finally {
    await stage.close()
  }
  const counts = new Map<string, number>()
  const steps = made.map((verb) => {
    counts.set(verb, (counts.get(verb) ?? 0) + 1)
    return `${verb} ${counts.get(verb)}`
  })
  // The worker looks again and again.
  const once = steps.filter((step) => !step.startsWith('due ') || step === 'due 1')
  return flow.own ? once.filter((step) => flow.own!.includes(step)) : once
}

/** What strikes at a step. */
export interface Strike {
  readonly name: string
  /** Stands in the place of the verb. */
  around(stage: Stage, run: () => Promise<unknown>): unknown
  /** What it leaves behind ends with the call. */
  end?(place: Place): void
  /** The verb may do its work, and only its answer is lost. */
  readonly loses?: true
}

/** Runs the flow with the strike at the step; answers how the call ended, once the store is well again. */
export async function struck(stage: Stage, flow: Flow, step: Step, { around, end }: Strike): Promise<Ending> {
  const over = Promise.withResolvers<void>()
  const counts = new Map<string, number>()
  let strikes = 0
  stage.surround(async (verb, run) => {
    counts.set(verb, (counts.get(verb) ?? 0) + 1)
    if (`${verb} ${counts.get(verb)}` !== step) return run()
    strikes++
    try {
      return await around(stage, run)
    } finally {
      over.resolve()
    }
  })
  // More time than a verb takes to fail, so that what fails open goes on.
  const ended = await ending(flow.call(stage.mailer, { timeout: 4_000 }))
  await until(() => strikes > 0)
  await over.promise
  if (end) {
    if (flow.queued) await sleep(300)
    end(stage.place)
  }
  assert.equal(strikes, 1)
  await stage.well()
  return ended
}

/** What came of it in the end. */
export interface Outcome {
  readonly end: Ending
  /** How often the message reached the server. */
  readonly taken: number
  readonly records: readonly MessageStatus[]
  /** Mailboxes counted in the quota. */
  readonly used: number
  readonly warnings: number
}

/** `tells`: the end of what was promised is to be known. */
export async function outcomeOf(stage: Stage, end: Ending, tells = true): Promise<Outcome> {
  const { messages, limits } = stage.mailer
  const records = async () => (await patiently(() => messages.list())).items.map(({ status }) => status)
  await stage.rest()
  // What the store would not take at the end of a hand-over is said to it again.
  const isTold = async () => !(await records()).includes('unknown')
  if (end.receipt && tells) {
    await until(isTold).catch(() => {})
    await stage.rest()
  }
  const usages = await patiently(() => limits.usage())
  return {
    end,
    taken: takenTimes(stage.post, mail.subject),
    records: await records(),
    used: usages.find(({ kind }) => kind === 'quota')!.used,
    warnings: stage.warnings.length,
  }
}
