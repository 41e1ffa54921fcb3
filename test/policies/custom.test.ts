import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Delivery, MailError, type Policy, type Receipt } from '../../src/index.ts'
import { noAccidents } from '../support/accidents.ts'
import { loose, order, refusal, runOut, setup } from '../support/mailbox.ts'

noAccidents()

const accept = (...policies: Policy[]) => setup({ policies: { accept: policies } })
const dispatch = (...policies: Policy[]) => setup({ policies: { dispatch: policies } })
/** Passes a changed message on. */
const changing =
  (change: (message: Delivery['message']) => unknown): Policy =>
  (next) =>
  (delivery) =>
    next({ ...delivery, message: loose(change(delivery.message)) })

describe('a message a policy changed is read again (P5, P6)', () => {
  test('and goes out changed', async () => {
    const { mailer, outbox } = accept(
      changing((message) => ({ ...message, subject: `[x] ${message.subject}`, bcc: 'Log <log@acme.example>' })),
    )
    const receipt = await mailer.send(order)
    assert.deepEqual(outbox.sent()[0]!.recipients, ['ada@example.com', 'log@acme.example'])
    assert.equal(outbox.sent()[0]!.message.subject, '[x] Your order')
    assert.equal(receipt.subject, '[x] Your order')
    assert.deepEqual(outbox.sent()[0]!.message.bcc, [{ name: 'Log', address: 'log@acme.example' }])
  })

  for (const [what, change] of [
    ['a bad address', { to: 'nobody' }],
    ['nobody left', { to: [] }],
    ['an unknown field', { colour: 'red' }],
    ['a line break in the subject', { subject: 'a\nBcc: x' }],
    ['a reserved header', { headers: { Bcc: 'x@example.com' } }],
    ['a class instance', new Map()],
    ['nothing', null],
  ] as [string, object | null][]) {
    test(`${what} is refused, at accept and at dispatch`, async () => {
      const policy = changing((message) =>
        change === null || change instanceof Map ? change : { ...message, ...change },
      )
      for (const { mailer, outbox } of [accept(policy), dispatch(policy)]) {
        const { code, issues } = await refusal(mailer.send(order))
        assert.equal(code, 'VALIDATION_ERROR')
        assert.ok(issues.length > 0)
        assert.equal(outbox.sent().length, 0)
      }
    })
  }

  test('and meets every later rule: recipient limit, senders, suppression, quota (P4)', async () => {
    const cc = { cc: ['b@example.com', 'c@example.com'] }
    const policies = { accept: [changing((message) => ({ ...message, ...cc }))] }
    await refusal(setup({ policies, limits: { recipients: 2 } }).mailer.send(order), 'RECIPIENT_LIMIT_EXCEEDED')
    await refusal(
      setup({ policies, limits: { quota: { limit: 2, per: 1_000 } } }).mailer.send(order),
      'SEND_LIMIT_EXCEEDED',
    )
    const { mailer, outbox } = setup({ policies })
    await mailer.suppressions.add({ address: 'c@example.com' })
    await mailer.send(order)
    assert.deepEqual(outbox.sent()[0]!.recipients, ['ada@example.com', 'b@example.com'])
    const forged = { accept: [changing((message) => ({ ...message, from: 'a@other.example' }))] }
    await refusal(setup({ policies: forged, senders: ['acme.example'] }).mailer.send(order), 'SENDER_NOT_ALLOWED')
  })

  test('and is fingerprinted after (K2)', async () => {
    let suffix = 0
    const stable = accept(changing((message) => ({ ...message, subject: message.subject.toUpperCase() })))
    await stable.mailer.send(order, { idempotencyKey: 'k' })
    assert.equal(
      (await stable.mailer.send({ ...order, subject: 'YOUR order' }, { idempotencyKey: 'k' })).replayed,
      true,
    )
    const unstable = accept(changing((message) => ({ ...message, subject: `${message.subject} ${suffix++}` })))
    await unstable.mailer.send(order, { idempotencyKey: 'k' })
    await refusal(unstable.mailer.send(order, { idempotencyKey: 'k' }), 'IDEMPOTENCY_MISMATCH')
  })

  test('a dispatch policy may change the text, never add people', async () => {
    const text = dispatch(changing((message) => ({ ...message, text: 'late' })))
    await text.mailer.send(order)
    assert.equal(text.outbox.sent()[0]!.message.text, 'late')
    const more = dispatch(changing((message) => ({ ...message, bcc: ['eve@example.com'] })))
    await refusal(more.mailer.send(order), 'CONFIGURATION_ERROR')
    assert.equal(more.outbox.sent().length, 0)
  })
})

