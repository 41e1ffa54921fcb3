/**
 * One process under load: submits, works on the queue, or both, until it is killed. What it did is in its journal. Run by
 * `cycles.ts` with its orders in LIFE.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { MailStore } from '../../../src/index.ts'
import { tapped, type Verb } from '../../support/tapped-store.ts'
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
const chanceOf = (what: string | number) => new Chance(life.seed, life.process, what)
const ids = chanceOf('ids')
/** Ids carry a time; this one is the same for every run of a seed. */
const birth = Date.UTC(2026, 10, 21)
const journal = new Journal(life.journal)
let calls = 0
const { store } = await open(life.ground)
const mailer = mailerOn(doomed(store), life.servers, {
  queue: { work: life.works, concurrency: 5 },
  random: chanceOf('jitter').next,
  ids: () => ids.id(birth + calls),
})
const waiting: { readonly id: string; readonly subject: string }[] = []

// Whoever started it may die too.
process.stdin.on('end', () => process.exit(1)).resume()
if (life.works) mailer.work()
await mailer.messages.get('msg_none').catch(() => undefined)
console.log('ready')
mailer.on('outcome', () => console.log('handed over'))
const lanes = life.submits ? 6 : 0
await Promise.all(
  Array.from({ length: lanes }, async () => {
    for (;;) await step(chanceOf(++calls), calls)
  }),
)

async function step(chance: Chance, call: number): Promise<void> {
  const newest = life.from + Math.floor(call / 3)
  const kind = chance.next()
  if (kind < 0.04 && waiting.length > 0) await cancel(chance)
  else if (kind < 0.14) await submit(single(life.seed, life.process, call), chance)
  // An old one again, or one of those that the others send now too.
  else
    await submit(
      planned(life.seed, kind < 0.24 ? chance.between(0, newest + 1) : newest + chance.between(0, 8)),
      chance,
    )
  await sleep(chance.between(0, 15))
}

async function submit({ verb, fate, subject, key, message, options }: Planned, chance: Chance): Promise<void> {
  const facts = { verb, subject, ...(key === undefined ? {} : { key }) }
  const sendAt = fate === 'later' ? { sendAt: Date.now() + chance.between(20, 400) } : {}
  const receipt = await journal.call(facts, () => mailer[verb](message, { ...options, ...sendAt }))
  if (receipt?.status === 'scheduled') waiting.push({ id: receipt.id, subject })
}

async function cancel(chance: Chance): Promise<void> {
  const { id, subject } = waiting.splice(chance.between(0, waiting.length), 1)[0]!
  await journal.call({ verb: 'cancel', id, subject }, () => mailer.cancel(id))
}

function doomed(store: MailStore): MailStore {
  const { death } = life
  if (!death) return store
  const die = () => void process.kill(process.pid, 'SIGKILL')
  const at =
    (moment: string) =>
    ({ number }: Verb) => {
      if (number < death.verb || moment !== death.moment) return
      if (moment === 'during') setImmediate(die)
      else die()
    }
  return tapped(store, { before: death.moment === 'during' ? at('during') : at('before'), after: at('after') })
}
