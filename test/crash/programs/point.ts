/**
 * One call, or one message worked on, in a process that kills itself at a step of the store or is killed meanwhile. Run by
 * `kill.ts` with its orders in POINT.
 */
import { tapped, type Verb } from '../../support/tapped-store.ts'
import { type Ground, open } from '../ground.ts'
import { Journal } from '../journal.ts'
import { type Death, type Flow, type Moment, stepOf } from '../points.ts'
import { mailerOn, onlyMessage, type Servers } from '../scenario.ts'

export interface Orders {
  readonly ground: Ground
  readonly servers: Servers
  readonly journal: string
  readonly flow: Flow
  readonly death: Death
}

const { ground, servers, journal: path, flow, death } = JSON.parse(process.env.POINT!) as Orders
const die = () => void process.kill(process.pid, 'SIGKILL')
const at = (moment: Moment) => (verb: Verb) => {
  if (!('step' in death) || death.moment !== moment || stepOf(verb) !== death.step) return
  if (moment === 'during') setImmediate(die)
  else die()
}

// Whoever started it may die too.
process.stdin.on('end', () => process.exit(1)).resume()
/** Milliseconds after which it has missed the point, and ends by itself. */
const patience = 30_000
setTimeout(() => process.exit(1), patience)
const journal = new Journal(path)
const { store } = await open(ground)
const before = 'step' in death && death.moment === 'during' ? at('during') : at('before')
const mailer = mailerOn(tapped(store, { before, after: at('after') }), servers, {
  retry: { rounds: 1, base: 1, schedule: [1, 1, 1] },
})
const { facts, message, options } = onlyMessage(flow)
// Everything is loaded and connected before the clock of the call runs.
await mailer.plan(message, options)
await mailer.verify()
console.log('ready')
if (flow.does === 'work') mailer.work()
else await journal.call(facts, () => mailer[facts.verb](message, options))
