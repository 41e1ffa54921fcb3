/** One of several processes that use a provider up to its limits for a while. What it took, and when, is its last line. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { smtp } from '../../../providers/smtp.ts'
import { createMailer, MailError, type Policy, type Window } from '../../../src/index.ts'
import type { Take } from '../../../src/stores/store.ts'
import { Chance } from '../../crash/chance.ts'
import { aroundStore } from '../around-store.ts'
import { type Ground, open } from '../ground.ts'

export interface Orders {
  readonly process: string
  readonly seed: number
  readonly ground: Ground
  readonly url: string
  readonly windows: readonly Window[]
  /** How it meets the limit: it waits its turn, it comes again when it is told to, or it leaves that to the queue. */
  readonly mode: 'wait' | 'reject' | 'queue'
  /** Milliseconds. */
  readonly lasts: number
}

export interface Report {
  readonly takes: readonly Taken[]
  /** How often the store refused a take. */
  readonly refused: number
  /** Calls of the store, by verb. */
  readonly verbs: Readonly<Record<string, number>>
  /** How calls ended, by code. */
  readonly ends: Readonly<Record<string, number>>
  /** Milliseconds the longest call took. */
  readonly longest: number
}

/** What was taken for one message and not given back. */
export interface Taken {
  readonly subject: string
  readonly cost: number
  /** On the store's clock. */
  readonly at: number
}

const { process: name, seed, ground, url, windows, mode, lasts } = JSON.parse(process.env.ORDERS!) as Orders
const chance = new Chance(seed, name)
const message = new AsyncLocalStorage<{ readonly subject: string; readonly cost: number }>()
const takes: Taken[] = []
const verbs: Record<string, number> = {}
const ends: Record<string, number> = {}
let refused = 0
let longest = 0

const { store, free } = open(ground)
const watched = aroundStore(store, async (verb, run, args) => {
  verbs[verb] = (verbs[verb] ?? 0) + 1
  const answer = await run()
  if (verb === 'limits.take') noteTake(answer as Take)
  if (verb === 'limits.refund') noteRefund(args[2] as number)
  return answer
})

function noteTake(take: Take): void {
  if (take.ok) takes.push({ ...message.getStore()!, at: take.at })
  else refused++
}

/** Of the last take for this message. */
function noteRefund(mailboxes: number): void {
  const { subject } = message.getStore()!
  const i = takes.findLastIndex((take) => take.subject === subject)
  takes[i] = { ...takes[i]!, cost: takes[i]!.cost - mailboxes }
}

/** So that a take can be told whose it is. */
const named: Policy = (next) => (delivery) =>
  message.run({ subject: delivery.message.subject, cost: delivery.envelope.recipients.length }, () => next(delivery))

const mailer = createMailer({
  from: 'Acme <hello@acme.example>',
  providers: { post: smtp({ url, pool: { connections: 10 } }) },
  store: watched,
  scope: 'shared',
  policies: { dispatch: [named] },
  limits: { providers: { post: windows }, onLimit: mode === 'wait' ? 'wait' : 'reject' },
  timeout: 20_000,
  queue: { concurrency: 10 },
})

async function lane(lane: number): Promise<void> {
  for (let number = 0; performance.now() < endsAt; number++) {
    const cost = chance.between(1, 4)
    const to = Array.from({ length: cost }, (_, i) => `${name}-${lane}-${number}-${i}@example.com`)
    await one({ to, subject: `${name} ${lane} ${number}`, text: 'Hello' })
  }
}

async function one(mail: { readonly to: string[]; readonly subject: string; readonly text: string }): Promise<void> {
  const began = performance.now()
  try {
    const left = endsAt - performance.now()
    // Whoever would wait until after the end goes at the end.
    const { status } = await mailer.send(mail, mode === 'wait' ? { timeout: Math.max(left, 100) } : {})
    ends[status] = (ends[status] ?? 0) + 1
  } catch (error) {
    if (!(error instanceof MailError)) throw error
    ends[error.code] = (ends[error.code] ?? 0) + 1
    if (error.code === 'SEND_LIMIT_EXCEEDED') await sleep(Math.min(error.retryAfter ?? 0, endsAt - performance.now()))
  } finally {
    longest = Math.max(longest, performance.now() - began)
  }
}

process.stdin.resume()
await mailer.messages.list()
console.log('ready')
// All begin together.
await new Promise((resolve) => process.stdin.once('data', resolve))
const endsAt = performance.now() + lasts
if (mode === 'queue') {
  const worker = mailer.work()
  await sleep(lasts)
  await worker.stop()
} else await Promise.all(Array.from({ length: 20 }, (_, i) => lane(i)))
await mailer.close({ deadline: 5_000 })
await free()
console.log(JSON.stringify({ takes, refused, verbs, ends, longest } satisfies Report))
process.stdin.destroy()
