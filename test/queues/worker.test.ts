import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createMailer, type MailerOptions, type MailStore, type Provider } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { type FakeClock, fakeClock } from '../../src/testing/fake-clock.ts'
import { noAccidents } from '../support/accidents.ts'
import { rejection } from '../support/rejection.ts'
import { everything, fails, pending, type ScriptedProvider, scripted } from '../support/scripted-provider.ts'
import { tapped } from '../support/tapped-store.ts'

noAccidents()

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }
const second = 1_000
const minute = 60 * second

function setUp(options: Partial<MailerOptions> = {}, tap: (store: MailStore) => MailStore = (store) => store) {
  const clock = fakeClock()
  const a = scripted('a')
  const store = memory({ clock })
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a },
    clock,
    store: tap(store),
    random: () => 0.5,
    ...(options as object),
  })
  return { mailer, clock, store, a }
}

const subjects = ({ calls }: ScriptedProvider) => calls.map(({ message: { subject } }) => subject)

/** Each hand-over takes its time, as its subject says. */
function timed(clock: FakeClock) {
  const begun: { readonly subject: string; readonly at: number }[] = []
  const provider: Provider = {
    name: 'timed',
    capabilities: everything,
    async send({ message: { subject } }) {
      begun.push({ subject, at: clock.monotonic() })
      await new Promise<void>((resolve) => clock.setTimeout(resolve, Number(subject.split(' ')[0])))
      return { providerMessageId: `p-${begun.length}` }
    },
    close: async () => {},
  }
  return { provider, begun }
}

const tenant = { from: 'hello@acme.example', route: 'timed' } as const

describe('fair between tenants', () => {
  for (const concurrency of [2, 10]) {
    test(`a tenant whose hand-overs are slow leaves places to others (concurrency ${concurrency})`, async () => {
      const clock = fakeClock()
      const { provider, begun } = timed(clock)
      const mailer = createMailer({
        providers: { timed: provider },
        tenants: { slow: tenant, quick: tenant },
        clock,
        queue: { concurrency },
      })
      for (let i = 0; i < 100; i++) await mailer.tenant('slow').enqueue({ ...message, subject: `4000 slow ${i}` })
      await clock.advance(6 * second)
      const began = clock.monotonic()
      await mailer.tenant('quick').enqueue({ ...message, subject: '10 login code' })
      await clock.advance(100)
      const at = begun.find(({ subject }) => subject.includes('code'))?.at
      assert.ok(at !== undefined && at - began <= 50, `it began after ${at === undefined ? 'more' : at - began} ms`)
      await clock.advance(20 * minute)
      assert.equal(begun.length, 101)
    })
  }

  test('a mailer without tenants uses all its places', async () => {
    const clock = fakeClock()
    const { provider, begun } = timed(clock)
    const mailer = createMailer({
      from: 'a@acme.example',
      providers: { timed: provider },
      clock,
      queue: { concurrency: 10 },
    })
    for (let i = 0; i < 30; i++) await mailer.enqueue({ ...message, subject: `1000 ${i}` })
    await clock.advance(10)
    assert.equal(begun.length, 10)
    await clock.advance(5 * second)
    assert.equal(begun.length, 30)
  })

  test('a slow message does not hold what was taken after it', async () => {
    const clock = fakeClock()
    const { provider, begun } = timed(clock)
    const mailer = createMailer({
      from: 'a@acme.example',
      providers: { timed: provider },
      clock,
      queue: { concurrency: 2 },
    })
    for (let i = 0; i < 6; i++) await mailer.enqueue({ ...message, subject: `5000 ${i}` })
    await clock.advance(second)
    // None was taken that could not begin, so priority decides who goes next.
    await mailer.enqueue({ ...message, subject: '1 urgent' }, { priority: 10 })
    await clock.advance(5 * second)
    assert.equal(begun[2]?.subject, '1 urgent')
  })
})

test('a tenant that turns slow all at once leaves places to others all the same', async () => {
  const clock = fakeClock()
  const { provider, begun } = timed(clock)
  const mailer = createMailer({
    providers: { timed: provider },
    tenants: { turning: tenant, other: tenant },
    clock,
    queue: { concurrency: 10 },
  })
  for (let i = 0; i < 50; i++) await mailer.tenant('turning').enqueue({ ...message, subject: `1 quick ${i}` })
  await clock.advance(second)
  assert.equal(begun.length, 50)
  for (let i = 0; i < 100; i++) await mailer.tenant('turning').enqueue({ ...message, subject: `30000 slow ${i}` })
  await clock.advance(second)
  const began = clock.monotonic()
  await mailer.tenant('other').enqueue({ ...message, subject: '10 code' })
  await clock.advance(100)
  const at = begun.find(({ subject }) => subject.includes('code'))?.at
  assert.ok(at !== undefined && at - began <= 50, `it began after ${at === undefined ? 'more' : at - began} ms`)
  await clock.advance(20 * minute)
  assert.equal(begun.length, 151, 'whoever stepped aside came back')
})

