import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import Keyv from 'keyv'
import { memory } from '../providers/memory.ts'
import {
  createMailer,
  failover,
  MailError,
  type MailerOptions,
  type Plan,
  type Policy,
  roundRobin,
  weighted,
} from '../src/index.ts'
import { memory as memoryStore } from '../src/stores/memory.ts'
import { fakeClock } from '../src/testing/fake-clock.ts'
import { noAccidents } from './support/accidents.ts'
import { loose, order, refusal, runOut, setup } from './support/mailbox.ts'
import { watched } from './support/watched-store.ts'

noAccidents()

describe('the way of a message (INVARIANTS 4)', () => {
  test('each step is entered and left in its place', async () => {
    const log: string[] = []
    const around =
      (name: string): Policy =>
      (next) =>
      async (delivery) => {
        log.push(`enter ${name}`)
        const receipt = await next(delivery)
        log.push(`leave ${name}: ${receipt.status}`)
        return receipt
      }
    const clock = fakeClock()
    const outbox = memory({
      refuse: () => {
        log.push('carriable')
        return []
      },
    })
    const { send } = outbox
    const mailer = createMailer({
      providers: {
        outbox: {
          ...outbox,
          send: (delivery, context) => {
            log.push('hand-over')
            return send(delivery, context)
          },
        },
      },
      from: 'hello@acme.example',
      clock,
      store: watched(memoryStore({ clock }), (verb) => log.push(verb)),
      limits: { quota: { limit: 100, per: 1_000 }, providers: { outbox: { limit: 100, per: 1_000 } } },
      policies: { accept: [around('first'), around('second')], dispatch: [around('dispatch')] },
    })
    mailer.on('settled', ({ status }) => log.push(`event settled ${status}`))
    mailer.on('accepted', () => log.push('event accepted'))
    log.length = 0
    await mailer.send(order, { idempotencyKey: 'k' })
    assert.deepEqual(
      log.filter((line, i) => line !== log[i - 1]),
      [
        'enter first',
        'enter second',
        'carriable', // before a key is claimed for it
        'claim', // the key, and who is suppressed
        'limits.take', // the quota
        'leave second: dispatching',
        'leave first: dispatching',
        'carriable', // the route
        'enter dispatch',
        'limits.take', // the provider's budget
        'renew', // D1 P3: the attempt on record, and in the same step the last look at suppressions
        'event accepted',
        'hand-over',
        'leave dispatch: dispatching',
        'settle',
        'event settled sent',
      ],
    )
  })

  test('nothing is claimed, looked up or counted for what is refused before (P5)', async () => {
    for (const [code, options, message] of [
      ['VALIDATION_ERROR', {}, { ...order, subject: '' }],
      ['SENDER_NOT_ALLOWED', { senders: ['other.example'] }, order],
      [
        'RECIPIENT_LIMIT_EXCEEDED',
        { limits: { recipients: 1, quota: { limit: 9, per: 1_000 } } },
        { ...order, cc: 'b@example.com' },
      ],
      ['UNSUPPORTED_FEATURE', {}, { ...order, calendar: { method: 'REQUEST', content: 'x' } }],
    ] as const) {
      const verbs: string[] = []
      const { mailer, outbox } = setup(
        { ...options, store: watched(memoryStore(), (verb) => verbs.push(verb)) },
        { capabilities: { calendar: false } },
      )
      await refusal(mailer.send(message, { idempotencyKey: 'k' }), code)
      assert.deepEqual(verbs, [], code)
      assert.equal(outbox.sent().length, 0)
    }
  })

  test('a store that fails anywhere in accept refuses, and hands nothing over (S3)', async () => {
    const keyed = { idempotencyKey: 'k' }
    for (const [verb, options] of [
      ['claim', keyed],
      ['limits.take', keyed],
      ['renew', keyed],
      ['suppress.hasMany', {}],
      ['claim', {}],
    ] as const) {
      const { mailer, outbox } = setup({
        limits: { quota: { limit: 9, per: 1_000 } },
        store: watched(memoryStore(), (called) => {
          if (called === verb) throw new Error('canary: password=hunter2')
        }),
      })
      const error = await refusal(mailer.send(order, options), 'STORE_UNAVAILABLE')
      assert.ok(!JSON.stringify(error).includes('hunter2'))
      assert.equal(outbox.sent().length, 0, verb)
    }
  })
})

