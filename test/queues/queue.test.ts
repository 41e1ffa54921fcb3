import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, failover, MailError, type MailerOptions, type Policy } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rejection } from '../support/rejection.ts'
import {
  fails,
  handed,
  partly,
  pending,
  rejects,
  type ScriptedProvider,
  scripted,
} from '../support/scripted-provider.ts'

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }
const minute = 60_000
const hour = 60 * minute

function setUp(options: Partial<MailerOptions> = {}, providers: readonly ScriptedProvider[] = [scripted('a')]) {
  const clock = fakeClock()
  const store = memory({ clock })
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: Object.fromEntries(providers.map((provider) => [provider.name, provider])),
    route: failover(...providers.map(({ name }) => name)),
    clock,
    store,
    random: () => 0.5,
    ...(options as object),
  })
  const statusOf = async (id: string, tenant?: string) =>
    (await mailer.messages.get(id, tenant === undefined ? {} : { tenant }))?.status
  return { mailer, clock, store, a: providers[0]!, statusOf }
}

const subjects = ({ calls }: ScriptedProvider) => calls.map(({ message: { subject } }) => subject)

test('enqueue accepts and answers at once; the queue dispatches', async () => {
  const { mailer, clock, a, statusOf } = setUp()
  const receipt = await mailer.enqueue(message)
  assert.equal(receipt.status, 'queued')
  await clock.advance(1)
  assert.equal(await statusOf(receipt.id), 'sent')
  assert.equal(a.calls.length, 1)
})

test('a scheduled message leaves at its time and not before, even after the wall clock stepped', async () => {
  const { mailer, clock, a, statusOf } = setUp()
  const { id, status } = await mailer.enqueue(message, { sendAt: clock.now() + 2 * hour })
  assert.equal(status, 'scheduled')
  await clock.advance(2 * hour - 1_000)
  assert.equal(a.calls.length, 0)
  await clock.advance(31_000)
  assert.equal(await statusOf(id), 'sent')
})

test('higher priorities leave first', async () => {
  const { mailer, clock, a } = setUp({ queue: { work: false, concurrency: 1 } })
  for (const priority of [0, -10, 10, 5]) await mailer.enqueue({ ...message, subject: `p${priority}` }, { priority })
  assert.deepEqual(await mailer.queue.stats(), { working: false, paused: false, active: 0, waiting: 4 })
  mailer.work()
  await clock.advance(1_000)
  assert.deepEqual(subjects(a), ['p10', 'p5', 'p0', 'p-10'])
  assert.deepEqual(await mailer.queue.stats(), { working: true, paused: false, active: 0, waiting: 0 })
})

test('tenants take turns: a thousand of one do not delay the one of another', async () => {
  const a = scripted('a')
  const config = { from: 'hello@acme.example', route: 'a' }
  const { mailer, clock } = setUp({ tenants: { big: config, small: config }, queue: { work: false, concurrency: 1 } }, [
    a,
  ])
  for (let i = 0; i < 1_000; i++) await mailer.tenant('big').enqueue(message)
  await mailer.tenant('small').enqueue(message)
  mailer.work()
  await clock.advance(1_000)
  const position = a.calls.findIndex(({ tenant }) => tenant === 'small')
  assert.ok(position >= 0 && position <= 2, `position ${position}`)
  assert.equal(a.calls.length, 1_001)
})

test('P10: at most `concurrency` hand-overs at a time', async () => {
  const { mailer, clock, a } = setUp({ queue: { concurrency: 3 } })
  const steps = Array.from({ length: 10 }, () => pending())
  a.will(...steps)
  for (let i = 0; i < 10; i++) await mailer.enqueue(message)
  await clock.advance(100)
  assert.equal(a.calls.length, 3)
  steps[1]!.answer()
  await clock.advance(1)
  assert.equal(a.calls.length, 4)
  for (const step of steps) step.answer()
  await clock.advance(1)
  assert.equal(a.calls.length, 10)
})

test('O7: the long schedule: later runs until it works, and a dead letter with its content when it never does', async () => {
  const schedule = [minute, hour, 8 * hour]
  const { mailer, clock, a, statusOf, store } = setUp({ retry: { rounds: 1, schedule } })
  const at: number[] = []
  const failing = () => {
    at.push(Math.round(clock.monotonic() / minute))
    return fails('connection')({} as never, {} as never)
  }
  a.will(...Array(4).fill(failing))
  const { id } = await mailer.enqueue(message)
  await clock.advance(30_000)
  assert.equal(await statusOf(id), 'queued')
  assert.equal((await mailer.messages.get(id))?.lastError?.code, 'SEND_FAILED', 'it says why it waits')
  await clock.advance(12 * hour)
  assert.equal(await statusOf(id), 'failed')
  assert.equal(at.length, 4)
  assert.deepEqual(
    at.map((moment) => moment - at[0]!).map((moment) => Math.round(moment / 60)),
    [0, 0, 1, 9],
  )
  assert.ok((await store.read(id))?.work?.message, 'kept for a retry by hand')
})

