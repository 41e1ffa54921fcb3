import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createMailer, failover, type MailerOptions, type MailStore } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { noAccidents } from '../support/accidents.ts'
import { rejection } from '../support/rejection.ts'
import { fails, partly, pending, rejects, scripted } from '../support/scripted-provider.ts'
import { tapped } from '../support/tapped-store.ts'

noAccidents()

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }
const three = { ...message, to: ['a@example.com', 'b@example.com', 'c@example.com'] }
const second = 1_000
const minute = 60 * second
const day = 24 * 60 * minute

function setUp(options: Partial<MailerOptions> = {}, tap: (store: MailStore) => MailStore = (store) => store) {
  const clock = fakeClock()
  const a = scripted('a')
  const b = scripted('b')
  const store = memory({ clock })
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a, b },
    route: 'a',
    clock,
    store: tap(store),
    random: () => 0,
    retry: { rounds: 1 },
    ...(options as object),
  })
  const used = async () => (await mailer.limits.usage()).map(({ used }) => used)
  return { a, b, clock, store, mailer, used }
}

describe('a limit that is meant to hold', () => {
  const refused = (limits: unknown, tenants?: unknown): Promise<string> =>
    rejection(
      (async () => {
        const { mailer } = setUp({ limits, ...(tenants ? { tenants } : {}) } as never)
        if (tenants) await mailer.tenant('t').send(message)
      })(),
    ).then(({ code, message }) => `${code} ${message}`)

  test('is refused where it would hold for nobody', async () => {
    const window = { limit: 1, per: minute }
    assert.match(await refused({ providers: { realy: window } }), /^CONFIGURATION_ERROR .*limits\.providers\.realy/)
    for (const providers of [5, true, 'a', [window]]) {
      assert.match(await refused({ providers }), /^CONFIGURATION_ERROR .*limits\.providers is an object/)
    }
    const tenants = { t: { route: 'a', from: 'hello@t.example', limits: { providers: { a: window } } } }
    assert.match(await refused({}, tenants), /^CONFIGURATION_ERROR .*its own providers; set one of the mailer’s/)
  })

  test('is refused where it cannot be meant: two windows of one length, or a field nobody knows', async () => {
    const twice = [
      { limit: 4, per: minute },
      { limit: 5, per: minute },
    ]
    assert.match(await refused({ quota: twice }), /limits\.quota has two windows of 60000 ms/)
    assert.match(await refused({ quota: { limit: 4, per: minute, burst: 2 } }), /limits\.quota holds \{ limit, per \}/)
    for (const limit of [Number.NaN, -1, 1.5, '3', Number.POSITIVE_INFINITY]) {
      assert.match(await refused({ quota: { limit, per: minute } }), /whole number of mailboxes/)
    }
  })

  test('no windows are no limit', async () => {
    const { mailer } = setUp({ limits: { quota: [], providers: { a: [] } } })
    await mailer.send(message)
    assert.deepEqual(await mailer.limits.usage(), [])
  })

  test('says whose it is, where it is set, and when it frees', async () => {
    const tenants = { t: { route: 'a', from: 'hello@t.example', limits: { quota: { limit: 1, per: 31 * day } } } }
    const { mailer } = setUp({
      tenants,
      requireTenant: false,
      limits: { quota: { limit: 9, per: minute }, providers: { a: { limit: 2, per: second } } },
    } as never)
    const of = async (call: Promise<unknown>) => (await rejection(call)).message
    assert.match(
      await of(mailer.send({ ...message, to: Array.from({ length: 10 }, (_, i) => `${i}@example.com`) })),
      /^The mailer’s limits\.quota of 9 mailboxes in 60 s is in the way\. The message alone is over it;/,
    )
    assert.match(await of(mailer.send(three)), /The mailer’s limits\.providers\.a of 2 mailboxes in 1 s is in the way/)
    await mailer.tenant('t').send(message)
    assert.match(
      await of(mailer.tenant('t').send(message)),
      /^The tenant’s limits\.quota of 1 mailbox in 31 days is used up\. It frees in 31\.\d days\.$/,
    )
    const none = setUp({ limits: { quota: { limit: 0, per: minute } } })
    assert.match(await of(none.mailer.send(message)), /It lets nothing through\.$/)
  })
})

