import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, type EngineWorkOptions, type Job, type MailerOptions, type NewJob } from '../../src/index.ts'
import { loadPeer } from '../../src/queues/peer.ts'
import { memory } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rejection } from '../support/rejection.ts'
import { fails, pending, scripted } from '../support/scripted-provider.ts'

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }

/** An engine that does what a test tells it to, and keeps what it is told. */
function handEngine() {
  const jobs: NewJob[] = []
  let run: ((job: Job) => Promise<void>) | undefined
  let warn: EngineWorkOptions['warn']
  let starts = 0
  const engine = {
    fails: undefined as unknown,
    hangs: false,
    isPaused: false,
    async enqueue(more: readonly NewJob[]) {
      if (engine.hangs) return new Promise<void>(() => {})
      if (engine.fails) throw engine.fails
      jobs.push(...more)
    },
    async work(handler: (job: Job) => Promise<void>, options: EngineWorkOptions) {
      starts++
      if (engine.fails) throw engine.fails
      run = handler
      warn = options.warn
      return {
        async stop() {
          run = undefined
        },
      }
    },
    async pause() {
      engine.isPaused = true
    },
    async resume() {
      engine.isPaused = false
    },
    paused: async () => engine.isPaused,
    async close() {},
    stats: async () => ({ waiting: jobs.length, delayed: 0, active: 0 }),
  }
  return {
    engine,
    jobs,
    get starts() {
      return starts
    },
    get works() {
      return run !== undefined
    },
    give: (id: string, more: Partial<Job> = {}) => run!({ kind: 'message', id, ...more }),
    complain: (error: unknown) => warn?.(error),
  }
}

function setUp(options: Partial<MailerOptions> = {}) {
  const clock = fakeClock()
  const hand = handEngine()
  const provider = scripted('a')
  const warnings: { code: string; message: string }[] = []
  const store = memory({ clock })
  const newMailer = () => {
    const mailer = createMailer({
      from: 'hello@acme.example',
      providers: { a: provider },
      clock,
      store,
      timeout: 3_600_000,
      ...(options as object),
      queue: { engine: hand.engine, work: false, concurrency: 1, ...options.queue },
    })
    mailer.on('warning', (warning) => warnings.push(warning))
    return mailer
  }
  return { clock, hand, provider, warnings, store, mailer: newMailer(), newMailer }
}

test('a job names a message and when; each is another run', async () => {
  const { clock, hand, mailer } = setUp()
  const first = await mailer.enqueue(message)
  const second = await mailer.enqueue(message, { priority: 7, sendAt: clock.now() + 5_000 })
  const far = await mailer.enqueue(message, { sendAt: clock.now() + 30 * 86_400_000 })
  await mailer.reschedule(second.id, clock.now() + 1_000)
  assert.deepEqual(
    hand.jobs.map(({ run: _, ...job }) => job),
    [
      { kind: 'message', id: first.id, priority: 0, delay: 0 },
      { kind: 'message', id: second.id, priority: 7, delay: 5_000 },
      { kind: 'message', id: far.id, priority: 0, delay: 7 * 86_400_000 },
      { kind: 'message', id: second.id, priority: 7, delay: 1_000 },
    ],
  )
  assert.equal(new Set(hand.jobs.map(({ run }) => run)).size, 4)
})

test('a job that comes too early is put off, and comes again', async () => {
  const { clock, hand, provider, mailer } = setUp()
  const { id } = await mailer.enqueue(message, { sendAt: clock.now() + 5_000 })
  mailer.work()
  await clock.advance(1)
  hand.jobs.length = 0
  await hand.give(id)
  assert.equal(provider.calls.length, 0)
  const [again] = hand.jobs
  assert.ok(again?.id === id && again.delay! > 4_900 && again.delay! <= 5_000)
})