test('a lost login, a closed account or a timeout is waited for; what nothing mends ends at once', async () => {
  for (const kind of ['login', 'account', 'aborted', 'connection', 'throttled'] as const) {
    const { mailer, clock, a, statusOf } = setUp({ retry: { rounds: 1, schedule: [minute] } })
    a.will(fails(kind))
    const { id } = await mailer.enqueue(message)
    await clock.advance(1_000)
    assert.equal(await statusOf(id), 'queued', kind)
    await clock.advance(2 * minute)
    assert.equal(await statusOf(id), 'sent', kind)
  }
  for (const step of [fails('sender'), fails('configuration'), fails('size'), rejects]) {
    const { mailer, clock, a, statusOf } = setUp()
    a.will(step)
    const { id } = await mailer.enqueue(message)
    await clock.advance(24 * hour)
    assert.match((await statusOf(id))!, /^(failed|rejected)$/)
    assert.equal(a.calls.length, 1)
  }
})

test('a Retry-After beyond all patience does not park a message for ever', async () => {
  for (const retryAfter of [1e18, Number.NaN, Number.POSITIVE_INFINITY]) {
    const { mailer, clock, a, statusOf } = setUp({ retry: { rounds: 1, schedule: [minute] } })
    a.will(fails('throttled', { retryAfter }))
    const { id } = await mailer.enqueue(message)
    await clock.advance(25 * hour)
    assert.equal(await statusOf(id), 'sent', `${retryAfter}`)
  }
})

test('D5: a queued message is never sent at or after notAfter', async () => {
  const { mailer, clock, a, statusOf } = setUp({ retry: { rounds: 1, schedule: [10 * minute, 10 * minute] } })
  a.will(fails('connection'), fails('connection'))
  const { id } = await mailer.enqueue(message, { notAfter: clock.now() + 15 * minute })
  await clock.advance(3 * hour)
  assert.match((await statusOf(id))!, /^(failed|expired)$/)
  assert.equal(a.calls.length, 2)
  const later = setUp({ queue: { work: false } })
  const at = later.clock.now() + hour
  const waits = await later.mailer.enqueue(message, { sendAt: at, notAfter: at + 1 })
  await later.clock.advance(hour + 1)
  later.mailer.work()
  await later.clock.advance(minute)
  assert.equal(await later.statusOf(waits.id), 'expired')
  assert.equal(later.a.calls.length, 0)
})

test('cancel: never both cancelled and sent, whenever it comes', async () => {
  let cancelled = 0
  let sent = 0
  for (let turns = 0; turns < 24; turns++) {
    const { mailer, a, statusOf, clock } = setUp({ queue: { work: false } })
    const { id } = await mailer.enqueue(message, { idempotencyKey: 'k' })
    mailer.work()
    for (let i = 0; i < turns; i++) await Promise.resolve()
    const end = await mailer.cancel(id).catch((error: MailError) => error)
    await clock.advance(1_000)
    if (end instanceof MailError) {
      assert.equal(end.code, 'INVALID_STATE')
      assert.equal(await statusOf(id), 'sent')
      assert.equal(a.calls.length, 1)
      sent++
    } else {
      assert.equal(end.status, 'cancelled')
      assert.equal(end.recipients[0]?.status, 'failed')
      assert.equal(await statusOf(id), 'cancelled')
      assert.equal(a.calls.length, 0)
      cancelled++
      assert.equal((await mailer.enqueue(message, { idempotencyKey: 'k' })).replayed, false, 'the key is free')
    }
  }
  const late = setUp({ queue: { work: false } })
  const { id } = await late.mailer.enqueue(message)
  late.mailer.work()
  await late.clock.advance(1)
  assert.equal((await rejection(late.mailer.cancel(id))).code, 'INVALID_STATE')
  assert.ok(cancelled > 0, `${cancelled} cancelled, ${sent} sent`)
})

