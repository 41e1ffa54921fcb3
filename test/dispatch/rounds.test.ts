import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory } from '../../providers/memory.ts'
import {
  createMailer,
  failover,
  MailError,
  type MailerOptions,
  type Policy,
  type Receipt,
  type SendOptions,
} from '../../src/index.ts'
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
  unknown,
} from '../support/scripted-provider.ts'

const message = { to: ['ada@example.com'], subject: 'Hi', text: 'Hello' }
const three = { ...message, to: ['ada@example.com', 'bob@example.com'], cc: 'eve@example.com' }

/** A mailer with providers a, b, … in that order, under a clock that stands still. */
function setUp(providers: readonly ScriptedProvider[], options: Partial<MailerOptions> = {}) {
  const clock = fakeClock()
  const byName = Object.fromEntries(providers.map((provider) => [provider.name, provider]))
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: byName,
    route: failover(...Object.keys(byName)),
    clock,
    random: () => 0.5,
    ...options,
  })
  /** Sends, and moves time on until the call has settled. */
  const settle = async (input: typeof message | typeof three = message, given?: SendOptions) => {
    let open = true
    const call = mailer.send(input, given).finally(() => {
      open = false
    })
    call.catch(() => undefined)
    while (open) await clock.advance(50)
    return call
  }
  return { mailer, clock, settle }
}

test('O7: at most three rounds, each provider once a round, in order', async () => {
  const a = scripted('a')
  const b = scripted('b')
  a.will(...Array(9).fill(fails()))
  b.will(...Array(9).fill(fails()))
  const { settle } = setUp([a, b])
  const error = await rejection(settle())
  assert.equal(error.code, 'SEND_FAILED')
  assert.equal(error.outcome, 'failed')
  assert.deepEqual(
    error.receipt?.attempts.map(({ provider, number }) => `${number}${provider}`),
    ['1a', '2b', '3a', '4b', '5a', '6b'],
  )
  assert.deepEqual(
    a.calls.map(({ attempt }) => attempt),
    [1, 3, 5].map((number) => ({ number, provider: 'a' })),
  )
})

test('O7: full jitter: the pause before round n is a random part of base * 2^(n - 2), and never longer than told', async () => {
  for (const [random, expected] of [
    [0, [0, 1, 2]],
    [0.5, [0, 500, 1_500]],
    [0.999999, [0, 1_000, 2_000]],
  ] as const) {
    const a = scripted('a')
    const starts: number[] = []
    const { settle, clock } = setUp([a], { random: () => random, retry: { base: 1_000, longest: 1_000 } })
    const began = clock.monotonic()
    a.will(
      ...Array(3).fill(() => {
        starts.push(Math.round(clock.monotonic() - began))
        return fails()({} as never, {} as never)
      }),
    )
    await rejection(settle())
    const expectedAt = random === 0.5 ? [0, 500, 1_000] : expected
    assert.deepEqual(starts, expectedAt)
  }
})

test('O6: only after `failed` does anybody else get the message, and the same one again only where time may help', async () => {
  const again = ['connection', 'timeout', 'transient', 'throttled'] as const
  const never = ['login', 'account', 'sender', 'configuration', 'recipient', 'content', 'size', 'aborted'] as const
  for (const kind of [...again, ...never]) {
    const a = scripted('a')
    a.will(fails(kind), fails(kind), fails(kind))
    const { settle } = setUp([a])
    await rejection(settle())
    assert.equal(a.calls.length, (again as readonly string[]).includes(kind) ? 3 : 1, kind)
  }
  for (const [step, code] of [
    [rejects, 'REJECTED'],
    [unknown, 'OUTCOME_UNKNOWN'],
  ] as const) {
    const a = scripted('a')
    const b = scripted('b')
    a.will(step)
    const { settle } = setUp([a, b])
    const error = await rejection(settle())
    assert.equal(error.code, code)
    assert.equal(a.calls.length + b.calls.length, 1)
  }
})

