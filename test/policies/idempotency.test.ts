import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createMailer, MailError, type Policy, type Receipt } from '../../src/index.ts'
import { memory as memoryStore } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { noAccidents } from '../support/accidents.ts'
import { order, refusal, runOut, setup } from '../support/mailbox.ts'
import { pending, scripted, sent } from '../support/scripted-provider.ts'
import { watched } from '../support/watched-store.ts'

noAccidents()

const key = { idempotencyKey: 'order-1048' }
const hour = 3_600_000

describe('one key, one mail (P7, K1 to K4)', () => {
  test('1,000 calls at once are one hand-over; the others answer the same receipt, replayed', async () => {
    const { mailer, outbox } = setup()
    const receipts = await Promise.all(Array.from({ length: 1_000 }, () => mailer.send(order, key)))
    assert.equal(outbox.sent().length, 1)
    assert.equal(receipts.filter(({ replayed }) => !replayed).length, 1)
    const [first] = receipts
    for (const receipt of receipts) assert.deepEqual({ ...receipt, replayed: first!.replayed }, first)
  })

  test('calls wait for the first one up to a bound, then say so; nothing is sent twice', async () => {
    const provider = scripted()
    const answer = pending()
    provider.will(answer)
    const clock = fakeClock()
    const mailer = createMailer({ providers: { provider }, from: 'hello@acme.example', clock })
    const first = mailer.send(order, { ...key, timeout: 60_000 })
    await provider.called()
    const others = Promise.allSettled(Array.from({ length: 50 }, () => mailer.send(order, { ...key, timeout: 60_000 })))
    const settled = await runOut(clock, others, 20_000)
    for (const result of settled) {
      assert.equal(result.status, 'rejected')
      const { code, retryable, id } = (result as PromiseRejectedResult).reason as MailError
      assert.deepEqual([code, retryable], ['IDEMPOTENCY_IN_PROGRESS', true])
      assert.match(id!, /^msg_/)
    }
    answer.answer()
    assert.equal((await first).replayed, false)
    assert.equal((await mailer.send(order, key)).replayed, true)
    assert.equal(provider.calls.length, 1)
  })

  test('a waiting call hears its own signal', async () => {
    const provider = scripted()
    const answer = pending()
    provider.will(answer)
    const mailer = createMailer({ providers: { provider }, from: 'hello@acme.example' })
    const first = mailer.send(order, key)
    await provider.called()
    const controller = new AbortController()
    const waiting = refusal(mailer.send(order, { ...key, signal: controller.signal }), 'CANCELLED')
    controller.abort()
    await waiting
    answer.answer()
    await first
  })

  test('a key belongs to tenant and mode (K1)', async () => {
    const tenants = { a: { route: 'outbox' }, b: { route: 'outbox' } }
    const { mailer, outbox } = setup({ tenants, requireTenant: false })
    const receipts = [
      await mailer.send(order, key),
      await mailer.send({ ...order, from: 'a@x.example' }, { ...key, tenant: 'a' }),
      await mailer.send({ ...order, from: 'b@x.example' }, { ...key, tenant: 'b' }),
      await mailer.send({ ...order, subject: 'Sandbox' }, { ...key, sandbox: true }),
    ]
    assert.deepEqual(
      receipts.map(({ replayed }) => replayed),
      [false, false, false, false],
    )
    assert.equal(outbox.sent().length, 3)
    const boxed = await mailer.send({ ...order, subject: 'Sandbox' }, { ...key, sandbox: true })
    assert.deepEqual([boxed.replayed, boxed.status, boxed.id], [true, 'sandboxed', receipts[3]!.id])
  })

  test('send, enqueue and batch items share a key', async () => {
    const { mailer, outbox } = setup()
    const { id } = await mailer.send(order, key)
    assert.equal((await mailer.enqueue(order, key)).id, id)
    const { results } = await mailer.sendBatch([{ message: order, options: key }])
    assert.deepEqual([results[0]!.receipt!.id, results[0]!.receipt!.replayed], [id, true])
    assert.equal(outbox.sent().length, 1)
  })

  test('another message under the key is a mismatch, while it is under way too (K3)', async () => {
    const provider = scripted()
    const answer = pending()
    provider.will(answer)
    const mailer = createMailer({ providers: { provider }, from: 'hello@acme.example' })
    const first = mailer.send(order, key)
    await provider.called()
    await refusal(mailer.send({ ...order, text: 'Other' }, key), 'IDEMPOTENCY_MISMATCH')
    answer.answer()
    const { id } = await first
    for (const change of [
      { subject: 'x' },
      { cc: 'b@example.com' },
      { attachments: [{ filename: 'a', content: new Uint8Array(1) }] },
    ]) {
      const error = await refusal(mailer.enqueue({ ...order, ...change }, key), 'IDEMPOTENCY_MISMATCH')
      assert.equal(error.id, id)
    }
    assert.equal(provider.calls.length, 1)
  })

  test('a queued message answers as it stands now', async () => {
    const { mailer, outbox, clock } = setup({ queue: { work: false } })
    const queued = await mailer.enqueue(order, key)
    assert.equal(queued.status, 'queued')
    const again = await mailer.send(order, key)
    assert.deepEqual(
      [again.status, again.replayed, again.id, again.createdAt],
      ['queued', true, queued.id, queued.createdAt],
    )
    await mailer.cancel(queued.id)
    const anew = await mailer.enqueue(order, { ...key, sendAt: clock.now() + 1 })
    assert.deepEqual([anew.status, anew.replayed], ['scheduled', false])
    assert.notEqual(anew.id, queued.id)
    assert.equal(outbox.sent().length, 0)
  })
})

