/** One process of a service: submits, works on the queue, and closes when it is told to end. Each line it prints is a fact. */
import { setTimeout as sleep } from 'node:timers/promises'
import { smtp } from '../../../providers/smtp.ts'
import { createMailer, MailError, type MessageStatus, type Receipt } from '../../../src/index.ts'
import { Chance } from '../../crash/chance.ts'
import { type Ground, open } from '../ground.ts'

export interface Orders {
  readonly process: string
  readonly seed: number
  readonly ground: Ground
  readonly url: string
  /** Milliseconds `close` may take. */
  readonly deadline: number
}

export type Fact =
  | { readonly ready: true }
  | { readonly subject: string; readonly verb: 'send' | 'enqueue'; readonly end: End }
  | { readonly unknown: string }
  | { readonly manifest: { readonly settled: number; readonly unknown: string[]; readonly pending: string[] } }

export type End =
  | { readonly status: MessageStatus; readonly id: string }
  | { readonly code: string; readonly id?: string }

const { process: name, seed, ground, url, deadline } = JSON.parse(process.env.ORDERS!) as Orders
const chance = new Chance(seed, name)
const { store, free } = open(ground)
const mailer = createMailer({
  from: 'Acme <hello@acme.example>',
  providers: { post: smtp({ url }) },
  store,
  scope: 'shared',
  // Longer than any process lives, so that only its end ends what hangs.
  timeout: 10_000,
  retry: { rounds: 2, base: 20, longest: 200, schedule: [50, 100, 200, 400, 800, 1_600, 3_200] },
  queue: { work: true, concurrency: 5 },
})
let ending = false

mailer.on('settled', ({ id, status }) => {
  if (status === 'unknown') tell({ unknown: id })
})

const tell = (fact: object) => console.log(JSON.stringify(fact))

async function lane(lane: number): Promise<void> {
  for (let number = 0; !ending; number++) {
    const subject = `${name} ${lane} ${number}`
    const verb = chance.pick(['send', 'enqueue'] as const)
    const key = chance.is(0.3) ? { idempotencyKey: subject.replaceAll(' ', '-') } : {}
    const mail = { to: `${subject.replaceAll(' ', '-')}@example.com`, subject, text: 'Hello' }
    tell({ subject, verb, end: await endOf(mailer[verb](mail, key)) })
    await sleep(chance.between(0, 20))
  }
}

async function endOf(call: Promise<Receipt>): Promise<End> {
  try {
    const { status, id } = await call
    return { status, id }
  } catch (error) {
    if (!(error instanceof MailError)) throw error
    return { code: error.code, ...(error.id === undefined ? {} : { id: error.id }) }
  }
}

const told = new Promise((resolve) => process.once('SIGTERM', resolve))
await mailer.messages.list()
tell({ ready: true })
const lanes = Promise.all(Array.from({ length: 4 }, (_, i) => lane(i)))
await told
// Calls go on until `close` refuses them.
const closing = mailer.close({ deadline })
await sleep(10)
ending = true
tell({ manifest: await closing })
await lanes
// Nothing is left that would keep the process: it ends by itself.
await free()