test('many who wait for one provider do not keep what takes another behind them', async () => {
  const clock = fakeClock()
  const [a, b] = [scripted('a'), scripted('b')]
  const mailer = createMailer({
    from: 'a@acme.example',
    providers: { a, b },
    limits: { providers: { a: { limit: 1, per: 4 * 60 * minute } } },
    clock,
  })
  for (let i = 0; i < 400; i++) await mailer.enqueue(message, { provider: 'a' })
  await mailer.enqueue(message, { provider: 'b' })
  await clock.advance(5 * minute)
  assert.equal(b.calls.length, 1)
})

describe('pause', () => {
  test('what waits in memory is not lost sight of', async () => {
    const { mailer, clock, a } = setUp()
    await mailer.enqueue(message)
    await mailer.queue.pause()
    await mailer.enqueue(message)
    await clock.advance(minute)
    const before = a.calls.length
    assert.ok(clock.pending > 0, 'a timer that holds the process')
    await mailer.queue.resume()
    await clock.advance(second)
    assert.equal(a.calls.length, 2)
    assert.ok(before < 2)
  })
})

describe('work', () => {
  test('each handle stops its own; the last one stops the worker', async () => {
    const { mailer, clock, a } = setUp({ queue: { work: false } })
    const first = mailer.work()
    const second_ = mailer.work()
    await first.stop()
    await mailer.enqueue(message)
    await clock.advance(second)
    assert.equal(a.calls.length, 1)
    await first.stop()
    await mailer.enqueue(message)
    await clock.advance(second)
    assert.equal(a.calls.length, 2)
    const slow = pending()
    a.will(slow)
    await mailer.enqueue(message)
    await clock.advance(second)
    const stops = [second_.stop(), second_.stop()].map((stop) => stop.then(() => a.calls.length))
    assert.equal(await Promise.race([...stops, clock.advance(second).then(() => 'waits')]), 'waits')
    slow.answer()
    assert.deepEqual(await Promise.all(stops), [3, 3])
    await mailer.enqueue(message)
    await clock.advance(minute)
    assert.equal(a.calls.length, 3)
    assert.equal((await mailer.queue.stats()).working, false)
  })

  test('concurrency is what is asked for, also of a worker that began by itself', async () => {
    const { mailer, clock, a } = setUp({ queue: { concurrency: 1 } })
    a.will(...Array(20).fill(pending()))
    for (let i = 0; i < 20; i++) await mailer.enqueue(message)
    await clock.advance(second)
    assert.equal(a.calls.length, 1)
    const more = mailer.work({ concurrency: 8 })
    await clock.advance(second)
    assert.equal(a.calls.length, 8)
    const most = mailer.work({ concurrency: 12 })
    await clock.advance(second)
    assert.equal(a.calls.length, 12)
    void most.stop()
    void more.stop()
    await clock.advance(second)
    assert.equal((await mailer.queue.stats()).working, false)
    assert.equal(a.calls.length, 12)
    const closing = mailer.close({ deadline: 0 })
    await clock.advance(10 * second)
    assert.equal((await closing).unknown.length, 12)
  })
})

