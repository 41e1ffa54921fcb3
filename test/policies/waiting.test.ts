import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createMailer, failover, type MailerOptions } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rejection } from '../support/rejection.ts'
import { fails, scripted } from '../support/scripted-provider.ts'
import { watched } from '../support/watched-store.ts'

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }

function setUp(options: Partial<MailerOptions> = {}) {
  const clock = fakeClock()
  const a = scripted('a')
  const b = scripted('b')
  let takes = 0
  const store = watched(memory({ clock }), (verb) => {
    if (verb === 'limits.take') takes++
  })
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a, b },
    route: 'a',
    clock,
    store,
    random: () => 0,
    ...(options as object),
  })
  return { a, b, clock, mailer, takes: () => takes }
}

describe("onLimit: 'wait'", () => {
  for (const [what, limits] of [
    ['the quota', { quota: { limit: 1, per: 60_000 } }],
    ['the provider’s budget', { providers: { a: { limit: 1, per: 60_000 } } }],
  ] as const) {
    test(`${what}: calls wait their turn in the order they came, and only the first of them asks the store`, async () => {
      const { a, clock, mailer, takes } = setUp({ limits: { ...limits, onLimit: 'wait' }, timeout: 3_600_000 })
      const calls = Array.from({ length: 20 }, (_, i) => mailer.send({ ...message, subject: `${i}` }))
      await clock.advance(1)
      assert.equal(a.calls.length, 1)
      const before = takes()
      await clock.advance(5 * 62_000)
      assert.equal(a.calls.length, 6)
      // One for each that passed, and one every 10 s: another process may give back what it took.
      assert.ok(takes() - before <= 5 + 7 * 5, `${takes() - before} takes for five that passed`)
      await clock.advance(14 * 62_000)
      assert.deepEqual(
        (await Promise.all(calls)).map(({ subject }) => subject),
        a.calls.map((delivery) => delivery.message.subject),
      )
      assert.deepEqual(
        a.calls.map((delivery) => delivery.message.subject),
        Array.from({ length: 20 }, (_, i) => `${i}`),
      )
    })

    test(`${what}: a call whose deadline comes first is refused, and those behind it go on`, async () => {
      const { a, clock, mailer } = setUp({ limits: { ...limits, onLimit: 'wait' }, timeout: 3_600_000 })
      await mailer.send(message)
      const controller = new AbortController()
      const hasty = rejection(mailer.send(message, { timeout: 1_000 }))
      const first = rejection(mailer.send(message, { signal: controller.signal }))
      const second = mailer.send({ ...message, subject: 'second' })
      await clock.advance(10)
      assert.equal((await hasty).code, 'SEND_LIMIT_EXCEEDED')
      controller.abort()
      assert.equal((await first).code, 'CANCELLED')
      await clock.advance(62_000)
      assert.equal((await second).subject, 'second')
      assert.equal(a.calls.length, 2)
    })
  }

  test('another provider with room is taken first', async () => {
    const { a, b, clock, mailer } = setUp({
      route: failover('a', 'b') as never,
      limits: { providers: { a: { limit: 1, per: 60_000 } }, onLimit: 'wait' },
    })
    await mailer.send(message)
    await mailer.send(message)
    await clock.advance(1)
    assert.deepEqual([a.calls.length, b.calls.length], [1, 1])
  })
})

test("onLimit: 'reject': while a limit is known to be used up, refusals cost the store nothing", async () => {
  const { clock, mailer, takes } = setUp({ limits: { providers: { a: { limit: 1, per: 60_000 } } } })
  await mailer.send(message)
  for (let i = 0; i < 50; i++) assert.equal((await rejection(mailer.send(message))).code, 'SEND_LIMIT_EXCEEDED')
  assert.equal(takes(), 2)
  await clock.advance(62_000)
  await mailer.send(message)
  assert.equal(takes(), 3)
})

test('P4: a refund makes room at once, also where a refusal was remembered', async () => {
  const { a, clock, mailer } = setUp({ limits: { providers: { a: { limit: 2, per: 60_000 } } }, retry: { rounds: 1 } })
  const slow = Promise.withResolvers<never>()
  a.will(() => slow.promise)
  const first = rejection(mailer.send(message))
  await a.called()
  await mailer.send(message)
  assert.equal((await rejection(mailer.send(message))).code, 'SEND_LIMIT_EXCEEDED')
  try {
    fails('connection')(undefined as never, undefined as never)
  } catch (error) {
    slow.reject(error)
  }
  await clock.advance(1)
  assert.equal((await first).code, 'SEND_FAILED')
  assert.equal((await mailer.send(message)).status, 'sent')
  assert.equal((await rejection(mailer.send(message))).code, 'SEND_LIMIT_EXCEEDED')
})

