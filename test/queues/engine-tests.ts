import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Job } from '../../src/index.ts'
import { createMailer } from '../../src/index.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { start } from '../support/program.ts'
import { fails, pending } from '../support/scripted-provider.ts'
import { engineOf, type Ground, loseJobs, open, until } from './ground.ts'
import type { Orders } from './programs/worker.ts'
import { message, stage } from './stage.ts'

const hour = 3_600_000
const numbered = (count: number) => Array.from({ length: count }, (_, n) => `message ${n}`)

export interface EngineTests {
  /** A store and an engine of their own. */
  readonly newGround: () => Ground
  /** The engine on a server of its own that can be killed; the store elsewhere. */
  readonly newMortalGround: () => Promise<{ ground: Ground; kill(): Promise<void>; start(): Promise<void> }>
  /** Whether a pause of one process holds in all. */
  readonly pausesAll: boolean
}

/** What holds for every engine. */
export function engineTests({ newGround, newMortalGround, pausesAll }: EngineTests): void {
  test('messages of one process are sent by another, once each, and it ends by itself when told to close (X7)', async (t) => {
    const ground = newGround()
    const post = await createSmtpServer()
    t.after(() => post.close())
    const orders: Orders = { ground, smtpUrl: post.url }
    const worker = start(t, 'test/queues/programs/worker.ts', { ORDERS: JSON.stringify(orders) })
    await worker.printed(/ready/)
    const sender = await stage(t, ground).mailer()
    const receipts = await Promise.all(numbered(40).map((subject) => sender.enqueue({ ...message, subject })))
    await until('all taken', () => post.raw.length >= 40)
    await until('all settled', async () => {
      const records = await Promise.all(receipts.map(({ id }) => sender.messages.get(id)))
      return records.every((record) => record?.status === 'sent')
    })
    assert.deepEqual((await post.accepted()).map(({ subject }) => subject).sort(), numbered(40).sort())
    worker.child.kill('SIGTERM')
    assert.equal(await worker.ended, 0, worker.err)
    assert.match(worker.out, /closed \d+ 0 0/)
    assert.equal(worker.err, '')
  })

  test('P2, P7: a job that runs twice, late, early or for a message that is none does nothing', async (t) => {
    const { provider, mailer: newMailer, engine: newEngine } = stage(t, newGround())
    const mailer = await newMailer()
    const engine = newEngine()
    const worker = await newMailer()
    worker.work()
    const again = (id: string, run: string) => engine.enqueue([{ kind: 'message', id, run }])

    const { id } = await mailer.enqueue(message)
    await again(id, 'twice')
    await until('sent', async () => (await mailer.messages.get(id))?.status === 'sent')
    await again(id, 'late')
    await again(id, 'later')
    await again('msg_none', 'none')
    await engine.enqueue([{ kind: 'webhook', id: 'whk_none', run: 'other' }])

    const later = await mailer.enqueue({ ...message, subject: 'later' }, { sendAt: Date.now() + hour })
    await again(later.id, 'early')
    const gone = await mailer.enqueue({ ...message, subject: 'gone' }, { sendAt: Date.now() + 300 })
    await mailer.cancel(gone.id)
    await again(gone.id, 'cancelled')
    const moved = await mailer.enqueue({ ...message, subject: 'moved' }, { sendAt: Date.now() + 300 })
    await mailer.reschedule(moved.id, Date.now() + hour)
    await until('the engine is empty', async () => {
      const { waiting, active } = await engine.stats()
      return waiting + active === 0
    })
    await sleep(1_000)
    assert.equal(provider.calls.length, 1)
    assert.equal((await mailer.messages.get(later.id))?.status, 'scheduled')
    assert.equal((await mailer.messages.get(gone.id))?.status, 'cancelled')
    assert.equal((await mailer.messages.get(moved.id))?.status, 'scheduled')

    await mailer.reschedule(moved.id, Date.now())
    await until('sent when it was moved to now', () => provider.calls.length === 2)
    await again(moved.id, 'again')
    await sleep(500)
    assert.equal(provider.calls.length, 2)
  })

  test('the same job given twice runs once, a later one again; higher priorities first, and none before its time', async (t) => {
    const engine = stage(t, newGround()).engine()
    const job = (id: string, more: object = {}) => ({ kind: 'message' as const, id, run: '1', ...more })
    for (const priority of [0, -10, 10, 5]) await engine.enqueue([job(`p${priority}`, { priority })])
    await engine.enqueue([job('p0'), job('delayed', { delay: 1_500, priority: 10 })])
    const began = performance.now()
    const ran: (Job & { readonly at: number })[] = []
    const worker = await engine.work(async (one) => void ran.push({ ...one, at: performance.now() - began }), {
      concurrency: 1,
    })
    await until('all five ran', () => ran.length >= 5)
    await engine.enqueue([job('p0', { run: '2' })])
    await until('the later one ran', () => ran.length >= 6)
    await sleep(300)
    await worker.stop()
    assert.deepEqual(
      ran.slice(0, 4).map(({ id }) => id),
      ['p10', 'p5', 'p0', 'p-10'],
    )
    assert.deepEqual(
      ran.slice(4).map(({ id }) => id),
      ['delayed', 'p0'],
    )
    assert.deepEqual(Object.keys(ran[0]!).sort(), ['at', 'id', 'kind', 'priority'], 'a job is a name and a rank')
  })

  test('a scheduled message is told to an idle worker in time by the engine alone', async (t) => {
    const { provider, mailer: newMailer } = stage(t, newGround())
    const worker = await newMailer()
    worker.work()
    await worker.queue.stats()
    const mailer = await newMailer()
    const sendAt = Date.now() + 1_200
    const { status } = await mailer.enqueue(message, { sendAt })
    assert.equal(status, 'scheduled')
    await until('sent', () => provider.calls.length === 1, 10_000)
    assert.ok(Date.now() >= sendAt)
  })

  test('O7: retries are the ledger’s: the next run comes from its schedule, once', async (t) => {
    const { provider, mailer: newMailer } = stage(t, newGround())
    const at: number[] = []
    const failing = () => {
      at.push(Date.now())
      return fails('connection')({} as never, {} as never)
    }
    provider.will(failing, failing)
    const mailer = await newMailer({ retry: { rounds: 1, schedule: [300, 600] }, queue: { work: true } })
    const { id } = await mailer.enqueue(message)
    await until('sent', async () => (await mailer.messages.get(id))?.status === 'sent')
    await sleep(500)
    assert.equal(provider.calls.length, 3)
    assert.ok(at[1]! - at[0]! >= 300, `${at[1]! - at[0]!}`)
    const record = await mailer.messages.get(id)
    assert.deepEqual(
      record?.attempts.map(({ outcome }) => outcome),
      ['failed', 'failed', 'sent'],
    )
  })

  test('P10: jobs and rows found in the store share one gate of `concurrency`', async (t) => {
    const { provider, mailer: newMailer } = stage(t, newGround())
    const steps = Array.from({ length: 12 }, () => pending())
    provider.will(...steps)
    const sender = await newMailer()
    const early = await Promise.all(numbered(6).map((subject) => sender.enqueue({ ...message, subject })))
    const worker = await newMailer({ queue: { concurrency: 3 } })
    worker.work()
    const late = await Promise.all(numbered(6).map((subject) => sender.enqueue({ ...message, subject })))
    await provider.called(3)
    await sleep(500)
    assert.equal(provider.calls.length, 3)
    for (const step of steps) step.answer()
    await until('all sent', () => provider.calls.length === 12)
    await until('all settled', async () => {
      const records = await Promise.all([...early, ...late].map(({ id }) => sender.messages.get(id)))
      return records.every((record) => record?.status === 'sent')
    })
  })

  test('pause and resume', async (t) => {
    const { provider, mailer: newMailer } = stage(t, newGround())
    const sender = await newMailer()
    const worker = await newMailer()
    worker.work()
    await sender.enqueue(message)
    await until('sent', () => provider.calls.length === 1)
    const pausing = pausesAll ? sender : worker
    await pausing.queue.pause()
    assert.equal((await pausing.queue.stats()).paused, true)
    if (pausesAll) assert.equal((await worker.queue.stats()).paused, true)
    await sender.enqueue(message)
    // One that starts now looks into the store first.
    const second = await newMailer()
    if (pausesAll) second.work()
    await sleep(1_500)
    assert.equal(provider.calls.length, 1)
    if (!pausesAll) {
      second.work()
      await until('sent by a process that is not paused', () => provider.calls.length === 2)
    }
    // Whoever asked for the pause: anybody may end one that holds everywhere.
    await (pausesAll ? second : worker).queue.resume()
    await sender.enqueue(message)
    await until('sent after resume', () => provider.calls.length === 3)
    for (const mailer of [sender, worker, second]) assert.equal((await mailer.queue.stats()).paused, false)
  })

  test('what a worker had taken and not begun when it stopped is told to the others at once', async (t) => {
    const { provider, mailer: newMailer } = stage(t, newGround())
    const hanging = pending()
    provider.will(hanging)
    const sender = await newMailer()
    for (const subject of numbered(3)) await sender.enqueue({ ...message, subject })
    const first = (await newMailer({ queue: { concurrency: 1 } })).work()
    await provider.called(1)
    const second = await newMailer()
    second.work()
    const stopping = first.stop()
    await until('all three are begun', () => provider.calls.length === 3, 20_000)
    hanging.answer()
    await stopping
  })

  test('close({ deadline }) under load: what was begun ends or is given up in time, the rest is another’s, nothing twice', async (t) => {
    const { provider, subjects, mailer: newMailer } = stage(t, newGround())
    const sender = await newMailer()
    const receipts = await Promise.all(numbered(60).map((subject) => sender.enqueue({ ...message, subject })))
    const hanging = pending()
    provider.will(
      hanging,
      ...Array.from({ length: 59 }, () => async () => {
        await sleep(20)
        return {}
      }),
    )
    const first = await newMailer({ queue: { concurrency: 3 } })
    first.work()
    await provider.called(10)
    const { unknown } = await first.close({ deadline: 300 })
    assert.deepEqual(unknown, [receipts.find(({ subject }) => subject === subjects()[0])!.id])
    const handed = provider.calls.length
    await sleep(200)
    assert.equal(provider.calls.length, handed, 'nothing is begun after close')
    const second = await newMailer()
    second.work()
    await until('everything settled', async () => {
      const records = await Promise.all(receipts.map(({ id }) => sender.messages.get(id)))
      return records.every((record) => record?.status === 'sent' || record?.status === 'unknown')
    })
    assert.deepEqual(subjects().sort(), numbered(60).sort())
  })

  test('a job the engine lost: a worker that looks into the store every 30 s finds the message', async (t) => {
    const ground = newGround()
    const clock = fakeClock(Date.now())
    const { provider, mailer: newMailer } = stage(t, ground)
    const worker = await newMailer({ clock })
    worker.work()
    await worker.queue.stats()
    const sender = await newMailer({ clock })
    await sender.enqueue(message, { sendAt: clock.now() + 1_000 })
    await loseJobs(ground)
    await clock.advance(1_500)
    await sleep(300)
    assert.equal(provider.calls.length, 0)
    await clock.advance(28_600)
    await until('found', () => provider.calls.length === 1)
  })

  test('an engine that is down: messages are accepted with a warning and sent from the store; it is used again when it is back', async (t) => {
    const { ground, kill, start: restart } = await newMortalGround()
    const clock = fakeClock(Date.now())
    const { provider, warnings, mailer: newMailer } = stage(t, ground)
    const worker = await newMailer({ clock })
    worker.work()
    const sender = await newMailer({ clock })
    await sender.enqueue(message)
    await until('sent', () => provider.calls.length === 1)
    await kill()
    await until('the worker noticed', () => warnings.length > 0)
    const before = warnings.length
    const { id, status } = await sender.enqueue(message)
    assert.equal(status, 'queued')
    assert.ok(warnings.length > before)
    assert.ok(
      warnings.every(({ code, message: text }) => code === 'STORE_UNAVAILABLE' && /safe in the store/.test(text)),
    )
    await clock.advance(30_000)
    await until('found in the store', async () => (await sender.messages.get(id))?.status === 'sent')
    await restart()
    await until('the engine is back', async () => {
      const engine = engineOf(ground)
      return engine
        .stats()
        .then(
          () => true,
          () => false,
        )
        .finally(() => engine.close())
    })
    await until(
      'the engine tells again',
      async () => {
        const count = provider.calls.length
        await sender.enqueue(message)
        await sleep(1_000)
        return provider.calls.length > count
      },
      60_000,
    )
  })

  test('X7, P9: with its server gone everything still closes, and the process ends', async (t) => {
    const { ground, kill } = await newMortalGround()
    const post = await createSmtpServer()
    t.after(() => post.close())
    const worker = start(t, 'test/queues/programs/worker.ts', {
      ORDERS: JSON.stringify({ ground, smtpUrl: post.url } satisfies Orders),
    })
    await worker.printed(/ready/)
    await kill()
    await sleep(500)
    worker.child.kill('SIGTERM')
    await worker.printed(/closed 0 0 0/)
    assert.equal(await worker.ended, 0, worker.err)
  })

  test('a mailer that never used its engine closes without connecting to it', async () => {
    const ground = newGround()
    const nowhere: Ground =
      ground.kind === 'bullmq'
        ? { ...ground, engineUrl: 'redis://127.0.0.1:1' }
        : { ...ground, engineConfig: { host: '127.0.0.1', port: 1 } }
    const { store, engine, free } = await open(nowhere)
    const mailer = createMailer({ providers: {}, store, queue: { engine } } as never)
    assert.deepEqual(await mailer.close(), { settled: 0, unknown: [], pending: [] })
    await free()
  })
}