test('P10: a worker whose gate is full of jobs still looks into the store afterwards', async () => {
  const { clock, hand, provider, store, mailer, newMailer } = setUp()
  mailer.work()
  await clock.advance(1)
  const others = newMailer()
  const ids: string[] = []
  for (let n = 0; n < 3; n++) ids.push((await others.enqueue(message)).id)
  const steps = ids.map(() => pending())
  provider.will(...steps)
  const given = ids.map((id) => hand.give(id))
  await provider.called(1)
  await clock.advance(30_000)
  for (const step of steps) step.answer()
  await Promise.all(given)
  const lost = await others.enqueue(message)
  await clock.advance(30_000)
  assert.equal((await store.read(lost.id))?.status, 'sent')
})

test('a worker that stops tells the engine of what it had not begun', async () => {
  const { clock, hand, provider, mailer, newMailer } = setUp()
  const hanging = pending()
  provider.will(hanging)
  const sender = newMailer()
  const ids: string[] = []
  for (let n = 0; n < 3; n++) ids.push((await sender.enqueue(message)).id)
  const worker = mailer.work()
  await clock.advance(1)
  assert.equal(provider.calls.length, 1)
  const job = hand.give(ids[2]!)
  hand.jobs.length = 0
  const stopping = worker.stop()
  await clock.advance(1)
  await job
  assert.deepEqual(
    hand.jobs.map(({ id }) => id),
    [ids[2]],
  )
  hanging.answer()
  await stopping
  assert.equal(provider.calls.length, 1)
})

test('a pause that another process asked for holds for what is found in the store, until anybody ends it', async () => {
  const { clock, hand, provider, mailer, newMailer } = setUp()
  const hanging = pending()
  provider.will(hanging)
  const sender = newMailer()
  for (let n = 0; n < 3; n++) await sender.enqueue(message)
  mailer.work()
  await clock.advance(1)
  await mailer.queue.pause()
  hanging.answer()
  await clock.advance(120_000)
  assert.equal(provider.calls.length, 1, 'the second was taken and is given back')
  assert.equal((await sender.queue.stats()).paused, true)
  await sender.queue.resume()
  await clock.advance(30_000)
  assert.equal(provider.calls.length, 3)
  assert.equal((await mailer.queue.stats()).paused, false)
  assert.equal(hand.engine.isPaused, false)
})

test('P9: an engine that hangs or fails costs a warning and 2 s, and the message is queued all the same', async () => {
  const { clock, hand, warnings, mailer } = setUp()
  hand.engine.hangs = true
  const hanging = mailer.enqueue(message)
  await clock.advance(2_000)
  assert.equal((await hanging).status, 'queued')
  hand.engine.hangs = false
  hand.engine.fails = new Error('connect to redis://user:password@10.0.0.1 failed')
  assert.equal((await mailer.enqueue(message)).status, 'queued')
  assert.deepEqual(
    warnings.map(({ code }) => code),
    ['STORE_UNAVAILABLE', 'STORE_UNAVAILABLE'],
  )
  assert.ok(
    warnings.every(({ message: text }) => /safe in the store/.test(text) && !/password|10\.0/.test(text)),
    'P11',
  )
})

test('a worker whose engine does not start works from the store, and tries again', async () => {
  const { clock, hand, provider, warnings, mailer } = setUp()
  hand.engine.fails = new Error('down')
  mailer.work()
  await mailer.enqueue(message)
  await clock.advance(30_000)
  assert.equal(provider.calls.length, 1)
  assert.ok(hand.starts >= 5 && !hand.works)
  hand.engine.fails = undefined
  await clock.advance(5_000)
  assert.ok(hand.works)
  const before = warnings.length
  for (let n = 0; n < 10; n++) hand.complain(Object.assign(new Error('to 10.0.0.1'), { code: 'ECONNREFUSED' }))
  assert.equal(warnings.length, before + 1, 'the same is said once in a while')
  assert.match(warnings.at(-1)!.message, /ECONNREFUSED/)
  await clock.advance(30_000)
  hand.complain(Object.assign(new Error('to 10.0.0.1'), { code: 'ECONNREFUSED' }))
  assert.equal(warnings.length, before + 2)
  await mailer.close()
  assert.ok(!hand.works)
})