describe('what keeps a key and what frees it (K4)', () => {
  for (const outcome of ['rejected', 'unknown'] as const) {
    test(`${outcome} is kept: send rejects again with the same code, enqueue resolves`, async () => {
      const { mailer, outbox } = setup()
      outbox.failNext(outcome)
      const first = await refusal(mailer.send(order, key))
      const again = await refusal(mailer.send(order, key), first.code)
      assert.equal(again.receipt!.id, first.receipt!.id)
      assert.equal(again.receipt!.replayed, true)
      assert.equal(again.outcome, outcome)
      const queued = await mailer.enqueue(order, key)
      assert.deepEqual([queued.status, queued.replayed], [outcome, true])
      assert.equal(outbox.sent().length, 0)
    })
  }

  test('failed frees it', async () => {
    const { mailer, outbox } = setup({ retry: { rounds: 1 } })
    outbox.failNext({ outcome: 'failed', kind: 'content' })
    const first = await refusal(mailer.send(order, key), 'SEND_FAILED')
    const receipt = await mailer.send({ ...order, text: 'Even another text' }, key)
    assert.deepEqual([receipt.status, receipt.replayed], ['sent', false])
    assert.notEqual(receipt.id, first.id)
  })

  const boom: Policy = () => async () => {
    throw new MailError('FORBIDDEN', 'not today')
  }
  const refusals: [string, () => Promise<[() => Promise<Receipt>, () => Promise<unknown>]>][] = [
    [
      'suppression',
      async () => {
        const { mailer } = setup()
        await mailer.suppressions.add({ address: 'ada@example.com' })
        return [() => mailer.send(order, key), () => mailer.suppressions.remove('ada@example.com')]
      },
    ],
    [
      'quota',
      async () => {
        const { mailer, clock } = setup({ limits: { quota: { limit: 1, per: 1_000 } } })
        await mailer.send(order)
        return [() => mailer.send(order, key), () => clock.advance(2_000)]
      },
    ],
    [
      'the ledger',
      async () => {
        let broken = true
        const { mailer } = setup({
          store: watched(memoryStore(), (verb) => {
            if (verb === 'renew' && broken) throw new Error('disk full')
          }),
        })
        return [
          () => mailer.send(order, key),
          async () => {
            broken = false
          },
        ]
      },
    ],
    [
      'a dispatch policy',
      async () => {
        let refuse = true
        const { mailer } = setup({
          policies: { dispatch: [(next) => (delivery) => (refuse ? boom(next)(delivery) : next(delivery))] },
        })
        return [
          () => mailer.send(order, key),
          async () => {
            refuse = false
          },
        ]
      },
    ],
    [
      'notAfter',
      async () => {
        const { mailer, clock } = setup()
        let notAfter = clock.now()
        return [
          () => mailer.send(order, { ...key, notAfter }),
          async () => {
            notAfter += hour
          },
        ]
      },
    ],
  ]
  for (const [what, prepare] of refusals) {
    test(`a refusal by ${what} frees it`, async () => {
      const [send, mend] = await prepare()
      await refusal(send)
      await refusal(send)
      await mend()
      const receipt = await send()
      assert.deepEqual([receipt.status, receipt.replayed], ['sent', false])
    })
  }

  test('those who waited for a call that was refused go on in its place, once', async () => {
    let refuse = 1
    const { mailer, outbox } = setup({
      policies: {
        dispatch: [
          (next) => async (delivery) => {
            await new Promise(setImmediate)
            if (refuse-- > 0) throw new MailError('FORBIDDEN', 'not the first')
            return next(delivery)
          },
        ],
      },
    })
    const settled = await Promise.allSettled(Array.from({ length: 100 }, () => mailer.send(order, key)))
    assert.equal(settled.filter(({ status }) => status === 'rejected').length, 1)
    assert.equal(outbox.sent().length, 1)
  })

  test('a key lives 24 h from acceptance, and as long as the outcome is unknown (K1)', async () => {
    const { mailer, outbox, clock } = setup()
    await mailer.send(order, key)
    outbox.failNext('unknown')
    await refusal(mailer.send(order, { idempotencyKey: 'lost' }), 'OUTCOME_UNKNOWN')
    await clock.advance(24 * hour - 1)
    assert.equal((await mailer.send(order, key)).replayed, true)
    await clock.advance(2)
    assert.equal((await mailer.send(order, key)).replayed, false)
    await clock.advance(48 * hour)
    await refusal(mailer.send(order, { idempotencyKey: 'lost' }), 'OUTCOME_UNKNOWN')
    assert.equal(outbox.sent().length, 2)
  })
})