test('P2: cancelling a message an earlier run has half mailed says partial, and keeps the key', async () => {
  const { mailer, clock, a } = setUp({ retry: { rounds: 1, schedule: [hour, hour] } })
  a.will(partly({ 'bob@example.com': 'failed' }), fails('connection'))
  const both = { ...message, to: ['ada@example.com', 'bob@example.com'] }
  const { id } = await mailer.enqueue(both, { idempotencyKey: 'k' })
  await clock.advance(30 * minute)
  const before = a.calls.length
  const receipt = await mailer.cancel(id)
  assert.equal(receipt.status, 'partial')
  assert.deepEqual(
    receipt.recipients.map(({ status }) => status),
    ['sent', 'failed'],
  )
  const again = await mailer.enqueue(both, { idempotencyKey: 'k' })
  assert.equal(again.id, id)
  await clock.advance(24 * hour)
  assert.equal(a.calls.length, before)
  assert.deepEqual(handed(a).slice(1).flat().includes('ada@example.com'), false)
})

test('cancel and reschedule by another: an id of somebody else is NOT_FOUND', async () => {
  const config = { from: 'hello@acme.example', route: 'a' }
  const { mailer } = setUp({ tenants: { one: config, two: config }, requireTenant: false, queue: { work: false } })
  const { id } = await mailer.tenant('one').enqueue(message)
  assert.equal((await rejection(mailer.tenant('two').cancel(id))).code, 'NOT_FOUND')
  assert.equal((await rejection(mailer.cancel(id))).code, 'NOT_FOUND')
  assert.equal((await rejection(mailer.cancel('msg_none'))).code, 'NOT_FOUND')
  assert.equal((await mailer.tenant('one').cancel(id)).status, 'cancelled')
})

test('P3: a recipient suppressed between accept and dispatch, or between two rounds, is not mailed', async () => {
  const both = { ...message, to: ['ada@example.com', 'bob@example.com'], cc: 'eve@example.com' }
  const { mailer, clock, a, statusOf } = setUp({ queue: { work: false } })
  const { id } = await mailer.enqueue(both)
  await mailer.suppressions.add({ address: 'BOB@example.com' })
  mailer.work()
  await clock.advance(1)
  assert.deepEqual(handed(a), [['ada@example.com', 'eve@example.com']])
  assert.deepEqual(
    a.calls[0]?.message.to.map(({ address }) => address),
    ['ada@example.com'],
  )
  assert.equal(await statusOf(id), 'sent')

  // Of the two tried again in the second round, one objects in between; then both.
  for (const objectors of [['bob@example.com'], ['bob@example.com', 'eve@example.com']]) {
    const b = scripted('b')
    b.will(async (delivery, context) => {
      for (const address of objectors) await between.mailer.suppressions.add({ address })
      return partly({ 'bob@example.com': 'failed', 'eve@example.com': 'failed' })(delivery, context)
    })
    const between = setUp({}, [b])
    const call = between.mailer.send(both)
    await b.called()
    await between.clock.advance(10_000)
    const receipt = await call
    const left = ['eve@example.com'].filter((address) => !objectors.includes(address))
    assert.deepEqual(handed(b).slice(1), left.length > 0 ? [left] : [], 'and nothing leaves without recipients')
    assert.equal(receipt.status, 'sent', 'the suppressed do not count')
    assert.equal(receipt.recipients.filter(({ status }) => status === 'suppressed').length, objectors.length)
  }

  const gone = setUp({ queue: { work: false }, limits: { quota: { limit: 1, per: hour } } })
  const last = await gone.mailer.enqueue(message, { idempotencyKey: 'k' })
  await gone.mailer.suppressions.add({ address: 'ada@example.com' })
  gone.mailer.work()
  await gone.clock.advance(1)
  assert.equal(await gone.statusOf(last.id), 'suppressed')
  assert.equal(gone.a.calls.length, 0)
  assert.equal(
    (await gone.mailer.enqueue({ ...message, to: 'bob@example.com' })).status,
    'queued',
    'its quota came back',
  )
})

test('a run survives the `tenants` function failing or hanging, and goes on when it answers again', async () => {
  for (const how of ['throws', 'rejects', 'hangs'] as const) {
    let broken = false
    const config = { from: 'hello@acme.example', route: 'a' }
    const { mailer, clock, a, statusOf } = setUp({
      queue: { work: false },
      tenants: (id) => {
        if (!broken) return id === 'acme' ? config : undefined
        if (how === 'throws') throw new Error('db password=secret')
        return how === 'rejects' ? Promise.reject(new Error('db')) : new Promise(() => undefined)
      },
    })
    const { id } = await mailer.tenant('acme').enqueue(message)
    broken = true
    mailer.tenants.invalidate('acme')
    mailer.work()
    await clock.advance(2 * minute)
    assert.equal(await statusOf(id, 'acme'), 'queued', how)
    broken = false
    await clock.advance(5 * minute)
    assert.equal(await statusOf(id, 'acme'), 'sent', how)
    assert.equal(a.calls.length, 1)
  }
})