test('a missing peer is named, with the command to install it', async () => {
  const error = await rejection(loadPeer('bullmq', 'bullmq', () => import('no-such-package' as string)))
  assert.equal(error.code, 'CONFIGURATION_ERROR')
  assert.match(error.message, /^bullmq needs the package bullmq, which is not installed: npm install bullmq$/)
  const { clock, hand, warnings, mailer } = setUp()
  hand.engine.fails = error
  mailer.work()
  await clock.advance(60_000)
  assert.equal(hand.starts, 1, 'trying again would not help')
  assert.deepEqual(
    warnings.map(({ code }) => code),
    ['CONFIGURATION_ERROR'],
  )
})

test('who waits for a limit is found in the store, and costs the engine no jobs', async () => {
  const { clock, hand, provider, mailer, newMailer } = setUp({
    limits: { providers: { a: { limit: 2, per: 1_000 } } },
    queue: { concurrency: 4 },
  })
  const sender = newMailer()
  const ids: string[] = []
  for (let n = 0; n < 40; n++) ids.push((await sender.enqueue({ ...message, subject: `${n}` })).id)
  hand.jobs.length = 0
  mailer.work()
  await clock.advance(1)
  await Promise.all(ids.map((id) => hand.give(id)))
  for (let n = 0; n < 60; n++) await clock.advance(1_000)
  assert.equal(provider.calls.length, 40)
  assert.deepEqual(hand.jobs, [])
})

test('a job of a kind this version does not know is left to one that does', async () => {
  const { clock, hand, mailer } = setUp()
  mailer.work()
  await clock.advance(1)
  await hand.give('whk_1', { kind: 'webhook', priority: 3 })
  assert.partialDeepStrictEqual(hand.jobs, [{ kind: 'webhook', id: 'whk_1', priority: 3, delay: 60_000 }])
})

test('a wall clock that was set back puts no retry off for long', async () => {
  const { clock, hand, provider, mailer, newMailer } = setUp({ retry: { rounds: 1, schedule: [2_000, 2_000] } })
  const sender = newMailer()
  provider.will(fails('connection'))
  const { id } = await sender.enqueue(message)
  mailer.work()
  await clock.advance(100)
  assert.equal(provider.calls.length, 1)
  clock.step(-24 * 3_600_000)
  await hand.give(id)
  await clock.advance(120_000)
  assert.equal(provider.calls.length, 2)
})

test('an engine that always has jobs leaves places to what is found in the store', async () => {
  const { clock, hand, provider, mailer, newMailer, store } = setUp({ queue: { concurrency: 4 } })
  const sender = newMailer()
  const slow = () => new Promise((resolve) => clock.setTimeout(() => resolve({}), 500))
  provider.will(...Array(2_000).fill(slow))
  const ids: string[] = []
  for (let n = 0; n < 600; n++) ids.push((await sender.enqueue(message)).id)
  mailer.work()
  await clock.advance(1)
  // As many as the engine would begin, and one more whenever one is done.
  const rest = ids[Symbol.iterator]()
  const lane = async () => {
    for (const id of rest) await hand.give(id)
  }
  const lanes = Array.from({ length: 4 }, lane)
  await clock.advance(5_000)
  const { id } = await sender.enqueue(message, { priority: 10 })
  for (let n = 0; n < 40; n++) await clock.advance(1_000)
  assert.equal((await store.read(id))?.status, 'sent')
  for (let n = 0; n < 120; n++) await clock.advance(1_000)
  await Promise.all(lanes)
  assert.equal(provider.calls.length, 601)
})

test('a job that comes twice cuts no pause short', async () => {
  const hours = 8 * 3_600_000
  const { clock, hand, provider, mailer, newMailer } = setUp({ retry: { rounds: 1, schedule: [hours] } })
  const sender = newMailer()
  provider.will(fails('connection'))
  const { id } = await sender.enqueue(message)
  mailer.work()
  await clock.advance(30_000)
  assert.equal(provider.calls.length, 1)
  await hand.give(id)
  await clock.advance(hours - 120_000)
  assert.equal(provider.calls.length, 1)
  await clock.advance(240_000)
  assert.equal(provider.calls.length, 2)
})