test('O7: Retry-After is honoured before the same provider is asked again; another one need not wait', async () => {
  const a = scripted('a')
  const times: number[] = []
  const { settle, clock } = setUp([a])
  const throttled = () => {
    times.push(clock.monotonic())
    return fails('throttled', { retryAfter: 7_000 })({} as never, {} as never)
  }
  a.will(throttled, throttled)
  await settle()
  assert.ok(times[1]! - times[0]! >= 7_000)

  const b = scripted('b')
  const c = scripted('c')
  b.will(fails('throttled', { retryAfter: 7_000 }), fails('throttled', { retryAfter: 7_000 }))
  const both = setUp([b, c])
  const receipt = await both.settle()
  assert.equal(receipt.provider, 'c')
  assert.equal(both.clock.monotonic() < 1_000, true)
})

test('a Retry-After that is nonsense, or longer than we wait, does not hang the call', async () => {
  for (const retryAfter of [Number.NaN, Number.POSITIVE_INFINITY, -5, 1e15]) {
    const a = scripted('a')
    a.will(...Array(3).fill(fails('throttled', { retryAfter })))
    const { settle, clock } = setUp([a])
    assert.equal((await rejection(settle())).code, 'SEND_FAILED')
    assert.ok(clock.monotonic() <= 30_050, `${retryAfter}`)
  }
})

test('inside the deadline: a pause that would pass it is not begun', async () => {
  const a = scripted('a')
  a.will(fails('throttled', { retryAfter: 20_000 }))
  const { settle, clock } = setUp([a])
  const error = await rejection(settle(message, { timeout: 10_000 }))
  assert.equal(error.code, 'SEND_FAILED')
  assert.equal(error.retryAfter, 20_000)
  assert.ok(clock.monotonic() < 1_000)
})

test('O5: partial acceptance: the accepted are never handed over again, the others go on', async () => {
  const a = scripted('a')
  const b = scripted('b')
  a.will(partly({ 'bob@example.com': 'failed', 'eve@example.com': 'rejected' }))
  const { settle } = setUp([a, b])
  const receipt = await settle(three)
  assert.deepEqual(handed(a), [['ada@example.com', 'bob@example.com', 'eve@example.com']])
  assert.deepEqual(handed(b), [['bob@example.com']])
  assert.equal(receipt.status, 'partial')
  assert.deepEqual(
    receipt.recipients.map(({ status }) => status),
    ['sent', 'sent', 'rejected'],
  )
  const [repeat] = b.calls
  assert.deepEqual(
    [...repeat!.message.to, ...repeat!.message.cc].map(({ address }) => address),
    ['ada@example.com', 'bob@example.com', 'eve@example.com'],
    'what people see does not change',
  )
})

test('O5: a fallback that cannot mail fewer people than To shows is skipped, and the error says so', async () => {
  const a = scripted('a')
  const b = scripted('b', { envelope: false })
  const c = scripted('c')
  a.will(...Array(3).fill(partly({ 'bob@example.com': 'failed' })))
  c.will(fails('configuration'))
  const { settle } = setUp([a, b, c])
  const receipt = await settle(three)
  assert.equal(b.calls.length, 0)
  assert.deepEqual(handed(c), [['bob@example.com']])
  assert.deepEqual(handed(a).slice(1), [['bob@example.com'], ['bob@example.com']])
  assert.equal(receipt.status, 'partial')
})

test('P2: an unknown recipient holds that recipient only; the certainly failed still go on', async () => {
  const a = scripted('a')
  const b = scripted('b')
  a.will(partly({ 'ada@example.com': 'unknown', 'bob@example.com': 'failed' }))
  const { settle } = setUp([a, b])
  const receipt = await settle(three)
  assert.deepEqual(handed(b), [['bob@example.com']])
  assert.deepEqual(
    receipt.recipients.map(({ status }) => status),
    ['unknown', 'sent', 'sent'],
  )
})