test('a worker of another version that lacks the provider or the tenant waits for one that has it', async () => {
  const providers = { a: scripted('a'), b: scripted('b') }
  const from = 'hello@acme.example'
  for (const [lacks, code] of [
    [{ providers: { a: providers.a }, tenants: { acme: { route: 'a', from } } }, 'NO_PROVIDER'],
    [{ providers, tenants: {} }, 'TENANT_NOT_FOUND'],
  ] as const) {
    const clock = fakeClock()
    const store = memory({ clock })
    const more = { from, route: 'a', store, clock, retry: { rounds: 1, schedule: [minute, hour] }, limits: {} } as const
    const has = { providers, tenants: { acme: { route: 'a', from } } }
    const newer = createMailer({ ...more, ...has, queue: { work: false } } as unknown as MailerOptions)
    const older = createMailer({ ...more, ...lacks, queue: { work: false } } as unknown as MailerOptions)
    const queued = await newer.tenant('acme').enqueue(message, { provider: code === 'NO_PROVIDER' ? 'b' : 'a' })
    const worker = older.work()
    await clock.advance(30_000)
    const row = await store.read(queued.id)
    assert.deepEqual([row?.status, row?.lastError?.code, row?.runs], ['queued', code, 1])
    await worker.stop()
    newer.work()
    await clock.advance(2 * minute)
    assert.equal((await store.read(queued.id))?.status, 'sent')
  }
})

test('a tenant blocked or gone after the accept is not mailed for; the message ends failed, with its quota back', async () => {
  for (const now of [{ route: 'a', mode: 'blocked' as const }, undefined]) {
    let config: object | undefined = { from: 'hello@acme.example', route: 'a' }
    const limits = { quota: { limit: 1, per: hour } }
    const { mailer, clock, a, statusOf, store } = setUp({
      queue: { work: false },
      tenants: () => config as never,
      limits,
      retry: { schedule: [minute, 5 * minute] },
    })
    const { id } = await mailer.tenant('acme').enqueue(message, { idempotencyKey: 'k' })
    config = now
    mailer.tenants.invalidate('acme')
    mailer.work()
    await clock.advance(10 * minute)
    assert.equal(a.calls.length, 0)
    assert.equal((await store.read(id))?.status, 'failed')
    assert.equal(await statusOf(id, 'acme'), 'failed')
    assert.deepEqual(
      (await store.read(id))?.recipients.map(({ status }) => status),
      ['failed'],
    )
    config = { from: 'hello@acme.example', route: 'a' }
    mailer.tenants.invalidate('acme')
    assert.equal((await mailer.tenant('acme').enqueue(message, { idempotencyKey: 'k' })).replayed, false)
  }
})

test('a worker that is stopped gives back what it has not begun, for another to take at once', async () => {
  const { mailer, clock, a, statusOf } = setUp({ queue: { work: false, concurrency: 1 } })
  const slow = pending()
  a.will(slow)
  const first = await mailer.enqueue(message)
  const second = await mailer.enqueue(message)
  const worker = mailer.work()
  await a.called()
  worker.stop()
  slow.answer()
  await clock.advance(1)
  assert.equal(await statusOf(first.id), 'sent')
  assert.equal(await statusOf(second.id), 'queued')
  assert.equal(a.calls.length, 1)
  mailer.work()
  await clock.advance(1)
  assert.equal(await statusOf(second.id), 'sent')
})

test('a worker that was stopped stays stopped until somebody says work again', async () => {
  const { mailer, clock, a } = setUp()
  mailer.work().stop()
  await mailer.enqueue(message)
  await clock.advance(minute)
  assert.equal(a.calls.length, 0)
  mailer.work()
  await clock.advance(1)
  assert.equal(a.calls.length, 1)
})

test('enqueue: a signal that aborted before the accept, and a deadline that passed in it, accept nothing', async () => {
  const { mailer, clock, a } = setUp()
  assert.equal((await rejection(mailer.enqueue(message, { signal: AbortSignal.abort() }))).code, 'CANCELLED')
  const gate = Promise.withResolvers<void>()
  const waiting: Policy = (next) => async (delivery) => {
    await gate.promise
    return next(delivery)
  }
  const slow = setUp({ policies: { accept: [waiting] } })
  const call = rejection(slow.mailer.enqueue(message, { timeout: 1_000 }))
  await slow.clock.advance(1_001)
  gate.resolve()
  await slow.clock.advance(1)
  assert.equal((await call).code, 'SEND_FAILED')
  await clock.advance(minute)
  await slow.clock.advance(minute)
  assert.equal(a.calls.length + slow.a.calls.length, 0)
})