describe('send and its receipt', () => {
  test('says what became of each, in ids and times of ours', async () => {
    const { mailer, outbox } = setup()
    const receipt = await mailer.send({ ...order, cc: 'Bob <bob@example.com>', bcc: 'eve@example.com' })
    assert.match(receipt.id, /^msg_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.equal(receipt.messageId, `<${receipt.id}@acme.example>`)
    assert.deepEqual(
      receipt.recipients.map(({ field, address, status }) => `${field} ${address} ${status}`),
      ['to ada@example.com sent', 'cc bob@example.com sent', 'bcc eve@example.com sent'],
    )
    assert.deepEqual(
      [receipt.status, receipt.provider, receipt.from, receipt.subject, receipt.sandbox, receipt.replayed],
      ['sent', 'outbox', 'hello@acme.example', 'Your order', false, false],
    )
    assert.equal(receipt.createdAt, '2026-01-01T00:00:00.000Z')
    assert.equal(receipt.attempts.length, 1)
    assert.equal(outbox.sent()[0]!.providerMessageId, receipt.providerMessageId)
  })

  test('what the caller changes after the call changes nothing (P6)', async () => {
    const { mailer, outbox } = setup()
    const content = new Uint8Array([1, 2, 3])
    const message = {
      ...order,
      to: ['ada@example.com'],
      attachments: [{ filename: 'a', content }],
      metadata: { a: '1' },
    }
    const options = { idempotencyKey: 'one', sandbox: false }
    const sending = mailer.send(message, options)
    message.subject = loose('changed')
    message.to.push('eve@example.com')
    message.metadata.a = '2'
    content.fill(9)
    options.idempotencyKey = 'two'
    options.sandbox = true
    await sending
    const [mail] = outbox.sent()
    assert.deepEqual(mail!.recipients, ['ada@example.com'])
    assert.equal(mail!.message.subject, 'Your order')
    assert.deepEqual([...mail!.message.attachments[0]!.content], [1, 2, 3])
    assert.deepEqual(mail!.message.metadata, { a: '1' })
  })

  test('a receipt is the caller’s: changing it changes no record and no replay', async () => {
    const { mailer } = setup()
    const receipt = await mailer.send(order, { idempotencyKey: 'k' })
    Object.assign(receipt.recipients[0]!, { address: 'eve@example.com', status: 'bounced' })
    loose2(receipt.attempts).length = 0
    const record = await mailer.messages.get(receipt.id)
    assert.equal(record!.recipients[0]!.address, 'ada@example.com')
    assert.equal(record!.attempts.length, 1)
    const queued = await mailer.enqueue(order, { sendAt: '2030-01-01' })
    Object.assign(queued.recipients[0]!, { address: 'eve@example.com' })
    assert.equal((await mailer.messages.get(queued.id))!.recipients[0]!.address, 'ada@example.com')
    assert.equal((await mailer.send(order, { idempotencyKey: 'k' })).recipients[0]!.status, 'sent')
  })

  const mixed: [string, Record<string, 'rejected' | 'failed' | 'unknown'>, string][] = [
    ['all sent', {}, 'sent'],
    ['one rejected', { 'a@example.com': 'rejected' }, 'partial'],
    ['one unknown', { 'a@example.com': 'unknown' }, 'partial'],
    ['unknown and rejected', { 'a@example.com': 'unknown', 'b@example.com': 'rejected' }, 'OUTCOME_UNKNOWN'],
    ['all rejected', { 'a@example.com': 'rejected', 'b@example.com': 'rejected' }, 'REJECTED'],
  ]
  for (const [what, outcomes, expected] of mixed) {
    test(`mixed outcomes, ${what}: ${expected}`, async () => {
      const outbox = memory()
      const mailer = createMailer({
        providers: {
          outbox: {
            ...outbox,
            async send({ envelope }) {
              return {
                recipients: envelope.recipients
                  .filter(({ address }) => outcomes[address])
                  .map(({ address }) => ({ address, outcome: outcomes[address]! })),
              }
            },
          },
        },
        from: 'hello@acme.example',
      })
      const call = mailer.send({ ...order, to: ['a@example.com', 'b@example.com'] })
      if (expected === expected.toLowerCase()) assert.equal((await call).status, expected)
      else {
        const error = await refusal(call)
        assert.equal(error.code, expected)
        assert.equal(error.receipt!.recipients.length, 2)
      }
    })
  }

  test('a call given up before the hand-over is CANCELLED or SEND_FAILED and mails nobody', async () => {
    const { mailer, outbox, clock } = setup()
    await refusal(mailer.send(order, { signal: AbortSignal.abort() }), 'CANCELLED')
    await refusal(mailer.enqueue(order, { signal: AbortSignal.abort() }), 'CANCELLED')
    const stalled = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) }
    const attachments = [{ filename: 'a', content: stalled }]
    const controller = new AbortController()
    const call = refusal(mailer.send({ ...order, attachments }, { signal: controller.signal }), 'CANCELLED')
    await clock.advance(1)
    controller.abort()
    await call
    const late = refusal(mailer.send({ ...order, attachments }, { timeout: 5_000 }), 'VALIDATION_ERROR')
    const { issues } = await runOut(clock, late, 10_000)
    assert.deepEqual(
      issues.map(({ path, code }) => [path, code]),
      [['attachments[0].content', 'stream_stalled']],
    )
    assert.equal(outbox.sent().length, 0)
    assert.equal(clock.pending, 0)
  })

  test('notAfter is never passed, and is an option of many forms (D5)', async () => {
    const { mailer, outbox, clock } = setup()
    for (const notAfter of [clock.now(), new Date(clock.now()), '2026-01-01T00:00:00Z', '2026-01-01']) {
      await refusal(mailer.send(order, { notAfter }), 'EXPIRED')
    }
    await mailer.send(order, { notAfter: clock.now() + 1 })
    assert.equal(outbox.sent().length, 1)
  })
})