test('P2: resend repeats an uncertain hand-over, and only then', async () => {
  const a = scripted('a')
  const b = scripted('b')
  a.will(unknown)
  const { settle } = setUp([a, b])
  const receipt = await settle(message, { onUnknown: 'resend' })
  assert.deepEqual(
    receipt.attempts.map(({ outcome }) => outcome),
    ['unknown', 'sent'],
  )
  assert.equal(receipt.status, 'sent')
})

test('P2: resend repeats for the uncertain only, never for those who were accepted', async () => {
  const a = scripted('a')
  const b = scripted('b')
  a.will(partly({ 'bob@example.com': 'unknown', 'eve@example.com': 'rejected' }))
  const { settle } = setUp([a, b])
  const receipt = await settle(three, { onUnknown: 'resend' })
  assert.deepEqual(handed(b), [['bob@example.com']])
  assert.deepEqual(
    receipt.recipients.map(({ status }) => status),
    ['sent', 'sent', 'rejected'],
  )
})

test('lossless failover: the error of the last resort names what the skipped fallback lacks', async () => {
  const a = scripted('a')
  const b = scripted('b', { tags: false })
  a.will(fails('configuration'))
  const { mailer } = setUp([a, b])
  const error = await rejection(mailer.send({ ...message, tags: ['x'] }))
  assert.equal(error.code, 'SEND_FAILED')
  assert.equal(error.provider, 'a')
  assert.deepEqual(
    error.issues.map(({ path }) => path),
    ['tags'],
  )
  assert.equal(b.calls.length, 0)
  const plan = await mailer.plan({ ...message, tags: ['x'] })
  assert.deepEqual(
    plan.route.map(({ provider, usable, issues }) => [provider, usable, issues.map(({ path }) => path)]),
    [
      ['a', true, []],
      ['b', false, ['tags']],
    ],
  )
})

test('a fallback that cannot carry it does not turn what may pass into a lasting refusal', async () => {
  const a = scripted('a', { tags: false })
  const b = scripted('b')
  const { mailer, clock } = setUp([a, b])
  b.will(fails('login'))
  await rejection(mailer.send(message, { provider: 'b' }))
  const error = await rejection(mailer.send({ ...message, tags: ['x'] }))
  assert.equal(error.code, 'SEND_FAILED', 'the breaker of b is open')
  assert.equal(error.retryable, true)
  await clock.advance(30_000)
  assert.equal((await mailer.send({ ...message, tags: ['x'] })).provider, 'b')
})

test("onLimit 'refuse' skips a provider out of budget and names the soonest moment; 'wait' waits inside the deadline", async () => {
  const window = { limit: 1, per: 5_000 }
  const a = scripted('a')
  const b = scripted('b')
  const limits = { providers: { a: window, b: { limit: 1, per: 9_000 } } }
  const refusing = setUp([a, b], { limits })
  assert.equal((await refusing.mailer.send(message)).provider, 'a')
  assert.equal((await refusing.mailer.send(message)).provider, 'b')
  const error = await rejection(refusing.mailer.send(message))
  assert.equal(error.code, 'SEND_LIMIT_EXCEEDED')
  assert.ok(error.retryAfter! > 0 && error.retryAfter! <= 5_500, `${error.retryAfter}`)
  assert.equal(error.receipt?.attempts.length, 0)

  const c = scripted('c')
  const waiting = setUp([c], { limits: { providers: { c: window }, onLimit: 'wait' } })
  await waiting.settle()
  const receipt = await waiting.settle()
  assert.equal(receipt.status, 'sent')
  assert.ok(waiting.clock.monotonic() >= 4_500)
  const late = await rejection(waiting.settle(message, { timeout: 1_000 }))
  assert.equal(late.code, 'SEND_LIMIT_EXCEEDED')
  assert.equal(c.calls.length, 2)
})

test('a limit the message alone is over is refused, not waited for', async () => {
  const a = scripted('a')
  const { mailer } = setUp([a], { limits: { providers: { a: { limit: 2, per: 1_000 } }, onLimit: 'wait' } })
  const error = await rejection(mailer.send(three))
  assert.equal(error.code, 'SEND_LIMIT_EXCEEDED')
  assert.equal(error.retryable, false)
  assert.equal(a.calls.length, 0)
})