describe('P4: what is given back', () => {
  test('once: a message that ended unknown in part, and is resolved', async () => {
    const { a, clock, mailer, used } = setUp({
      limits: { quota: { limit: 10, per: day } },
      retry: { rounds: 1, schedule: [] },
    })
    await mailer.send(three)
    a.will(partly({ 'a@example.com': 'unknown', 'b@example.com': 'failed' }))
    const { id } = await mailer.enqueue({ ...message, to: ['a@example.com', 'b@example.com'] })
    await clock.advance(second)
    assert.equal((await mailer.messages.get(id))?.status, 'unknown')
    assert.deepEqual(await used(), [4])
    await mailer.resolve(id, 'failed')
    assert.deepEqual(await used(), [3])
  })

  test('not for a dead letter that is in the queue again, although the store failed after that', async () => {
    let failing = ''
    const { a, clock, mailer, used } = setUp(
      { limits: { quota: { limit: 10, per: day } }, queue: { work: false } },
      (store) =>
        tapped(store, {
          before: ({ name }) => {
            if (name === failing) throw new Error('down')
          },
          after: ({ name }) => {
            if (name === 'settle' && failing === 'after settle') throw new Error('answer lost')
            if (name === 'settle' && failing === 'next read') failing = 'read'
          },
        }),
    )
    const worker = mailer.work()
    a.will(rejectsSender)
    const { id } = await mailer.enqueue(three)
    await clock.advance(second)
    await worker.stop()
    assert.deepEqual(await used(), [0])
    failing = 'next read'
    assert.equal((await mailer.messages.retry(id)).status, 'queued', 'a worker finds it')
    failing = ''
    assert.deepEqual(await used(), [3])
  })

  test('what was suppressed at the last look, however the others ended', async () => {
    const late = { current: false }
    const { a, mailer, used, store } = setUp({ limits: { providers: { a: { limit: 10, per: day } } } }, (inner) =>
      tapped(inner, {
        before: async ({ name }) => {
          // After the first look, before the last one.
          if (name !== 'limits.take' || late.current) return
          late.current = true
          const entry = { scope: 'all', reason: 'complaint', createdAt: Date.now() } as const
          await store.suppress.add(['a@example.com', 'b@example.com'].map((key) => ({ ...entry, key }) as never))
        },
      }),
    )
    a.will(rejects)
    assert.equal((await rejection(mailer.send(three))).code, 'REJECTED')
    assert.equal(a.calls[0]!.envelope.recipients.length, 1)
    assert.deepEqual(await used(), [1])
  })

  test('also while the store is down', async () => {
    const { a, mailer } = setUp({ limits: { providers: { a: { limit: 3, per: day } } } }, (store) =>
      tapped(store, {
        before: ({ name }) => {
          if (name.startsWith('limits.')) throw new Error('down')
        },
      }),
    )
    a.will(...Array(3).fill(fails('connection')))
    for (let i = 0; i < 3; i++) await rejection(mailer.send(message))
    for (let i = 0; i < 3; i++) assert.equal((await mailer.send(message)).status, 'sent')
    assert.equal((await rejection(mailer.send(message))).code, 'SEND_LIMIT_EXCEEDED')
  })
})

const rejectsSender = fails('sender')

describe("onLimit: 'wait'", () => {
  test('P4: a call that waits for one quota holds nothing of another, and is counted when it goes', async () => {
    const { a, clock, mailer } = setUp({
      requireTenant: false,
      limits: { quota: { limit: 5, per: second }, onLimit: 'wait' },
      tenants: { t: { route: 'a', from: 'hello@t.example', limits: { quota: { limit: 5, per: 3 * second } } } },
    } as never)
    const at: number[] = []
    a.will(
      ...Array(60).fill(() => {
        at.push(clock.monotonic())
        return { providerMessageId: 'p' }
      }),
    )
    const calls: Promise<unknown>[] = []
    for (let i = 0; i < 15; i++) calls.push(mailer.tenant('t').send(message))
    await clock.advance(100)
    for (let i = 0; i < 5; i++) calls.push(mailer.send(message))
    for (let i = 0; i < 200; i++) await clock.advance(100)
    await Promise.all(calls)
    for (const from of at) {
      const inside = at.filter((one) => one >= from && one < from + second).length
      assert.ok(inside <= 5, `${inside} of 5 in a second`)
    }
  })

  test('whoever runs out of time behind others is told of the limit', async () => {
    const { clock, mailer } = setUp({ limits: { providers: { a: { limit: 1, per: minute } }, onLimit: 'wait' } })
    await mailer.send(message)
    const first = mailer.send(message, { timeout: 10 * minute })
    await clock.advance(1)
    const behind = rejection(mailer.send(message, { timeout: 100 * second }))
    await clock.advance(101 * second)
    const { code, retryAfter, message: words } = await behind
    assert.deepEqual([code, retryAfter! > 0], ['SEND_LIMIT_EXCEEDED', true])
    assert.match(words, /limits\.providers\.a of 1 mailbox in 60 s/)
    await first
  })

  test('the first of a line hears of what is given back', async () => {
    const { a, clock, mailer } = setUp({ limits: { providers: { a: { limit: 1, per: minute } }, onLimit: 'wait' } })
    const slow = pending()
    a.will(slow)
    const first = rejection(mailer.send(message))
    await a.called()
    const waiting = mailer.send(message, { timeout: 10 * minute })
    await clock.advance(second)
    slow.fail(Object.assign(await thrown(fails('connection')), {}))
    await first
    await clock.advance(1)
    assert.equal((await waiting).status, 'sent')
    assert.ok(clock.monotonic() < 2 * second)
  })

  test('the queue does not starve behind callers who always wait', async () => {
    const { a, clock, mailer } = setUp({ limits: { providers: { a: { limit: 1, per: second } }, onLimit: 'wait' } })
    let on = true
    const caller = async () => {
      while (on) await mailer.send({ ...message, subject: 'direct' }).catch(() => {})
    }
    const callers = [caller(), caller(), caller()]
    await clock.advance(2 * second)
    for (let i = 0; i < 5; i++) await mailer.enqueue({ ...message, subject: `queued ${i}` })
    const before = a.calls.length
    for (let i = 0; i < 200; i++) await clock.advance(100)
    const since = a.calls.slice(before).map(({ message: { subject } }) => subject)
    assert.equal(since.filter((subject) => subject.startsWith('queued')).length, 5, `${since}`)
    assert.ok(since.filter((subject) => subject === 'direct').length >= 5, `${since}`)
    on = false
    for (let i = 0; i < 100; i++) await clock.advance(100)
    await Promise.all(callers)
  })

  test('many who give up cost no more than those who wait', async () => {
    const { clock, mailer } = setUp({
      limits: { providers: { a: { limit: 1, per: day / 2 } }, onLimit: 'wait' },
      timeout: day,
    } as never)
    await mailer.send(message)
    const controller = new AbortController()
    const calls = Array.from({ length: 2_000 }, () => rejection(mailer.send(message, { signal: controller.signal })))
    await clock.advance(1)
    controller.abort()
    const codes = new Set((await Promise.all(calls)).map(({ code }) => code))
    assert.deepEqual([...codes], ['CANCELLED'])
    assert.equal((await mailer.limits.usage())[0]!.used, 1)
  })
})