describe('options of a call (G2, G3)', () => {
  const { mailer } = setup()
  const bad: [string, unknown][] = [
    ['null', null],
    ['a list', []],
    ['text', 'now'],
    ['an unknown one', { idempotencykey: 'k' }],
    ['a key with a space', { idempotencyKey: 'a b' }],
    ['an empty key', { idempotencyKey: '' }],
    ['a key of 256', { idempotencyKey: 'k'.repeat(256) }],
    ['a key not ASCII', { idempotencyKey: 'ü' }],
    ['a key object', { idempotencyKey: { toString: () => 'k' } }],
    ['a tenant object', { tenant: {} }],
    ['a tenant path', { tenant: '../a' }],
    ['a tenant without tenants', { tenant: 'acme' }],
    ['a signal that is none', { signal: {} }],
    ['no time', { timeout: 0 }],
    ['a timeout of text', { timeout: '5' }],
    ['NaN', { timeout: Number.NaN }],
    ['a priority of 11', { priority: 11 }],
    ['half a priority', { priority: 0.5 }],
    ['sandbox as text', { sandbox: 'true' }],
    ['another stream', { stream: 'bulk' }],
    ['another onUnknown', { onUnknown: 'retry' }],
    ['sendAt with send', { sendAt: 1 }],
    ['a provider object', { provider: {} }],
    ['a route that is none', { route: {} }],
    ['an unknown provider', { provider: 'nowhere' }],
    ['an unknown route', { route: 'nowhere' }],
    ['a route function that throws', { route: () => assert.fail('thrown') }],
    ['a route function with nothing', { route: () => undefined }],
    ['a route function with an empty list', { route: () => [] }],
    ['a throwing getter', Object.defineProperty({}, 'provider', { enumerable: true, get: () => assert.fail('asked') })],
    ['a throwing proxy', new Proxy({}, { ownKeys: () => assert.fail('asked') })],
  ]
  for (const moment of [
    'tomorrow',
    'March 7',
    '1',
    '',
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    8.64e15 + 1,
    {},
    null,
    new Date(Number.NaN),
  ]) {
    bad.push([`notAfter ${String(moment)}`, { notAfter: moment }])
  }
  for (const [what, options] of bad) {
    test(`${what}: a typed refusal`, async () => {
      await refusal(mailer.send(order, loose(options)))
      const plan = await mailer.plan(order, loose(options)).catch((error: unknown) => error)
      assert.ok(plan instanceof MailError || (plan as Plan).verdict === 'refuse')
    })
  }

  test('each is read once', async () => {
    let reads = 0
    const options = {
      get idempotencyKey() {
        return ++reads === 1 ? 'fine' : loose({})
      },
    }
    await mailer.send(order, options)
    assert.equal(reads, 1)
  })
})