describe('what a policy cannot do', () => {
  test('change id, tenant, mode, envelope or times', async () => {
    const { mailer, outbox } = accept(
      (next) => (delivery) =>
        next({
          ...delivery,
          id: 'msg_forged',
          messageId: '<forged@x>',
          tenant: 'other',
          sandbox: true,
          createdAt: 0,
          envelope: {
            from: 'x@x.example',
            recipients: [{ address: 'eve@example.com', key: 'eve@example.com', field: 'bcc' }],
          },
        }),
    )
    const receipt = await mailer.send(order)
    assert.match(receipt.id, /^msg_0/)
    assert.deepEqual(
      [receipt.tenant, receipt.sandbox, receipt.createdAt],
      [undefined, false, '2026-01-01T00:00:00.000Z'],
    )
    assert.deepEqual(outbox.sent()[0]!.recipients, ['ada@example.com'])
  })

  test('write into the delivery: it is frozen in depth', async () => {
    const writes: Policy = (next) => (delivery) => {
      assert.throws(() => Object.assign(delivery, { message: {} }), TypeError)
      assert.throws(() => Object.assign(delivery.message, { subject: 'x' }), TypeError)
      assert.throws(() => Object.assign(delivery.envelope, { from: 'x' }), TypeError)
      assert.throws(() => (delivery.envelope.recipients as unknown[]).push('x'), TypeError)
      assert.throws(() => Object.assign(delivery.envelope.recipients[0]!, { address: 'x' }), TypeError)
      return next(delivery)
    }
    const { mailer, outbox } = setup({
      policies: {
        accept: [writes, changing((m) => ({ ...m })), writes],
        dispatch: [writes, changing((m) => ({ ...m })), writes],
      },
    })
    await mailer.send({ ...order, cc: 'b@example.com' })
    await mailer.suppressions.add({ address: 'b@example.com' })
    await mailer.send({ ...order, cc: 'b@example.com' })
    assert.equal(outbox.sent().length, 2)
  })

  test('call next twice, at once or later (P2)', async () => {
    let kept: (() => Promise<Receipt>) | undefined
    const twice: Policy = (next) => async (delivery) => {
      kept = () => next(delivery)
      await next(delivery)
      return next(delivery)
    }
    const both: Policy = (next) => async (delivery) => (await Promise.all([next(delivery), next(delivery)]))[0]
    for (const policy of [twice, both]) {
      for (const { mailer, outbox } of [accept(policy), dispatch(policy)]) {
        await mailer.send(order).catch((error: unknown) => assert.ok(error instanceof MailError))
        assert.ok(outbox.sent().length <= 1)
      }
    }
    const { mailer, outbox } = dispatch(twice)
    await mailer.send(order)
    await assert.rejects(async () => kept!(), MailError)
    assert.equal(outbox.sent().length, 1)
  })

  test('pass on a delivery made of nothing, of another call, or none at all', async () => {
    const made = accept(
      (next) =>
        ({ message, envelope }) =>
          next(loose({ id: 'msg_x', message, envelope })),
    )
    await refusal(made.mailer.send(order), 'CONFIGURATION_ERROR')
    for (const nothing of [undefined, null, 5, {}]) {
      await refusal(accept((next) => () => next(loose(nothing))).mailer.send(order), 'CONFIGURATION_ERROR')
    }
    let first: Delivery | undefined
    const stolen = accept((next) => (delivery) => {
      first ??= delivery
      return next(first)
    })
    await stolen.mailer.send(order)
    await refusal(stolen.mailer.send({ ...order, to: 'bob@example.com' }), 'CONFIGURATION_ERROR')
    assert.deepEqual(
      stolen.outbox.sent().map(({ recipients }) => recipients),
      [['ada@example.com']],
    )
  })

  test('fail in any other way than with a MailError', async () => {
    for (const thrown of [new Error('canary'), 'text', undefined, null, 5, { outcome: 'sent' }]) {
      const sync: Policy = () => () => {
        throw thrown
      }
      const async_: Policy = () => () => Promise.reject(thrown)
      for (const policy of [sync, async_]) {
        for (const { mailer, outbox } of [accept(policy), dispatch(policy)]) {
          const error = await refusal(mailer.send(order))
          assert.equal(error.code, 'CONFIGURATION_ERROR')
          assert.ok(!JSON.stringify(error).includes('canary'))
          assert.equal(outbox.sent().length, 0)
        }
      }
    }
  })

  test('a MailError of its own reaches the caller as it is', async () => {
    const { mailer } = accept(() => async () => {
      throw new MailError('FORBIDDEN', 'Not on Sundays.')
    })
    assert.equal((await refusal(mailer.send(order), 'FORBIDDEN')).message, 'Not on Sundays.')
  })

  test('answer something that is no receipt', async () => {
    for (const answer of [undefined, null, 'sent', {}, { id: 5, status: 'sent' }]) {
      for (const policy of [(() => async () => loose(answer)) as Policy, (() => () => loose(answer)) as Policy]) {
        for (const { mailer, outbox } of [accept(policy), dispatch(policy)]) {
          await refusal(mailer.send(order), 'CONFIGURATION_ERROR')
          await refusal(mailer.send(order, { idempotencyKey: 'k' }), 'CONFIGURATION_ERROR')
          assert.equal(outbox.sent().length, 0)
        }
      }
    }
  })

  test('hang the call: time cuts it off, and a late next does nothing (P9)', async () => {
    for (const options of ['accept', 'dispatch'] as const) {
      const wake = Promise.withResolvers<void>()
      const late: unknown[] = []
      const hanging: Policy = (next) => async (delivery) => {
        await wake.promise
        return next(delivery).catch((error: unknown) => {
          late.push(error)
          throw error
        })
      }
      const { mailer, outbox, clock } = setup({ policies: { [options]: [hanging] } })
      const call = refusal(mailer.send(order, { timeout: 5_000, idempotencyKey: 'k' }), 'SEND_FAILED')
      await runOut(clock, call, 10_000)
      wake.resolve()
      for (let i = 0; i < 10; i++) await new Promise(setImmediate)
      assert.equal(late.length, 1)
      assert.equal(outbox.sent().length, 0, options)
      assert.equal(clock.pending, 0)
    }
  })

  test('a policy that hangs after the hand-over does not hide its outcome', async () => {
    const { mailer, outbox, clock } = dispatch((next) => async (delivery) => {
      await next(delivery)
      return new Promise<Receipt>(() => {})
    })
    const receipt = await runOut(clock, mailer.send(order, { timeout: 5_000 }), 10_000)
    assert.equal(receipt.status, 'sent')
    assert.equal(outbox.sent().length, 1)
  })
})