describe('a queued message', () => {
  test('is not hurried by the time its caller had', async () => {
    const clock = fakeClock()
    const { provider } = timed(clock)
    const mailer = createMailer({ from: 'a@acme.example', providers: { timed: provider }, clock })
    const { id } = await mailer.enqueue({ ...message, subject: '700' }, { timeout: 500 })
    await clock.advance(second)
    assert.equal((await mailer.messages.get(id))?.status, 'sent')
  })

  test('that no worker may ever send is refused: not before sendAt, and not at or after notAfter', async () => {
    const { mailer, clock } = setUp()
    const sendAt = clock.now() + minute
    for (const notAfter of [sendAt, sendAt - 1]) {
      const error = await rejection(mailer.enqueue(message, { sendAt, notAfter }))
      assert.deepEqual([error.code, error.issues[0]?.path], ['VALIDATION_ERROR', 'options.sendAt'])
    }
    for (const day of ['2027-02-31', '2027-02-29T10:00:00Z', '2027-13-01', '2027-04-31']) {
      assert.equal((await rejection(mailer.enqueue(message, { sendAt: day }))).code, 'VALIDATION_ERROR', day)
    }
    await mailer.enqueue(message, { sendAt: '2028-02-29T10:00:00+02:00' })
  })

  test('that is cancelled leaves no timer for it', async () => {
    const { mailer, clock } = setUp()
    const { id } = await mailer.enqueue(message, { sendAt: clock.now() + 10 * second })
    await clock.advance(second)
    await mailer.cancel(id)
    await clock.advance(second)
    const { held, next } = await memory({ clock }).due(1, { owner: 'o', ms: 1 })
    assert.deepEqual([held, next], [[], undefined])
    await clock.advance(minute)
    assert.equal((await mailer.queue.stats()).waiting, 0)
  })

  test('that a worker has just taken says so, instead of that it is further', async () => {
    const { mailer, clock, store } = setUp({ queue: { work: false } })
    const { id } = await mailer.enqueue(message)
    await store.due(1, { owner: 'another', ms: minute })
    await clock.advance(1)
    const error = await rejection(mailer.cancel(id))
    assert.equal(error.code, 'INVALID_STATE')
    assert.match(error.message, /A worker has just taken the message; ask again in a moment/)
  })

  test('in a queue that is full stays the dead letter it was, and can be retried later', async () => {
    let full = false
    const { mailer, clock, a, store } = setUp({ queue: { work: false } }, (inner) =>
      tapped(inner, {
        before: ({ name, args }) => {
          const [row] = args as [{ status?: string }?]
          if (full && name === 'settle' && row?.status === 'queued') throw new (class extends Error {})('full')
        },
      }),
    )
    const worker = mailer.work()
    a.will(fails('sender'))
    const { id } = await mailer.enqueue(message)
    await clock.advance(second)
    await worker.stop()
    assert.equal((await store.read(id))?.status, 'failed')
    full = true
    await rejection(mailer.messages.retry(id))
    full = false
    await clock.advance(minute)
    assert.equal((await mailer.messages.retry(id)).status, 'queued')
  })
})

test('what cannot be retried or resolved is not said to be in a worker’s hands', async () => {
  const { mailer, a } = setUp({ retry: { rounds: 1 } })
  a.will(fails('sender'))
  const { id } = await rejection(mailer.send(message))
  const retried = await rejection(mailer.messages.retry(id!))
  assert.match(retried.message, /^Only a message of the queue that failed/)
  const resolved = await rejection(mailer.resolve(id!, 'sent'))
  assert.match(resolved.message, /^Only a message with recipients in the state unknown/)
})

test('an id that is no text is nobody’s message', async () => {
  const { mailer } = setUp()
  for (const id of [undefined, null, 7, ['a'], {}, '']) {
    assert.equal(await mailer.messages.get(id as never), undefined)
    for (const call of [mailer.cancel, mailer.messages.retry]) {
      assert.equal((await rejection(call(id as never))).code, 'NOT_FOUND')
    }
    assert.equal((await rejection(mailer.reschedule(id as never, Date.now()))).code, 'NOT_FOUND')
    assert.equal((await rejection(mailer.resolve(id as never, 'failed'))).code, 'NOT_FOUND')
  }
  for (const by of [undefined, {}, { messageId: 7 }, { messageId: 'a', providerMessageId: 'b' }, 'x']) {
    assert.equal((await rejection(mailer.messages.find(by as never))).code, 'VALIDATION_ERROR')
  }
})

test('a route with room is used by the tenant’s other messages while one waits for a limit', async () => {
  const clock = fakeClock()
  const [bulk, tx] = [scripted('bulk'), scripted('tx')]
  const mailer = createMailer({
    from: 'a@acme.example',
    providers: { bulk, tx },
    route: ((_: unknown, { stream }: { stream: string }) => (stream === 'transactional' ? 'tx' : 'bulk')) as never,
    limits: { providers: { bulk: { limit: 1, per: 24 * 60 * minute } } },
    clock,
  })
  for (let i = 0; i < 5; i++) await mailer.enqueue(message, { stream: 'marketing' as never })
  await clock.advance(second)
  for (let i = 0; i < 10; i++) {
    await mailer.enqueue({ ...message, subject: `code ${i}` })
    await clock.advance(2 * second)
  }
  assert.deepEqual(
    subjects(tx),
    Array.from({ length: 10 }, (_, i) => `code ${i}`),
  )
})
