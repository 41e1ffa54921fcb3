import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, failover, handOverError, MailError, type MailerOptions, type Row } from '../../src/index.ts'
import type { Provider } from '../../src/provider.ts'
import { memory } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rejection } from '../support/rejection.ts'
import { handed, pending, type ScriptedProvider, type Step, scripted } from '../support/scripted-provider.ts'
import { tapped } from '../support/tapped-store.ts'

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }
const two = { ...message, to: ['ada@example.com', 'bob@example.com'] }

function setUp(a: ScriptedProvider, options: Partial<MailerOptions> = {}) {
  const b = scripted('b')
  const clock = fakeClock()
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a, b } as Record<string, Provider>,
    route: failover('a', 'b'),
    clock,
    ...options,
  })
  return { mailer, clock, b }
}

test('O2, P2: whatever breaks the contract may have been sent: OUTCOME_UNKNOWN, and nobody else gets it', async () => {
  const wrong: Record<string, Step> = {
    'no answer': () => undefined,
    null: () => null,
    text: () => 'ok',
    number: () => 250,
    'no list': () => ({ recipients: 'ada@example.com' }),
    strangers: () => ({ recipients: [{ address: 'eve@example.com', outcome: 'sent' }] }),
    'an outcome that does not exist': () => ({ recipients: [{ address: 'ada@example.com', outcome: 'delivered' }] }),
    twice: () => ({
      recipients: [
        { address: 'ada@example.com', outcome: 'failed' },
        { address: 'ada@example.com', outcome: 'sent' },
      ],
    }),
    holes: () => ({ recipients: [undefined] }),
    'a foreign error': () => {
      throw new RangeError('key SG.secret for ada@example.com')
    },
    'no error at all': () => {
      throw undefined
    },
    'a MailError without outcome': () => {
      throw new MailError('SEND_FAILED', 'no idea')
    },
    'a getter that throws': () => ({
      get recipients() {
        throw new Error('SG.secret')
      },
    }),
  }
  for (const [name, step] of Object.entries(wrong)) {
    const a = scripted('a')
    a.will(step)
    const { mailer, b } = setUp(a)
    const error = await rejection(mailer.send(message))
    assert.equal(error.code, 'OUTCOME_UNKNOWN', name)
    assert.equal(error.receipt?.status, 'unknown', name)
    assert.equal(a.calls.length + b.calls.length, 1, name)
    assert.doesNotMatch(
      `${JSON.stringify(error)} ${error.stack} ${JSON.stringify(error.receipt?.attempts)}`,
      /secret/,
      name,
    )
  }
})

test('P9: a send that throws before it answers a promise, or answers none, settles like any other', async () => {
  const a = scripted('a')
  const thrower = Object.assign(a, {
    send() {
      throw new TypeError('at once')
    },
  }) as unknown as ScriptedProvider
  assert.equal((await rejection(setUp(thrower).mailer.send(message))).code, 'OUTCOME_UNKNOWN')
})

test('P11: words of a provider are sanitised here too, and codes that are no text are left out', async () => {
  const a = scripted('a')
  a.will(() => ({
    providerMessageId: 7,
    code: { secret: 1 },
    evidence: `250 ok for ada@example.com ${'x'.repeat(500)}`,
    recipients: [{ address: 'bob@example.com', outcome: 'rejected', reason: 'no bob@example.com here\r\nX: y' }],
  }))
  const receipt = await setUp(a).mailer.send(two)
  const [attempt] = receipt.attempts
  assert.equal(receipt.providerMessageId, undefined)
  assert.equal(attempt?.code, undefined)
  assert.ok(attempt!.evidence!.length <= 200)
  assert.doesNotMatch(attempt!.evidence!, /ada@/)
  assert.equal(receipt.recipients[1]?.reason, 'no <address> here X: y')

  const c = scripted('a')
  c.will(() => {
    throw new MailError('SEND_FAILED', 'no such user ada@example.com', { outcome: 'rejected' })
  })
  const error = await rejection(setUp(c).mailer.send(message))
  assert.equal(error.code, 'REJECTED')
  assert.doesNotMatch(error.message, /ada@/)
})