describe('what a policy can do', () => {
  test('answer in place of the rest', async () => {
    const { mailer, outbox } = accept(() => async ({ id, messageId }) => ({
      id,
      status: 'suppressed',
      messageId,
      from: 'x',
      subject: 'x',
      recipients: [],
      attempts: [],
      sandbox: false,
      replayed: false,
      createdAt: '2026-01-01T00:00:00.000Z',
    }))
    assert.equal((await mailer.send(order)).status, 'suppressed')
    assert.equal(outbox.sent().length, 0)
  })

  test('never call next at dispatch: the message ends certainly not sent', async () => {
    const { mailer, outbox, clock } = dispatch(() => async (delivery) => ({
      id: delivery.id,
      status: 'sent',
      messageId: delivery.messageId,
      from: 'x',
      subject: 'x',
      recipients: [],
      attempts: [],
      sandbox: false,
      replayed: false,
      createdAt: '2026-01-01T00:00:00.000Z',
    }))
    const error = await runOut(clock, refusal(mailer.send(order)), 40_000, 100)
    assert.equal(error.receipt!.status, 'failed')
    assert.equal(outbox.sent().length, 0)
  })

  test('be passed by many calls at once, each with its own delivery', async () => {
    const { mailer, outbox } = accept((next) => async (delivery) => {
      await new Promise(setImmediate)
      return next({ ...delivery, message: { ...delivery.message, subject: `for ${delivery.message.to[0]!.address}` } })
    })
    await Promise.all(Array.from({ length: 100 }, (_, i) => mailer.send({ ...order, to: `a${i}@example.com` })))
    assert.equal(outbox.sent().length, 100)
    for (const { message, recipients } of outbox.sent()) assert.equal(message.subject, `for ${recipients[0]}`)
  })
})
