import assert from 'node:assert/strict'
import { after, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { smtp } from '../../providers/smtp.ts'
import { createMailer, type Mailer, type MailerOptions, type MessageRecord } from '../../src/index.ts'
import { createSmtpServer, type ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import { Chance, seedOf } from '../crash/chance.ts'
import { noAccidents } from '../support/accidents.ts'
import { type Program, start } from '../support/program.ts'
import { type Engine, engineNames, findEngine, type Ground, open } from './ground.ts'
import { arrivalsAt, subjectsAt } from './post.ts'
import type { End, Fact, Orders } from './programs/restart.ts'
import { patiently, until } from './stage.ts'

noAccidents()

const seed = seedOf()
console.log(`SEED=${seed}`)

const slots = 2
const generations = 3
/** Milliseconds `close` may take: less than what hangs. */
const deadline = 300

const thousands = 2_000
const workers = 2
const concurrency = 5

for (const name of engineNames) {
  const engine = await findEngine(name)
  if ('skip' in engine) {
    test(name, { skip: engine.skip }, () => {})
    continue
  }
  describe(`a service at work: ${name}`, () => {
    after(() => engine.close())
    test(`P1, P2: every process is restarted several times under load, SEED=${seed}`, (t) => rolling(t, engine))
    test('one tenant’s thousands do not hold up another’s login code', (t) => fairness(t, engine))
  })
}

async function rolling(t: TestContext, engine: Engine): Promise<void> {
  const chance = new Chance(seed, engine.name)
  const server = await createSmtpServer()
  t.after(server.close)
  const ground = engine.newGround()
  const lives = Array.from({ length: slots }, async (_, slot) => {
    const facts: Fact[] = []
    for (let generation = 0, before: Program | undefined; generation < generations; generation++) {
      const orders: Orders = { process: `${slot}-${generation}`, seed, ground, url: server.url, deadline }
      const next = start(t, 'test/shared/programs/restart.ts', { ORDERS: JSON.stringify(orders) })
      // Its predecessor ends when it is there.
      await next.printed(/ready/)
      if (before) facts.push(...(await ended(before)))
      await sleep(chance.between(200, 600))
      disturb(server, chance)
      await sleep(100)
      before = next
      if (generation === generations - 1) facts.push(...(await ended(next)))
    }
    return facts
  })
  const facts = (await Promise.all(lives)).flat()
  await check(t, facts, ground, server)
}

/** Some mail is taken and never answered, and some connections are lost before it could be taken. */
function disturb(server: ScriptedSmtpServer, chance: Chance): void {
  server.fail({ at: 'afterBody', kind: 'stall', times: chance.between(1, 3) })
  server.fail({ at: 'midBody', kind: chance.pick(['reset', 'close', '4xx']), times: 2 })
}

/** Tells the process to end, and answers what it said in its life. */
async function ended(program: Program): Promise<Fact[]> {
  program.child.kill('SIGTERM')
  assert.deepEqual([await program.ended, program.err], [0, ''])
  return program.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Fact)
}

async function check(
  t: TestContext,
  facts: readonly Fact[],
  ground: Ground,
  server: ScriptedSmtpServer,
): Promise<void> {
  const manifests = facts.flatMap((fact) => ('manifest' in fact ? [fact.manifest] : []))
  assert.equal(manifests.length, slots * generations)
  const submissions = facts.flatMap((fact) => ('subject' in fact ? [fact] : []))
  const told = submissions.flatMap(({ end }) => ('code' in end && end.code === 'OUTCOME_UNKNOWN' ? [end.id!] : []))
  const listed = new Set([...manifests.flatMap(({ unknown, pending }) => [...unknown, ...pending]), ...told])
  const held = new Set([...listed, ...facts.flatMap((fact) => ('unknown' in fact ? [fact.unknown] : []))])
  const during = subjectsAt(server)
  // What was still to go wrong would go wrong with the rest.
  server.reset()
  const records = await finish(ground, server.url)
  const taken = Map.groupBy([...during, ...subjectsAt(server)], (subject) => subject)

  const ends = Map.groupBy(submissions, ({ verb, end }) => `${verb} ${'code' in end ? end.code : end.status}`)
  t.diagnostic(
    `${[...ends].map(([end, all]) => `${all.length} ${end}`).join(', ')}; ${during.length} delivered during, ${taken.size} in all; ${held.size} may have been`,
  )
  const wrong = submissions.flatMap(({ subject, end }) => [
    ...judge(subject, end, taken.get(subject)?.length ?? 0, held),
  ])
  for (const { id, subject, status, attempts } of records) {
    if (status === 'unknown') {
      if (!held.has(id)) wrong.push(`${subject}: unknown, and nobody was told`)
      if (attempts.at(-1)?.evidence?.startsWith('aborted') && !listed.has(id))
        wrong.push(`${subject}: not in the manifest`)
    }
    if (['queued', 'scheduled', 'dispatching'].includes(status)) wrong.push(`${subject}: still ${status}`)
  }
  assert.deepEqual(wrong, [])
  assert.ok(held.size > 0, 'nothing hung when a process ended')
  assert.ok(ends.get('send sent') && ends.get('enqueue queued'))
}

function* judge(subject: string, end: End, times: number, held: ReadonlySet<string>): Generator<string> {
  if (times > 1) yield `${subject}: delivered ${times} times`
  if ('status' in end && times === 0 && !held.has(end.id)) yield `${subject}: ${end.status}, and not delivered`
  if ('code' in end && end.code !== 'OUTCOME_UNKNOWN' && times > 0) yield `${subject}: ${end.code}, and delivered`
}

/** Brings what waits to its end, and answers everything there is. */
async function finish(ground: Ground, url: string): Promise<MessageRecord[]> {
  const { mailer, close } = mailerOn(ground, url)
  mailer.work({ concurrency: 10 })
  const unfinished = ['queued', 'scheduled', 'dispatching'] as const
  await until(async () => {
    const pages = await Promise.all(
      unfinished.map((status) => patiently(() => mailer.messages.list({ status, limit: 1 }))),
    )
    return pages.every(({ items }) => items.length === 0)
  })
  const records: MessageRecord[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await patiently(() =>
      mailer.messages.list({ limit: 500, ...(cursor === undefined ? {} : { cursor }) }),
    )
    records.push(...page.items)
    cursor = page.cursor
    if (cursor === undefined) break
  }
  await close()
  return records
}

function mailerOn(ground: Ground, url: string, options: Partial<MailerOptions> = {}) {
  const { store, free } = open(ground)
  const mailer = createMailer({
    from: 'Acme <hello@acme.example>',
    providers: { post: smtp({ url }) },
    store,
    scope: 'shared',
    ...(options as object),
  }) as Mailer
  const close = async () => {
    await mailer.close({ deadline: 1_000 })
    await free()
  }
  return { mailer, close }
}

async function fairness(t: TestContext, engine: Engine): Promise<void> {
  const server = await createSmtpServer()
  t.after(server.close)
  const arrivals = arrivalsAt(server)
  const ground = engine.newGround()
  const tenants = {
    bulk: { route: 'post', from: 'news@bulk.example' },
    shop: { route: 'post', from: 'login@shop.example' },
  }
  const front = mailerOn(ground, server.url, { tenants })
  t.after(front.close)
  const bulk = Array.from({ length: thousands }, (_, i) => ({
    to: `${i}@example.com`,
    subject: `bulk ${i}`,
    text: 'Buy',
  }))
  const code = (subject: string) =>
    front.mailer.enqueue({ to: 'ada@example.com', subject, text: '123456' }, { tenant: 'shop' })
  for await (const { error } of front.mailer.streamBatch(bulk, {
    mode: 'enqueue',
    concurrency: 100,
    options: { tenant: 'bulk' },
  })) {
    assert.equal(error, undefined)
  }
  await code('before')
  for (let i = 0; i < workers; i++) {
    const { mailer, close } = mailerOn(ground, server.url, { tenants })
    t.after(close)
    mailer.work({ concurrency })
  }
  const placeOf = (subject: string) => arrivals.findIndex((one) => one.subject === subject)
  // What a worker has taken from the store, it has taken.
  const ahead = workers * 2 * concurrency
  await until(() => placeOf('before') >= 0)
  const places = [placeOf('before')]
  for (const subject of ['first', 'second', 'third']) {
    await until(() => arrivals.length >= placeOf('before') + 50 * places.length)
    const { length } = arrivals
    await code(subject)
    const since = arrivals.length
    await until(() => placeOf(subject) >= 0)
    t.diagnostic(`${subject}: after ${placeOf(subject) - since} more, ${since - length} while it was accepted`)
    places.push(placeOf(subject) - since)
  }
  const left = thousands - arrivals.length
  t.diagnostic(`the first after ${places[0]}; ${left} of ${thousands} were still waiting`)
  assert.ok(left > thousands / 4, 'the thousands were over before it mattered')
  for (const place of places) assert.ok(place <= 2 * ahead, `${place} went before the login code`)
}