test('P9: a provider that hangs and ignores its signal is given up: OUTCOME_UNKNOWN, whatever ended the call', async () => {
  for (const how of ['signal', 'timeout', 'close'] as const) {
    const a = scripted('a')
    a.will(pending())
    const { mailer, clock, b } = setUp(a)
    const controller = new AbortController()
    const call = rejection(mailer.send(message, { signal: controller.signal, timeout: 5_000 }))
    await a.called()
    let closed: Promise<unknown> | undefined
    if (how === 'signal') controller.abort()
    if (how === 'close') closed = mailer.close({ deadline: 0 })
    await clock.advance(how === 'timeout' ? 5_300 : 300)
    const error = await call
    assert.equal(error.code, 'OUTCOME_UNKNOWN', how)
    assert.match(error.message, how === 'signal' ? /signal/ : how === 'timeout' ? /time/ : /closed/)
    assert.equal(a.contexts[0]?.signal.aborted, true)
    assert.equal(b.calls.length, 0)
    await clock.advance(5_000)
    assert.deepEqual(await closed, how === 'close' ? { settled: 0, unknown: [error.id], pending: [] } : undefined)
    assert.equal(clock.pending, 0, 'no timer is left')
  }
})

test('an answer that comes just after the abort still counts', async () => {
  const a = scripted('a')
  a.will((_, { signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve({}))))
  const { mailer, clock } = setUp(a)
  const call = mailer.send(message, { timeout: 1_000 })
  await a.called()
  await clock.advance(1_000)
  assert.equal((await call).status, 'sent')
})

test('D1: the attempt is on record before the provider is called, and its end after', async () => {
  const store = memory()
  const a = scripted('a')
  a.will(async ({ id }) => {
    const row = await store.read(id)
    assert.equal(row?.attempts.length, 1)
    assert.equal(row?.attempts[0]?.outcome, undefined)
    return {}
  })
  const receipt = await setUp(a, { store }).mailer.send(message)
  assert.equal((await store.read(receipt.id))?.attempts[0]?.outcome, 'sent')
})

test('nothing leaves when the time ran out, the signal aborted or notAfter passed while the attempt was written', async () => {
  for (const how of ['signal', 'timeout', 'notAfter'] as const) {
    const clock = fakeClock()
    const written = Promise.withResolvers<void>()
    const store = tapped(memory({ clock }), {
      before({ name, args: [row] }) {
        const beginning = name === 'claim' && (row as Row).attempts.length === 1
        return beginning ? written.promise : undefined
      },
    })
    const a = scripted('a')
    const { mailer, b } = setUp(a, { store, clock })
    const controller = new AbortController()
    const call = rejection(
      mailer.send(message, {
        signal: controller.signal,
        timeout: how === 'timeout' ? 1_000 : 10_000,
        ...(how === 'notAfter' ? { notAfter: clock.now() + 1_000 } : {}),
      }),
    )
    await clock.advance(how === 'signal' ? 1 : 1_000)
    if (how === 'signal') controller.abort()
    written.resolve()
    await clock.advance(1)
    const error = await call
    assert.equal(error.code, { signal: 'CANCELLED', timeout: 'SEND_FAILED', notAfter: 'EXPIRED' }[how])
    assert.equal(error.receipt?.status, { signal: 'cancelled', timeout: 'failed', notAfter: 'expired' }[how])
    assert.equal(a.calls.length + b.calls.length, 0)
  }
})

test('the deadline a provider is told is what is left of it', async () => {
  const a = scripted('a')
  const { mailer } = setUp(a)
  await mailer.send(message, { timeout: 4_000 })
  assert.equal(a.contexts[0]?.timeout, 4_000)
})

