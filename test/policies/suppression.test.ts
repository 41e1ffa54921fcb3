import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Policy } from '../../src/index.ts'
import { noAccidents } from '../support/accidents.ts'
import { order, refusal, setup } from '../support/mailbox.ts'

noAccidents()

const people = {
  ...order,
  to: ['ada@example.com', 'Bob <bob@example.com>'],
  cc: 'carol@example.com',
  bcc: 'dan@example.com',
}

describe('suppressed means never (P3)', () => {
  test('they leave the envelope, To and Cc, and stand in the receipt with the reason', async () => {
    const { mailer, outbox } = setup()
    await mailer.suppressions.add({ address: 'bob@example.com', reason: 'hard_bounce' })
    await mailer.suppressions.add({ address: 'carol@example.com', reason: 'complaint' })
    await mailer.suppressions.add({ address: 'dan@example.com', reason: 'unsubscribe' })
    const receipt = await mailer.send(people)
    const [mail] = outbox.sent()
    assert.deepEqual(mail!.recipients, ['ada@example.com'])
    assert.deepEqual(
      [mail!.message.to, mail!.message.cc, mail!.message.bcc],
      [[{ address: 'ada@example.com' }], [], []],
    )
    assert.equal(receipt.status, 'sent')
    assert.deepEqual(
      receipt.recipients.map(({ address, status, reason }) => [address, status, reason]),
      [
        ['ada@example.com', 'sent', undefined],
        ['bob@example.com', 'suppressed', 'hard_bounce'],
        ['carol@example.com', 'suppressed', 'complaint'],
        ['dan@example.com', 'suppressed', 'unsubscribe'],
      ],
    )
  })

  test('no `to` left: nobody is mailed, cc and bcc neither', async () => {
    const { mailer, outbox } = setup()
    await mailer.suppressions.add({ address: 'ada@example.com' })
    await mailer.suppressions.add({ address: 'bob@example.com' })
    for (const call of [mailer.send(people), mailer.enqueue(people), mailer.send(people, { sandbox: true })]) {
      const error = await refusal(call, 'RECIPIENT_SUPPRESSED')
      assert.ok(!JSON.stringify(error).includes('example.com'))
    }
    assert.equal(outbox.sent().length, 0)
  })

  for (const [suppressed, written] of [
    ['ada@example.com', 'Ada <ADA@EXAMPLE.COM>'],
    ['ADA@Example.Com', 'ada@example.com'],
    ['"ada"@example.com', 'ada@example.com'],
    ['ada@example.com', '"ada"@example.com'],
    ['"a b"@example.com', '"A\\ b"@example.com'],
    ['ada@exämple.com', 'ada@xn--exmple-cua.com'],
    ['ada@xn--exmple-cua.com', 'ada@EXÄMPLE.com'],
    ['ada@example.com.', 'ada@example.com'],
    ['jürgen@example.com', 'ju\u0308rgen@example.com'],
    ['Jürgen@example.com', 'JÜRGEN@example.com'],
  ] as const) {
    test(`${suppressed} covers ${written} (A5)`, async () => {
      const { mailer, outbox } = setup()
      const added = await mailer.suppressions.add({ address: suppressed }).catch(() => undefined)
      if (added === undefined) {
        // What cannot be suppressed cannot be mailed either.
        await refusal(mailer.send({ ...order, to: suppressed }), 'VALIDATION_ERROR')
        return
      }
      await refusal(mailer.send({ ...order, to: written }), 'RECIPIENT_SUPPRESSED')
      await refusal(
        mailer.send({ ...order, to: { name: 'A', address: written.replace(/^.*<|>$/g, '') } }),
        'RECIPIENT_SUPPRESSED',
      )
      assert.equal(outbox.sent().length, 0)
    })
  }

  test('what the mailer is told to take can be suppressed: literals and single labels', async () => {
    const { mailer } = setup({ addresses: { literals: true, singleLabel: true } })
    for (const address of ['ada@[192.0.2.1]', 'ada@intranet']) {
      await mailer.suppressions.add({ address })
      await refusal(mailer.send({ ...order, to: address }), 'RECIPIENT_SUPPRESSED')
    }
  })

  test('a scope covers its stream or topic only', async () => {
    const { mailer } = setup()
    await mailer.suppressions.add({ address: 'ada@example.com', scope: { stream: 'marketing' } })
    await mailer.suppressions.add({ address: 'bob@example.com', scope: { topic: 'news' } })
    assert.equal((await mailer.send(order)).status, 'sent')
    await refusal(mailer.send(order, { stream: 'marketing' }), 'RECIPIENT_SUPPRESSED')
    const toBob = { ...order, to: 'bob@example.com' }
    assert.equal((await mailer.send(toBob, { stream: 'marketing' })).status, 'sent')
    assert.equal((await mailer.send({ ...toBob, topic: 'offers' })).status, 'sent')
    await refusal(mailer.send({ ...toBob, topic: 'news' }), 'RECIPIENT_SUPPRESSED')
  })

  test('an entry ends at its moment, not before', async () => {
    const { mailer, clock } = setup()
    await mailer.suppressions.add({ address: 'ada@example.com', expiresAt: clock.now() + 1_000 })
    await clock.advance(999)
    await refusal(mailer.send(order), 'RECIPIENT_SUPPRESSED')
    await clock.advance(1)
    assert.equal((await mailer.send(order)).status, 'sent')
  })

  test('a tenant’s list is its own (P8)', async () => {
    const { mailer } = setup({ tenants: { a: { route: 'outbox' }, b: { route: 'outbox' } }, requireTenant: false })
    await mailer.tenant('a').suppressions.add({ address: 'ada@example.com' })
    const from = { ...order, from: 'x@acme.example' }
    await refusal(mailer.tenant('a').send(from), 'RECIPIENT_SUPPRESSED')
    assert.equal((await mailer.tenant('b').send(from)).status, 'sent')
    assert.equal((await mailer.send(from)).status, 'sent')
  })
})

