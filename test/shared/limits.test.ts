import assert from 'node:assert/strict'
import { after, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { smtp } from '../../providers/smtp.ts'
import { createMailer } from '../../src/index.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { seedOf } from '../crash/chance.ts'
import { noAccidents } from '../support/accidents.ts'
import { start } from '../support/program.ts'
import { type Engine, engineNames, findEngine, open } from './ground.ts'
import { type Arrival, arrivalsAt } from './post.ts'
import type { Orders, Report, Taken } from './programs/limits.ts'
import { ending } from './stage.ts'

noAccidents()

const seed = seedOf()
console.log(`SEED=${seed}`)

const windows = [
  { limit: 300, per: 2_000 },
  { limit: 1_000, per: 10_000 },
]
/** Milliseconds all use it at once, and what the windows let through in that time. */
const lasts = 6_500
const capacity = 1_000
/** A window frees a bucket at a time. */
const bucketsPassed = lasts / (2_000 / 60)

for (const name of engineNames) {
  const engine = await findEngine(name)
  if ('skip' in engine) {
    test(name, { skip: engine.skip }, () => {})
    continue
  }
  describe(`limits that several processes share: ${name}`, () => {
    after(() => engine.close())
    test('P4: what failed is given back to the mailbox, and others pass in its place', (t) => refunds(t, engine))
    test(`P4: four processes use them up and never exceed them, SEED=${seed}`, (t) => shared(t, engine))
  })
}

async function shared(t: TestContext, engine: Engine): Promise<void> {
  const server = await createSmtpServer()
  t.after(server.close)
  const arrivals = arrivalsAt(server)
  const ground = engine.newGround()
  await fill(ground, server.url, 600)
  const modes: Orders['mode'][] = ['wait', 'wait', 'reject', 'queue']
  const programs = modes.map((mode, i) => {
    const orders: Orders = { process: `${mode}${i}`, seed, ground, url: server.url, windows, mode, lasts }
    return start(t, 'test/shared/programs/limits.ts', { ORDERS: JSON.stringify(orders) })
  })
  await Promise.all(programs.map((program) => program.printed(/ready/)))
  for (const { child } of programs) child.stdin!.write('go\n')
  const reports = await Promise.all(
    programs.map(async (program) => {
      const [, line] = await program.printed(/ready\n(.+)\n/)
      assert.equal(await program.ended, 0, program.err)
      return JSON.parse(line!) as Report
    }),
  )
  const total = arrivals.reduce((sum, { mailboxes }) => sum + mailboxes, 0)
  for (const [i, report] of reports.entries()) {
    const mailboxes = report.takes.reduce((sum, { cost }) => sum + cost, 0)
    const { takes, refused, ends, longest, verbs } = report
    t.diagnostic(
      `${modes[i]}: ${mailboxes} mailboxes, ${takes.length} takes and ${refused} refused, longest call ${Math.round(longest)} ms; ${inspect(ends)} ${inspect(verbs)}`,
    )
    assert.ok(mailboxes >= total / modes.length / 5, `${modes[i]} got ${mailboxes} of ${total}: it starves`)
    assert.ok(refused <= takes.length + 3 * bucketsPassed, `${refused} takes were refused: it asks too often`)
  }
  checkWindows(
    t,
    reports.flatMap(({ takes }) => takes),
    arrivals,
  )
  assert.ok(total >= capacity / 2, `only ${total} of ${capacity} were used`)
}

/** The most mailboxes in any window. */
function fullest(events: readonly { readonly at: number; readonly mailboxes: number }[], per: number): number {
  const sorted = events.toSorted((a, b) => a.at - b.at)
  let [first, sum, most] = [0, 0, 0]
  for (const { at, mailboxes } of sorted) {
    sum += mailboxes
    while (sorted[first]!.at <= at - per) sum -= sorted[first++]!.mailboxes
    most = Math.max(most, sum)
  }
  return most
}

/** At the store and at the server, to the mailbox. */
function checkWindows(t: TestContext, takes: readonly Taken[], arrivals: readonly Arrival[]): void {
  const bySubject = new Map(takes.map((take) => [take.subject, take]))
  for (const { subject, mailboxes } of arrivals) {
    assert.equal(bySubject.get(subject)?.cost, mailboxes, `${subject} was not paid for`)
  }
  for (const { limit, per } of windows) {
    const taken = fullest(
      takes.map(({ at, cost }) => ({ at, mailboxes: cost })),
      per,
    )
    const arrived = fullest(arrivals, per)
    t.diagnostic(`${limit} in ${per} ms: at most ${taken} taken, ${arrived} arrived`)
    assert.ok(taken <= limit, `${taken} taken in ${per} ms`)
    assert.ok(arrived <= limit, `${arrived} arrived in ${per} ms`)
  }
}

async function fill(ground: Parameters<typeof open>[0], url: string, count: number): Promise<void> {
  const { store, free } = open(ground)
  const mailer = createMailer({ from: 'hello@acme.example', providers: { post: smtp({ url }) }, store })
  const items = Array.from({ length: count }, (_, i) => ({
    to: Array.from({ length: 1 + (i % 3) }, (_, n) => `queue-${i}-${n}@example.com`),
    subject: `queue ${i}`,
    text: 'Hello',
  }))
  for await (const { receipt } of mailer.streamBatch(items, { mode: 'enqueue', concurrency: 50 })) {
    assert.equal(receipt?.status, 'queued')
  }
  await mailer.close()
  await free()
}

/** Several mailers over one store, as if each were a process of its own. */
async function refunds(t: TestContext, engine: Engine): Promise<void> {
  const server = await createSmtpServer()
  t.after(server.close)
  const ground = engine.newGround()
  const limit = 60
  const both = [
    { limit, per: 60_000 },
    { limit: 10 * limit, per: 3_600_000 },
  ]
  const mailers = Array.from({ length: 4 }, () => {
    const { store, free } = open(ground)
    const mailer = createMailer({
      from: 'hello@acme.example',
      providers: { post: smtp({ url: server.url }) },
      store,
      limits: { providers: { post: both } },
      retry: { rounds: 1 },
    })
    t.after(async () => {
      await mailer.close()
      await free()
    })
    return mailer
  })
  const send = (kind: string, i: number, cost: number) => {
    const to = Array.from({ length: cost }, (_, n) => `${kind}-${i}-${n}@example.com`)
    if (kind === 'busy') for (const recipient of to) server.fail({ at: 'envelope', kind: '4xx', recipient })
    return ending(mailers[i % mailers.length]!.send({ to, subject: `${kind} ${i}`, text: 'Hello' }))
  }
  await mailers[0]!.messages.list()
  // All at once: what certainly failed holds its part of the budget for a moment only.
  const failing = Array.from({ length: 24 }, (_, i) => send('busy', i, 1 + (i % 3)))
  const passing = Array.from({ length: 24 }, (_, i) => send('well', i, 1 + (i % 3)))
  for (const { code } of await Promise.all(failing)) assert.match(code, /^(SEND_FAILED|SEND_LIMIT_EXCEEDED)$/)
  for (const { code } of await Promise.all(passing)) assert.match(code, /^(sent|SEND_LIMIT_EXCEEDED)$/)
  const taken = () => server.raw.reduce((sum, { recipients }) => sum + recipients.length, 0)
  assert.ok(taken() <= limit)
  t.diagnostic(`${taken()} of ${limit} passed beside those that failed`)
  // One mailbox at a time, by each in turn: all that is left, and not one more.
  const left = limit - taken()
  await sleep(1_100)
  for (let i = 0; i < left; i++) assert.equal((await send('more', i, 1)).code, 'sent', `${i} of ${left}`)
  for (let i = 0; i < mailers.length; i++) assert.equal((await send('beyond', i, 1)).code, 'SEND_LIMIT_EXCEEDED')
  assert.equal(taken(), limit)
  const usage = await mailers[0]!.limits.usage()
  assert.deepEqual(
    usage.map(({ used }) => used),
    [limit, limit],
  )
}