test('late evidence: what a provider answers after it was given up is put on record, and nothing is sent again', async () => {
  const endings = {
    sent: [(late) => late.answer({ providerMessageId: 'late-1' }), 'sent'],
    rejected: [
      (late) => late.fail(handOverError({ outcome: 'rejected', kind: 'content', reason: 'spam' })),
      'rejected',
    ],
    failed: [
      (late) => late.fail(handOverError({ outcome: 'failed', kind: 'connection', reason: 'never left' })),
      'failed',
    ],
    unknown: [(late) => late.fail(new Error('no idea')), 'unknown'],
  } satisfies Record<string, [(late: ReturnType<typeof pending>) => void, string]>
  for (const [how, [end, status]] of Object.entries(endings)) {
    const a = scripted('a')
    const late = pending()
    a.will(late)
    const { mailer, clock, b } = setUp(a)
    const settled: string[] = []
    mailer.on('settled', (event) => settled.push(event.status))
    const call = rejection(mailer.send(message, { timeout: 1_000, idempotencyKey: 'once' }))
    await a.called()
    await clock.advance(2_000)
    const { id } = await call
    assert.equal((await mailer.messages.get(id!))?.status, 'unknown')
    end(late)
    await clock.advance(1)
    const record = await mailer.messages.get(id!)
    assert.equal(record?.status, status, how)
    assert.equal(record?.recipients[0]?.status, status)
    assert.equal(record?.attempts[0]?.outcome, 'unknown', 'what was known at the time stays on record')
    assert.deepEqual(
      record?.events.filter(({ type }) => type === 'late_answer').map(({ outcome }) => outcome),
      how === 'unknown' ? [] : [how],
    )
    assert.deepEqual(settled, how === 'unknown' ? ['unknown'] : ['unknown', status])
    assert.equal(a.calls.length + b.calls.length, 1)
    if (how === 'sent') {
      assert.equal((await mailer.messages.find({ providerMessageId: 'late-1' }))?.id, id)
      assert.ok(record?.sentAt)
    }
    // K4: only what certainly was not sent frees the key.
    const again = await mailer.send(message, { idempotencyKey: 'once' }).catch((error: MailError) => error)
    assert.equal(a.calls.length, how === 'failed' ? 2 : 1)
    assert.equal(again instanceof MailError, how === 'rejected' || how === 'unknown')
  }
})

test('late evidence for some: the others of the message keep what they have', async () => {
  const a = scripted('a')
  const late = pending()
  a.will(() => ({ recipients: [{ address: 'bob@example.com', outcome: 'failed' }] }))
  const { mailer, clock, b } = setUp(a)
  b.will(late)
  const call = mailer.send(two, { timeout: 1_000 })
  await b.called()
  await clock.advance(1_500)
  const receipt = await call
  assert.equal(receipt.status, 'partial')
  assert.deepEqual(handed(b), [['bob@example.com']])
  late.answer({})
  await clock.advance(1)
  assert.equal((await mailer.messages.get(receipt.id))?.status, 'sent')
})

test('P9: a late answer after close is nobody’s trouble', async () => {
  const a = scripted('a')
  const late = pending()
  a.will(late)
  const { mailer, clock } = setUp(a)
  const call = rejection(mailer.send(message))
  await a.called()
  const closed = mailer.close({ deadline: 0 })
  await clock.advance(10_000)
  assert.equal((await closed).unknown.length, 1)
  assert.equal((await call).code, 'OUTCOME_UNKNOWN')
  late.answer({})
  await clock.advance(1)
})

test('P9: listeners that throw, reject, hang or close the mailer decide nothing about the mail', async () => {
  const bad: (() => unknown)[] = [
    () => {
      throw new Error('listener')
    },
    () => Promise.reject(new Error('listener')),
    () => new Promise(() => undefined),
  ]
  for (const listener of bad) {
    const a = scripted('a')
    const { mailer } = setUp(a)
    for (const type of ['accepted', 'attempt', 'outcome', 'settled', 'health', 'warning'] as const)
      mailer.on(type, listener)
    a.will(() => {
      throw handOverError({ outcome: 'failed', kind: 'login', reason: 'no' })
    })
    assert.equal((await mailer.send(message)).provider, 'b')
  }
  for (const type of ['accepted', 'attempt', 'outcome', 'settled'] as const) {
    const a = scripted('a')
    const { mailer, clock } = setUp(a)
    const closing: Promise<unknown>[] = []
    mailer.on(type, () => closing.push(mailer.close({ deadline: 100 })))
    const call = mailer.send(message)
    await clock.advance(10_000)
    assert.equal((await call).status, 'sent', type)
    assert.equal(closing.length, 1)
    assert.equal(((await closing[0]) as { unknown: unknown[] }).unknown.length, 0)
  }
})
