/**
 * One process under load: submits, works on the queue, or both, until it is killed. What it did is in its journal. Run by
 * `cycles.ts` with its orders in LIFE.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { MailStore } from '../../../src/index.ts'
import { type Verb, tapped } from '../../support/tapped-store.ts'
import { Chance } from '../chance.ts'
import { type Ground, open } from '../ground.ts'
import { Journal } from '../journal.ts'
import { type Planned, planned, single } from '../planned.ts'
import { mailerOn, type Servers } from '../scenario.ts'

export interface Life {
  readonly process: string
  readonly seed: number
  readonly ground: Ground
  readonly servers: Servers
  readonly journal: string
  /** The first message it sends; the next ones follow. */
  readonly from: number
  readonly works: boolean
  readonly submits: boolean
  /** Kills itself at this verb of the store. */
  readonly death?: { readonly verb: number; readonly moment: 'before' | 'during' | 'after' }
}

const life = JSON.parse(process.env.LIFE!) as Life
const chance = new Chance(life.seed, 'life', life.process)
const journal = new Journal(life.journal)
const { store } = await open(life.ground)
const mailer = mailerOn(doomed(store), life.servers, {
  queue: { work: life.works, concurrency: 5 },
  random: chance.next,
  ids: () => chance.id(Date.now()),
})
const waiting: { readonly id: string; readonly subject: string }[] = []
let calls = 0

// Whoever started it may die too.
process.stdin.on('end', () => process.exit(1)).resume()
if (life.works) mailer.work()
await mailer.messages.get('msg_none')
console.log('ready')
const lanes = life.submits ? 6 : 0
await Promise.all(Array.from({ length: lanes }, async () => {
  for (;;) {
    await step()
    await sleep(chance.between(0, 15))
  }
}))

async function step(): Promise<void> {
  const number = life.from + Math.floor(calls++ / 3)
  const die = chance.next()
  if (die < 0.04 && waiting.length > 0) return cancel()
  if (die < 0.14) return submit(single(life.seed, life.process, calls))
  if (die < 0.24) return submit(planned(life.seed, chance.between(0, number + 1)))
  return submit(planned(life.seed, number + chance.between(0, 8)))
}

async function submit({ verb, fate, subject, key, message, options }: Planned): Promise<void> {
  const facts = { verb, subject, ...(key === undefined ? {} : { key }) }
  const sendAt = fate === 'later' ? { sendAt: Date.now() + chance.between(20, 400) } : {}
  const receipt = await journal.call(facts, () => mailer[verb](message, { ...options, ...sendAt }))
  if (receipt?.status === 'scheduled') waiting.push({ id: receipt.id, subject })
}

async function cancel(): Promise<void> {
  const { id, subject } = waiting.splice(chance.between(0, waiting.length), 1)[0]!
  await journal.call({ verb: 'cancel', id, subject }, () => mailer.cancel(id))
}

function doomed(store: MailStore): MailStore {
  const { death } = life
  if (!death) return store
  const die = () => void process.kill(process.pid, 'SIGKILL')
  const at = (moment: string) => ({ number }: Verb) => {
    if (number < death.verb || moment !== death.moment) return
    if (moment === 'during') setImmediate(die)
    else die()
  }
  return tapped(store, { before: death.moment === 'during' ? at('during') : at('before'), after: at('after') })
}
