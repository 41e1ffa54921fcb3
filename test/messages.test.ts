import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createMailer, type MailerOptions, type MessageStatus } from '../src/index.ts'
import { memory } from '../src/stores/memory.ts'
import { fakeClock } from '../src/testing/fake-clock.ts'
import { rejection } from './support/rejection.ts'
import { fails, rejects, scripted, unknown } from './support/scripted-provider.ts'
import { watched } from './support/watched-store.ts'

const order = { to: 'ada@example.com', subject: 'Your order', text: 'It is on its way.' }

function setUp(options: Partial<MailerOptions> = {}) {
  const clock = fakeClock()
  const a = scripted('a')
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a },
    clock,
    retry: { rounds: 1 },
    tenants: { t: { route: 'a', from: 'hello@t.example' }, u: { route: 'a', from: 'hello@u.example' } },
    requireTenant: false,
    ...(options as object),
  })
  return { a, clock, mailer }
}

describe('messages.list', () => {
  test('newest first, by status, recipient in any spelling, tag and time, of the asking tenant only (P8)', async () => {
    const { a, clock, mailer } = setUp()
    const started = clock.now()
    const first = await mailer.send({ ...order, tags: ['x'] })
    await clock.advance(1_000)
    a.will(unknown)
    const { id: second } = await rejection(mailer.send({ ...order, to: 'Bob@Example.com', tags: ['x', 'y'] }))
    const other = await mailer.tenant('t').send(order)
    const ids = async (filter?: Parameters<typeof mailer.messages.list>[0], face = mailer.messages) =>
      (await face.list(filter)).items.map(({ id }) => id)
    assert.deepEqual(await ids(), [second, first.id])
    assert.deepEqual(await ids({ status: 'unknown' }), [second])
    assert.deepEqual(await ids({ recipient: 'bob@EXAMPLE.com' }), [second])
    assert.deepEqual(await ids({ tag: 'x', status: 'sent' }), [first.id])
    assert.deepEqual(await ids({ since: new Date(started + 1) }), [second])
    assert.deepEqual(await ids({ until: started + 1 }), [first.id])
    assert.deepEqual(await ids({ tenant: 't' }), [other.id])
    assert.deepEqual(await ids({}, mailer.tenant('t').messages), [other.id])
    assert.deepEqual(await ids({}, mailer.tenant('u').messages), [])
    const [record] = (await mailer.messages.list({ status: 'sent' })).items
    assert.equal(record?.events[0]?.type, 'accepted')
  })

  test('pages with cursors hold every message once', async () => {
    const { mailer } = setUp()
    const sent: string[] = []
    for (let i = 0; i < 7; i++) sent.unshift((await mailer.send(order)).id)
    const seen: string[] = []
    for (let cursor: string | undefined; ; ) {
      const page = await mailer.messages.list({ limit: 3, ...(cursor === undefined ? {} : { cursor }) })
      seen.push(...page.items.map(({ id }) => id))
      cursor = page.cursor
      if (cursor === undefined) break
    }
    assert.deepEqual(seen, sent)
  })

  test('a filter that makes no sense is refused with its path', async () => {
    const { mailer } = setUp()
    const bad: [object, string][] = [
      [{ status: 'delivered' }, 'filter.status'],
      [{ recipient: 'no mailbox' }, 'filter.recipient'],
      [{ recipient: 5 }, 'filter.recipient'],
      [{ tag: 5 }, 'filter.tag'],
      [{ since: 'yesterday' }, 'filter.since'],
      [{ until: Number.NaN }, 'filter.until'],
      [{ limit: 0 }, 'filter.limit'],
      [{ limit: 1_001 }, 'filter.limit'],
      [{ cursor: 'x' }, 'cursor'],
      [{ subject: 'x' }, 'filter'],
    ]
    for (const [filter, path] of bad) {
      const error = await rejection(mailer.messages.list(filter as never))
      assert.deepEqual([error.code, error.issues[0]?.path], ['VALIDATION_ERROR', path])
    }
    const foreign = await rejection(mailer.tenant('t').messages.list({ tenant: 'u' }))
    assert.equal(foreign.issues[0]?.path, 'filter.tenant')
  })
})