describe('the last look is directly before the provider (P3)', () => {
  /** Suppresses while the message is on its way, after accept looked. */
  const meanwhile =
    (suppress: () => Promise<unknown>): Policy =>
    (next) =>
    async (delivery) => {
      await suppress()
      return next(delivery)
    }

  test('who objected meanwhile is not mailed, on send and from the queue', async () => {
    for (const mode of ['send', 'enqueue'] as const) {
      const setups = setup({
        policies: { dispatch: [meanwhile(() => setups.mailer.suppressions.add({ address: 'carol@example.com' }))] },
      })
      const { mailer, outbox, clock } = setups
      const { id } = await mailer[mode](people)
      await clock.advance(1)
      const record = await mailer.messages.get(id)
      assert.equal(record!.status, 'sent')
      assert.deepEqual(outbox.sent()[0]!.recipients, ['ada@example.com', 'bob@example.com', 'dan@example.com'])
      assert.deepEqual(outbox.sent()[0]!.message.cc, [])
      assert.equal(record!.recipients.find(({ address }) => address.startsWith('carol'))!.status, 'suppressed')
      await mailer.close()
    }
  })

  test('no `to` left then: nobody is mailed, and the key is free again', async () => {
    const setups = setup({
      policies: { dispatch: [meanwhile(() => setups.mailer.suppressions.add({ address: 'ada@example.com' }))] },
    })
    const { mailer, outbox } = setups
    const error = await refusal(
      mailer.send({ ...order, cc: 'carol@example.com' }, { idempotencyKey: 'k' }),
      'RECIPIENT_SUPPRESSED',
    )
    assert.deepEqual(
      error.receipt!.recipients.map(({ status }) => status),
      ['suppressed', 'failed'],
    )
    assert.equal(outbox.sent().length, 0)
    assert.equal((await mailer.send({ ...order, to: 'bob@example.com' }, { idempotencyKey: 'k' })).replayed, false)
  })

  test('in a second round nobody is mailed when those left objected, and no empty hand-over is made', async () => {
    let rounds = 0
    const setups = setup({
      retry: { base: 1 },
      policies: {
        dispatch: [
          (next) => async (delivery) => {
            if (++rounds === 2) await setups.mailer.suppressions.add({ address: 'bob@example.com' })
            return next(delivery)
          },
        ],
      },
    })
    const { mailer, outbox, clock } = setups
    outbox.failNext({ outcome: 'failed', recipients: ['bob@example.com'] })
    const call = mailer.send({ ...order, to: ['ada@example.com', 'bob@example.com'] })
    await clock.advance(60_000)
    const receipt = await call
    assert.deepEqual(
      receipt.recipients.map(({ status }) => status),
      ['sent', 'suppressed'],
    )
    assert.deepEqual(
      outbox.sent().map(({ recipients }) => recipients),
      [['ada@example.com']],
    )
  })
})