describe('tenants (P8, DESIGN Tenants)', () => {
  const tenants = {
    live: { route: 'outbox', from: 'live@tenant.example' },
    boxed: { route: 'outbox', from: 'boxed@tenant.example', mode: 'sandbox' },
    blocked: { route: 'outbox', mode: 'blocked' },
    bare: { from: 'bare@tenant.example' },
    strict: { route: 'outbox', from: 'a@tenant.example', senders: ['tenant.example'], limits: { recipients: 1 } },
  } as const

  test('modes', async () => {
    const { mailer, outbox } = setup({ tenants })
    assert.equal((await mailer.send(order, { tenant: 'live' })).tenant, 'live')
    assert.equal((await mailer.tenant('boxed').send(order)).status, 'sandboxed')
    assert.equal((await mailer.tenant('boxed').send(order, { sandbox: false })).status, 'sandboxed')
    await refusal(mailer.send(order, { tenant: 'blocked' }), 'TENANT_BLOCKED')
    await refusal(mailer.send(order, { tenant: 'bare' }), 'NO_PROVIDER')
    await refusal(mailer.send(order, { tenant: 'nobody' }), 'TENANT_NOT_FOUND')
    await refusal(mailer.send(order, { tenant: 'constructor' }), 'TENANT_NOT_FOUND')
    await refusal(mailer.send(order, { tenant: '__proto__' }), 'TENANT_NOT_FOUND')
    await refusal(mailer.send(order), 'TENANT_REQUIRED')
    assert.deepEqual(
      outbox.sent().map(({ message }) => message.from.address),
      ['live@tenant.example'],
    )
  })

  test('own senders and limits', async () => {
    const { mailer } = setup({ tenants })
    const strict = mailer.tenant('strict')
    await strict.send(order)
    await refusal(strict.send({ ...order, from: 'a@other.example' }), 'SENDER_NOT_ALLOWED')
    await refusal(strict.send({ ...order, cc: 'b@example.com' }), 'RECIPIENT_LIMIT_EXCEEDED')
  })

  test('a tenant’s mailer cannot be talked into another tenant', async () => {
    const { mailer } = setup({ tenants })
    await refusal(mailer.tenant('live').send(order, { tenant: 'strict' }), 'VALIDATION_ERROR')
    const { results } = await mailer
      .tenant('live')
      .sendBatch([loose({ message: order, options: { tenant: 'strict' } })])
    assert.equal(results[0]!.error!.code, 'VALIDATION_ERROR')
    const receipt = await mailer.tenant('live').send(order)
    assert.equal(await mailer.tenant('strict').messages.get(receipt.id), undefined)
    assert.equal(await mailer.messages.get(receipt.id), undefined)
    await refusal(mailer.tenant('strict').cancel(receipt.id), 'NOT_FOUND')
  })

  test('a tenants function that fails, answers nonsense or hangs is one typed refusal', async () => {
    const { mailer, clock } = setup({
      tenants: (id) => {
        if (id === 'throws') throw new Error('canary')
        if (id === 'rejects') return Promise.reject(new Error('canary'))
        if (id === 'hangs') return new Promise(() => {})
        return loose(id === 'number' ? 5 : id === 'badlimits' ? { limits: { quota: 5 } } : undefined)
      },
    })
    for (const tenant of ['throws', 'rejects', 'number', 'badlimits', 'none'])
      await refusal(mailer.send(order, { tenant }))
    await runOut(clock, refusal(mailer.send(order, { tenant: 'hangs', timeout: 5_000 })), 15_000)
  })
})

