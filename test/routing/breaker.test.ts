import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, failover, type MailError, type MailerOptions } from '../../src/index.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { fails, pending, rejects, type Step, scripted, unknown } from '../support/scripted-provider.ts'

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }

function setUp(options: Partial<MailerOptions> = {}) {
  const clock = fakeClock()
  const a = scripted('a')
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a },
    clock,
    retry: { rounds: 1 },
    ...(options as object),
  })
  const health: string[] = []
  mailer.on('health', ({ provider, tenant, state, kind }) =>
    health.push([provider, tenant, state, kind].filter(Boolean).join(' ')),
  )
  const send = async (tenant?: string) => {
    const call = tenant === undefined ? mailer.send(message) : mailer.tenant(tenant).send(message)
    return call.then(
      () => 'sent',
      (error: MailError) => error.code,
    )
  }
  return { mailer, clock, a, health, send }
}

test('O8: five network failures in a row open it; a skipped message says for how long', async () => {
  for (const kind of ['connection', 'timeout'] as const) {
    const { a, send, mailer, health } = setUp()
    a.will(...Array(5).fill(fails(kind)))
    for (let i = 0; i < 5; i++) await send()
    assert.deepEqual(health, [`a open ${kind}`])
    const error = await mailer.send(message).catch((error: MailError) => error)
    assert.equal('code' in error && error.code, 'SEND_FAILED')
    assert.equal('retryAfter' in error && error.retryAfter, 30_000)
    assert.equal(a.calls.length, 5)
    assert.equal((await mailer.plan(message)).route[0]?.resting, 30_000)
  }
})

test('O8: refusals of a message and throttling do not count, and prove that the provider is there', async () => {
  const harmless: Step[] = [fails('transient'), fails('throttled'), rejects, fails('sender'), fails('content')]
  for (const step of harmless) {
    const { a, clock, send, health } = setUp()
    const sendOften = async (times: number) => {
      for (let i = 0; i < times; i++) {
        await send()
        // A provider that throttles is given time between two messages.
        await clock.advance(20_000)
      }
    }
    a.will(...Array(20).fill(step))
    await sendOften(20)
    assert.equal(a.calls.length, 20)
    a.will(...Array(4).fill(fails('connection')), step, ...Array(4).fill(fails('connection')))
    await sendOften(9)
    assert.deepEqual(
      health.filter((event) => event.includes('open')),
      [],
    )
  }
})

test('a lost login or a closed account opens it at once, with a health event each time', async () => {
  for (const kind of ['login', 'account'] as const) {
    const { a, send, health } = setUp()
    a.will(fails(kind))
    await send()
    assert.equal(await send(), 'SEND_FAILED')
    assert.equal(a.calls.length, 1)
    assert.deepEqual(health, [`a open ${kind}`])
  }
})

test('half open: one probe at a time, whoever else comes is told to wait', async () => {
  const { a, send, clock, health } = setUp()
  a.will(fails('login'))
  await send()
  await clock.advance(30_000)
  const probe = pending()
  a.will(probe)
  const first = send()
  await a.called(2)
  assert.deepEqual(await Promise.all([send(), send(), send()]), ['SEND_FAILED', 'SEND_FAILED', 'SEND_FAILED'])
  assert.equal(a.calls.length, 2)
  probe.answer()
  assert.equal(await first, 'sent')
  assert.deepEqual(health, ['a open login', 'a closed'])
  assert.equal(await send(), 'sent')
})

test('a probe that fails opens it again for the whole time', async () => {
  const { a, send, clock } = setUp()
  a.will(fails('login'), fails('connection'))
  await send()
  await clock.advance(30_000)
  await send()
  await clock.advance(29_000)
  await send()
  assert.equal(a.calls.length, 2)
  await clock.advance(1_000)
  assert.equal(await send(), 'sent')
})

test('a hand-over that began before it opened does not end the probe, whichever way it ends', async () => {
  for (const end of [
    (old: ReturnType<typeof pending>) => old.fail(new Error('lost')),
    (old: ReturnType<typeof pending>) => {
      try {
        fails('aborted')({} as never, {} as never)
      } catch (error) {
        old.fail(error)
      }
    },
  ]) {
    const { a, send, clock } = setUp({ timeout: 600_000 })
    const old = pending()
    const probe = pending()
    a.will(old, fails('login'), probe)
    const first = send()
    await a.called(1)
    await send()
    await clock.advance(30_000)
    const probing = send()
    await a.called(3)
    end(old)
    await first
    await send()
    assert.equal(a.calls.length, 3, 'no second probe beside the first')
    probe.answer()
    assert.equal(await probing, 'sent')
  }
})

test('a probe that never reaches the provider leaves the place to the next one', async () => {
  let refuse = false
  const { a, send, clock } = setUp({
    policies: {
      dispatch: [
        (next) => (delivery) => {
          if (refuse) throw new TypeError('policy')
          return next(delivery)
        },
      ],
    },
  })
  a.will(fails('login'))
  await send()
  await clock.advance(30_000)
  refuse = true
  assert.equal(await send(), 'CONFIGURATION_ERROR')
  refuse = false
  assert.equal(await send(), 'sent')
})

test('P8: one tenant’s breaker is not another’s, even at one account; two providers have two', async () => {
  const config = { from: 'hello@acme.example', route: 'a' }
  const { a, send } = setUp({ tenants: { one: config, two: config } })
  a.will(fails('login'))
  await send('one')
  assert.equal(await send('one'), 'SEND_FAILED')
  assert.equal(await send('two'), 'sent')

  const clock = fakeClock()
  const b = scripted('b')
  const c = scripted('c')
  const mailer = createMailer({ from: 'x@acme.example', providers: { b, c }, route: failover('b', 'c'), clock })
  b.will(fails('login'))
  assert.equal((await mailer.send(message)).provider, 'c')
  const receipt = await mailer.send(message)
  assert.deepEqual(
    receipt.attempts.map(({ provider }) => provider),
    ['c'],
  )
})

test('an uncertain hand-over counts against the provider, a caller’s abort does not', async () => {
  const { a, send } = setUp()
  a.will(...Array(5).fill(unknown))
  for (let i = 0; i < 5; i++) assert.equal(await send(), 'OUTCOME_UNKNOWN')
  assert.equal(await send(), 'SEND_FAILED')
  assert.equal(a.calls.length, 5)

  const deaf = setUp({ timeout: 1_000 })
  deaf.a.will(...Array.from({ length: 5 }, () => pending()))
  for (let i = 0; i < 5; i++) {
    const call = deaf.send()
    await deaf.a.called(i + 1)
    await deaf.clock.advance(2_000)
    assert.equal(await call, 'OUTCOME_UNKNOWN')
  }
  assert.equal(await deaf.send(), 'SEND_FAILED', 'who lets five deadlines pass is left alone')

  const patient = setUp()
  for (let i = 0; i < 10; i++) {
    patient.a.will(pending())
    const controller = new AbortController()
    const call = patient.mailer.send(message, { signal: controller.signal }).catch((error: MailError) => error)
    await patient.a.called(i + 1)
    controller.abort()
    await patient.clock.advance(300)
    await call
  }
  assert.equal(await patient.send(), 'sent')
})