describe('onUnknown: resend accepts duplicates on request', () => {
  test('an unknown message is sent again under its own id, and only then', async () => {
    const { mailer, outbox } = setup({ retry: { rounds: 1 } })
    outbox.failNext('unknown')
    const lost = await refusal(mailer.send(order, key), 'OUTCOME_UNKNOWN')
    await refusal(mailer.send(order, { ...key, onUnknown: 'hold' }), 'OUTCOME_UNKNOWN')
    const receipt = await mailer.send(order, { ...key, onUnknown: 'resend' })
    assert.deepEqual([receipt.status, receipt.id, receipt.attempts.length], ['sent', lost.id, 2])
    assert.equal(outbox.sent()[0]!.messageId, receipt.messageId)
    assert.equal((await mailer.send(order, { ...key, onUnknown: 'resend' })).replayed, true)
    assert.equal(outbox.sent().length, 1)
  })

  test('of many that resend at once one does', async () => {
    const provider = scripted()
    const answer = pending()
    provider.will(() => {
      throw new Error('no MailError, so it may have been sent')
    }, answer)
    const mailer = createMailer({ providers: { provider }, from: 'hello@acme.example', retry: { rounds: 1 } })
    await refusal(mailer.send(order, key), 'OUTCOME_UNKNOWN')
    const calls = Array.from({ length: 20 }, () => mailer.send(order, { ...key, onUnknown: 'resend' }))
    await provider.called(2)
    answer.answer(sent)
    await Promise.allSettled(calls)
    assert.equal(provider.calls.length, 2)
  })

  test('it does not resend to those who objected meanwhile (P3)', async () => {
    const { mailer, outbox } = setup({ retry: { rounds: 1 } })
    outbox.failNext('unknown')
    await refusal(mailer.send({ ...order, cc: 'bob@example.com' }, key), 'OUTCOME_UNKNOWN')
    await mailer.suppressions.add({ address: 'bob@example.com', reason: 'complaint' })
    await mailer.send({ ...order, cc: 'bob@example.com' }, { ...key, onUnknown: 'resend' })
    assert.deepEqual(
      outbox.sent().map(({ recipients, message }) => [recipients, message.cc]),
      [[['ada@example.com'], []]],
    )
  })
})