describe('routes take a turn per mail, not per look', () => {
  test('round robin is even, whatever was planned in between', async () => {
    const [a, b, c] = [memory(), memory(), memory()]
    const mailer = createMailer({ providers: { a, b, c }, route: roundRobin('a', 'b', 'c'), from: 'x@acme.example' })
    for (let i = 0; i < 9; i++) {
      await mailer.plan(order)
      await mailer.send(order)
    }
    assert.deepEqual(
      [a, b, c].map((provider) => provider.sent().length),
      [3, 3, 3],
    )
  })

  test('a route function sees a frozen message', async () => {
    const { mailer } = setup({
      route: (message) => {
        assert.throws(() => Object.assign(message, { subject: 'x' }), TypeError)
        return 'outbox'
      },
    })
    await mailer.send(order)
  })
})

describe('createMailer throws CONFIGURATION_ERROR at once', () => {
  const good = { providers: { outbox: memory() } }
  const bad: [string, unknown][] = [
    ['no options', undefined],
    ['no providers', {}],
    ['an unknown option', { ...good, provder: 1 }],
    ['a provider that is none', { providers: { a: {} } }],
    ['a provider of null', { providers: { a: null } }],
    ['a bad provider name', { providers: { 'a b': memory() } }],
    ['an unknown route', { ...good, route: 'nowhere' }],
    ['a bad from', { ...good, from: 'nobody' }],
    ['a from of a number', { ...good, from: 5 }],
    ['senders as text', { ...good, senders: 'acme.example' }],
    ['a bad sender', { ...good, senders: ['a b'] }],
    ['a store of text', { ...good, store: 'redis://x' }],
    ['a store that is none', { ...good, store: {} }],
    ['a Keyv that hides its failures', { ...good, store: new Keyv({ emitErrors: false }) }],
    ['a shared scope over a Keyv', { ...good, scope: 'shared', store: new Keyv() }],
    ['a shared scope in memory', { ...good, scope: 'shared' }],
    ['another scope', { ...good, scope: 'cluster' }],
    ['limits of null', { ...good, limits: null }],
    ['an unknown limit', { ...good, limits: { recipient: 1 } }],
    ['a negative limit', { ...good, limits: { recipients: -1 } }],
    ['a quota of a number', { ...good, limits: { quota: 5 } }],
    ['a quota of null', { ...good, limits: { quota: [null] } }],
    ['a quota without per', { ...good, limits: { quota: { limit: 5 } } }],
    ['a provider’s limit of text', { ...good, limits: { providers: { outbox: 'x' } } }],
    ['a negative timeout', { ...good, timeout: -1 }],
    ['a schedule of text', { ...good, retry: { schedule: 'x' } }],
    ['policies that are none', { ...good, policies: { accept: ['x'] } }],
    ['policies as a function', { ...good, policies: { accept: () => {} } }],
    ['a policy that answers nothing', { ...good, policies: { accept: [() => undefined] } }],
    ['a clock that is none', { ...good, clock: {} }],
    ['random that is none', { ...good, random: 0.5 }],
    ['a logger that is none', { ...good, logger: console.log }],
    ['tenants that are none', { ...good, tenants: 'x' }],
    ['sandbox as text', { ...good, sandbox: 'yes' }],
  ]
  for (const [what, options] of bad) {
    test(what, () => {
      assert.throws(
        () => createMailer(options as MailerOptions),
        (error) => error instanceof MailError && error.code === 'CONFIGURATION_ERROR',
      )
    })
  }
  for (const [what, call] of [
    ['failover()', () => failover()],
    ['failover with one name twice', () => failover('a', 'a')],
    ['roundRobin()', () => roundRobin()],
    ['weighted with zero', () => weighted({ a: 0 })],
    ['weighted with NaN', () => weighted({ a: Number.NaN })],
  ] as [string, () => unknown][]) {
    test(what, () => assert.throws(call, MailError))
  }
})

const loose2 = <T>(list: readonly T[]): T[] => list as T[]