describe('a queued message and a limit', () => {
  test('another message of the tenant that fits, or takes another way, goes on', async () => {
    const { a, b, clock, mailer } = setUp({
      route: failover('a', 'b') as never,
      limits: { providers: { a: { limit: 10, per: day } } },
    })
    for (let i = 0; i < 3; i++) await mailer.enqueue({ ...three, subject: 'big' }, { provider: 'a' as never })
    await clock.advance(second)
    await mailer.enqueue({ ...three, subject: 'too big' }, { provider: 'a' as never })
    await clock.advance(second)
    await mailer.enqueue({ ...message, subject: 'fits' }, { provider: 'a' as never })
    await mailer.enqueue({ ...message, subject: 'elsewhere' }, { provider: 'b' as never, priority: 10 })
    await clock.advance(5 * second)
    assert.ok(a.calls.some(({ message: { subject } }) => subject === 'fits'))
    assert.equal(b.calls.length, 1)
  })

  test('a limit that was raised frees what waits, within a minute or so', async () => {
    const { clock, store, mailer, a } = setUp({ limits: { providers: { a: { limit: 1, per: day } } } })
    for (let i = 0; i < 3; i++) await mailer.enqueue(message)
    await clock.advance(minute)
    await mailer.queue.pause()
    const raised = createMailer({
      from: 'hello@acme.example',
      providers: { a },
      clock,
      store,
      limits: { providers: { a: { limit: 100, per: day } } },
      queue: { work: true },
    })
    await clock.advance(2 * minute)
    assert.equal(a.calls.length, 3)
    await raised.close()
  })
})

describe('what is told', () => {
  test('a limit event names whose limit it is, and is not repeated by tries that fail', async () => {
    const { a, mailer } = setUp({
      requireTenant: false,
      limits: { providers: { a: { limit: 5, per: day } } },
      tenants: { t: { route: 'a', from: 'hello@t.example' } },
    } as never)
    const told: unknown[] = []
    mailer.on('limit', (event) => told.push(event))
    for (let i = 0; i < 3; i++) await mailer.send(message)
    a.will(...Array(5).fill(fails('connection')))
    for (let i = 0; i < 5; i++) await rejection(mailer.tenant('t').send(message))
    assert.deepEqual(told, [{ kind: 'provider', provider: 'a', limit: 5, per: day, used: 4 }])
  })

  test('usage where the route is a function: all that may be used', async () => {
    const { mailer } = setUp({
      route: () => 'b' as const,
      limits: { providers: { a: { limit: 5, per: day } } },
    } as never)
    await mailer.send(message)
    assert.deepEqual(await mailer.limits.usage(), [{ kind: 'provider', provider: 'a', limit: 5, per: day, used: 0 }])
  })
})

async function thrown(step: ReturnType<typeof fails>): Promise<object> {
  try {
    await step(undefined as never, undefined as never)
  } catch (error) {
    return error as object
  }
  throw new Error('did not throw')
}