test('the signal ends every wait before the hand-over: CANCELLED at once, and nothing leaves after it', async () => {
  const waits: Partial<MailerOptions>[] = [
    { random: () => 0.99, retry: { base: 20_000 } },
    { limits: { providers: { a: { limit: 1, per: 20_000 } }, onLimit: 'wait' } },
  ]
  for (const [i, options] of waits.entries()) {
    const a = scripted('a')
    const { mailer, clock } = setUp([a], options)
    if (i === 0) a.will(fails())
    else await mailer.send(message)
    const controller = new AbortController()
    const call = rejection(mailer.send(message, { signal: controller.signal }))
    await clock.advance(5_000)
    assert.equal(a.calls.length, 1)
    controller.abort(new Error('the caller left'))
    const error = await call
    assert.equal(error.code, 'CANCELLED')
    assert.equal(error.receipt?.status, 'cancelled')
    await clock.advance(60_000)
    assert.equal(a.calls.length, 1)
    assert.equal(clock.pending, 0, 'no timer is left')
  }
})

test('a dispatch policy that answers by itself, or passes a delivery on twice, cannot make a second mail', async () => {
  const a = scripted('a')
  const silent = setUp([a], {
    policies: {
      dispatch: [
        () =>
          async ({ id }) =>
            ({ id }) as Receipt,
      ],
    },
  })
  const error = await rejection(silent.settle())
  assert.equal(error.code, 'CONFIGURATION_ERROR')
  assert.equal(error.receipt?.status, 'failed')
  assert.equal(a.calls.length, 0)

  for (const together of [false, true]) {
    const b = scripted('b')
    const twice: Policy = (next) => async (delivery) => {
      if (together) return (await Promise.all([next(delivery), next(delivery)]))[0]
      await next(delivery)
      return next(delivery)
    }
    const { settle } = setUp([b], { policies: { dispatch: [twice] } })
    const receipt = await settle()
    assert.equal(receipt.status, 'sent')
    assert.equal(b.calls.length, 1)
  }
})

test('a policy that gives up on `next` neither hides a mail that left nor lets one leave later', async () => {
  const impatient =
    (patience: Promise<unknown>): Policy =>
    (next) =>
    (delivery) => {
      const inner = next(delivery)
      inner.catch(() => undefined)
      return Promise.race([
        inner,
        patience.then(() => {
          throw new MailError('SEND_FAILED', 'too slow', { outcome: 'failed', kind: 'transient' })
        }),
      ])
    }
  const a = scripted('a')
  const b = scripted('b')
  const slow = pending()
  a.will(slow)
  const inFlight = setUp([a, b], { policies: { dispatch: [impatient(a.called())] } })
  const call = inFlight.settle()
  await a.called()
  slow.answer()
  assert.equal((await call).status, 'sent')
  assert.equal(a.calls.length + b.calls.length, 1)

  const c = scripted('c')
  const gate = Promise.withResolvers<void>()
  const held: Policy = (next) => async (delivery) => {
    if (delivery.attempt?.number === 1 && c.calls.length === 0) await gate.promise
    return next(delivery)
  }
  const late = setUp([c], { retry: { rounds: 1 }, policies: { dispatch: [impatient(Promise.resolve()), held] } })
  const error = await rejection(late.settle())
  assert.equal(error.receipt?.status, 'failed')
  gate.resolve()
  await late.clock.advance(1_000)
  assert.equal(c.calls.length, 0)
})

test('retry options that are undefined leave the defaults', async (t) => {
  const outbox = memory()
  const retry = { rounds: undefined, base: undefined, longest: undefined, schedule: undefined }
  const mailer = createMailer({ providers: { outbox }, from: 'a@acme.example', retry })
  t.after(() => mailer.close())
  const { status } = await mailer.send({ to: 'ada@example.com', subject: 'Hi', text: 'x' })
  assert.equal(status, 'sent')
})