describe('resolve', () => {
  const cases: ['sent' | 'rejected' | 'failed', MessageStatus, string][] = [
    ['sent', 'sent', 'replays'],
    ['rejected', 'rejected', 'rejects'],
    ['failed', 'failed', 'sends'],
  ]
  for (const [outcome, status, repeat] of cases) {
    test(`P1: an operator settles an unknown message as ${outcome}, and its key ${repeat}`, async () => {
      const { a, mailer } = setUp()
      a.will(unknown)
      const { id } = await rejection(mailer.send(order, { idempotencyKey: 'k' }))
      const settled: string[] = []
      mailer.on('settled', (event) => settled.push(event.status))
      const receipt = await mailer.resolve(id!, outcome)
      assert.equal(receipt.status, status)
      assert.deepEqual(settled, [status])
      const record = await mailer.messages.get(id!)
      assert.equal(record?.recipients[0]?.status, outcome)
      assert.equal(record?.events.at(-1)?.type, 'resolved')
      assert.equal(record?.attempts[0]?.outcome, 'unknown', 'what was seen then stays on record')
      assert.equal(record?.sentAt !== undefined, outcome === 'sent')
      assert.deepEqual((await mailer.messages.list({ status: 'unknown' })).items, [])
      if (repeat === 'rejects') {
        assert.equal((await rejection(mailer.send(order, { idempotencyKey: 'k' }))).code, 'REJECTED')
      } else {
        const again = await mailer.send(order, { idempotencyKey: 'k' })
        assert.equal(again.replayed, repeat === 'replays')
        assert.equal(again.id === id, repeat === 'replays')
      }
      assert.equal(a.calls.length, repeat === 'sends' ? 2 : 1)
      assert.equal((await rejection(mailer.resolve(id!, outcome))).code, 'INVALID_STATE')
    })
  }

  test('a partly unknown message: only those who may have been mailed change', async () => {
    const { a, mailer } = setUp()
    a.will(({ envelope }) => ({ recipients: [{ address: envelope.recipients[1]!.address, outcome: 'unknown' }] }))
    const { id, status } = await mailer.send({ ...order, to: ['ada@example.com', 'bob@example.com'] })
    assert.equal(status, 'partial')
    const receipt = await mailer.resolve(id, 'rejected')
    assert.deepEqual(
      receipt.recipients.map((recipient) => recipient.status),
      ['sent', 'rejected'],
    )
    assert.equal((await rejection(mailer.resolve(id, 'sent'))).code, 'INVALID_STATE')
  })

  test('what nobody doubts, another’s, or what does not exist cannot be resolved', async () => {
    const { a, mailer } = setUp()
    const { id } = await mailer.send(order)
    assert.equal((await rejection(mailer.resolve(id, 'failed'))).code, 'INVALID_STATE')
    assert.equal((await rejection(mailer.resolve('msg_none', 'failed'))).code, 'NOT_FOUND')
    a.will(unknown)
    const { id: held } = await rejection(mailer.tenant('t').send(order))
    assert.equal((await rejection(mailer.resolve(held!, 'failed'))).code, 'NOT_FOUND')
    assert.equal((await rejection(mailer.tenant('u').resolve(held!, 'failed'))).code, 'NOT_FOUND')
    assert.equal((await rejection(mailer.resolve(held!, 'delivered' as never))).code, 'VALIDATION_ERROR')
    assert.equal((await mailer.tenant('t').resolve(held!, 'failed')).status, 'failed')
  })

  test('P4: resolved as failed gives the quota of a queued message back', async () => {
    const { a, clock, mailer } = setUp({ limits: { quota: { limit: 1, per: 86_400_000 } } })
    a.will(unknown)
    const { id } = await mailer.enqueue(order)
    await a.called()
    await clock.advance(1)
    assert.equal((await rejection(mailer.send(order))).code, 'SEND_LIMIT_EXCEEDED')
    await mailer.resolve(id, 'failed')
    assert.equal((await mailer.send(order)).status, 'sent')
  })
})

describe('round trips to the store', () => {
  const trips = async (work: (mailer: ReturnType<typeof setUp>['mailer']) => Promise<unknown>, ...steps: never[]) => {
    const verbs: string[] = []
    const { a, mailer } = setUp({ store: watched(memory(), (verb) => verbs.push(verb)), queue: { work: false } })
    a.will(...steps)
    await work(mailer).catch(() => undefined)
    return verbs
  }

  test('a send takes three, with a key or without; an enqueue two', async () => {
    assert.deepEqual(await trips((mailer) => mailer.send(order, { idempotencyKey: 'k' })), ['claim', 'renew', 'settle'])
    assert.deepEqual(await trips((mailer) => mailer.send(order)), ['suppress.hasMany', 'claim', 'settle'])
    assert.deepEqual(await trips((mailer) => mailer.enqueue(order, { idempotencyKey: 'k' })), ['claim', 'settle'])
    assert.deepEqual(await trips((mailer) => mailer.enqueue(order)), ['suppress.hasMany', 'claim'])
  })

  test('a refusal, a rejection and an unknown take no more', async () => {
    for (const step of [rejects, unknown, fails('login')]) {
      assert.deepEqual(await trips((mailer) => mailer.send(order, { idempotencyKey: 'k' }), step as never), [
        'claim',
        'renew',
        ...(step === rejects || step === unknown ? [] : ['renew']),
        'settle',
      ])
    }
  })
})