describe('limit events and usage', () => {
  test('a limit is told of once each time it comes to four fifths', async () => {
    const { clock, mailer } = setUp({ limits: { quota: { limit: 10, per: 60_000 } } })
    const told: unknown[] = []
    mailer.on('limit', (event) => told.push(event))
    for (let i = 0; i < 10; i++) await mailer.send(message)
    const expected = { kind: 'quota', limit: 10, per: 60_000, used: 8 }
    assert.deepEqual(told, [expected])
    await clock.advance(120_000)
    for (let i = 0; i < 9; i++) await mailer.send(message)
    assert.deepEqual(told, [expected, expected])
  })

  test('usage tells each window of the tenant, whose it is, and takes nothing (P8)', async () => {
    const { mailer } = setUp({
      requireTenant: false,
      limits: {
        quota: { limit: 100, per: 60_000 },
        providers: {
          a: [
            { limit: 5, per: 1_000 },
            { limit: 50, per: 60_000 },
          ],
        },
      },
      tenants: { t: { route: 'a', from: 'hello@t.example', limits: { quota: { limit: 10, per: 86_400_000 } } } },
    })
    await mailer.send(message)
    await mailer.tenant('t').send({ ...message, cc: 'bob@example.com' })
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(await mailer.tenant('t').limits.usage(), [
        { kind: 'quota', limit: 100, per: 60_000, used: 3 },
        { kind: 'quota', tenant: 't', limit: 10, per: 86_400_000, used: 2 },
        { kind: 'provider', provider: 'a', limit: 5, per: 1_000, used: 3 },
        { kind: 'provider', provider: 'a', limit: 50, per: 60_000, used: 3 },
      ])
    }
    assert.equal((await mailer.limits.usage()).length, 3)
    assert.equal((await rejection(mailer.tenant('none').limits.usage() as Promise<unknown>)).code, 'TENANT_NOT_FOUND')
  })
})

describe('a provider that throttles', () => {
  test('is used more slowly until it takes mail again, and says so', async () => {
    const { a, clock, mailer } = setUp({ retry: { rounds: 1 }, timeout: 600_000 })
    const health: string[] = []
    mailer.on('health', ({ state }) => health.push(state))
    a.will(fails('throttled'), fails('throttled'))
    await rejection(mailer.send(message))
    await clock.advance(1_000)
    const second = rejection(mailer.send(message))
    await clock.advance(1_000)
    await second
    const calls = Array.from({ length: 4 }, () => mailer.send(message))
    await clock.advance(150)
    assert.equal(a.calls.length, 2 + 1, 'one, and the others spread out')
    await clock.advance(5_000)
    await Promise.all(calls)
    assert.deepEqual(health, ['slowed'])
    for (let i = 0; i < 30; i++) {
      const call = mailer.send(message)
      await clock.advance(1_000)
      await call
    }
    assert.deepEqual(health, ['slowed', 'steady'])
    const free = Promise.all(Array.from({ length: 10 }, () => mailer.send(message)))
    await clock.advance(1)
    assert.equal((await free).length, 10)
  })

  test('is passed over for another while it asks for time', async () => {
    const { a, b, mailer } = setUp({ route: failover('a', 'b') as never })
    a.will(fails('throttled', { retryAfter: 60_000 }))
    for (let i = 0; i < 5; i++) await mailer.send(message)
    assert.deepEqual([a.calls.length, b.calls.length], [1, 5])
  })
})

describe('a queued message and limits', () => {
  test('waits in the queue for its turn, without using up its retries', async () => {
    const { a, clock, mailer } = setUp({
      limits: { providers: { a: { limit: 2, per: 60_000 } } },
      retry: { schedule: [60_000] },
    })
    for (let i = 0; i < 20; i++) await mailer.enqueue(message)
    await clock.advance(10)
    assert.equal(a.calls.length, 2)
    for (let minute = 1; minute <= 9; minute++) {
      await clock.advance(62_000)
      assert.ok(a.calls.length <= 2 * (minute + 1))
    }
    await clock.advance(200_000)
    assert.equal(a.calls.length, 20)
    assert.equal((await mailer.messages.list({ status: 'sent' })).items.length, 20)
  })

  test('P4: a tenant out of budget rests, at a bounded cost, and others go on', async () => {
    const verbs: string[] = []
    const clock = fakeClock()
    const a = scripted('a')
    const mailer = createMailer({
      providers: { a },
      clock,
      store: watched(memory({ clock }), (verb) => verbs.push(verb)),
      tenants: {
        big: {
          providers: { own: scripted('own') },
          from: 'hello@big.example',
          limits: { providers: { own: { limit: 1, per: 60_000 } } },
        },
        small: { route: 'a', from: 'hello@small.example' },
      },
    })
    for (let i = 0; i < 500; i++) await mailer.tenant('big').enqueue(message)
    await clock.advance(10)
    verbs.length = 0
    await mailer.tenant('small').enqueue(message)
    await clock.advance(10)
    assert.equal(a.calls.length, 1)
    await clock.advance(30_000)
    // Each of the 500 is looked at once: another might fit, or take another way.
    assert.ok(verbs.length < 1_200, `${verbs.length} verbs while the big tenant rests`)
    const late = verbs.length
    await clock.advance(300_000)
    // 20 messages are looked at when one has passed, and then more and more seldom.
    assert.ok(verbs.length - late < 5 * 300, `${verbs.length - late} verbs in five minutes`)
  })
})
