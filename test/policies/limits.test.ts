import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { MailError } from '../../src/index.ts'
import { noAccidents } from '../support/accidents.ts'
import { order, refusal, setup } from '../support/mailbox.ts'

noAccidents()

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
console.log(`SEED=${seed}`)

const quota = (limit: number, per = 60_000) => ({ limits: { quota: { limit, per } } })
const to = (count: number, name = 'a') => Array.from({ length: count }, (_, i) => `${name}${i}@example.com`)

describe('limits count mailboxes (P4)', () => {
  test('each once, over to, cc and bcc, in every spelling', async () => {
    const { mailer } = setup(quota(3))
    const message = {
      ...order,
      to: ['Ada <ada@example.com>', 'ADA@example.com'],
      cc: ['"ada"@example.com', 'bob@example.com'],
      bcc: ['bob@EXAMPLE.com', 'carol@example.com'],
    }
    await mailer.send(message)
    const error = await refusal(mailer.send(order), 'SEND_LIMIT_EXCEEDED')
    assert.ok(error.retryAfter! > 0 && error.retryAfter! <= 62_000)
    assert.match(
      error.message,
      /^The mailer’s limits\.quota of 3 mailboxes in 60 s is used up\. It frees in 6\d(\.\d)? s\.$/,
    )
  })

  test('recipients: exactly the limit passes, one more names the count', async () => {
    const { mailer } = setup({ limits: { recipients: 3 } })
    await mailer.send({ ...order, to: to(1), cc: to(1, 'b'), bcc: [...to(1, 'c'), ...to(1)] })
    const { issues } = await refusal(
      mailer.send({ ...order, to: to(2), cc: to(1, 'b'), bcc: to(1, 'c') }),
      'RECIPIENT_LIMIT_EXCEEDED',
    )
    assert.match(issues[0]!.message, /^4 mailboxes/)
    const plain = setup().mailer
    await plain.send({ ...order, to: to(50) })
    await refusal(plain.send({ ...order, to: to(51) }), 'RECIPIENT_LIMIT_EXCEEDED')
  })

  test('the suppressed do not count', async () => {
    const { mailer } = setup(quota(1))
    await mailer.suppressions.add({ address: 'b0@example.com' })
    assert.equal((await mailer.send({ ...order, cc: to(1, 'b') })).status, 'sent')
  })

  test('a message larger than the quota never fits, and says so', async () => {
    const { mailer } = setup(quota(2))
    const error = await refusal(mailer.send({ ...order, to: to(3) }), 'SEND_LIMIT_EXCEEDED')
    assert.deepEqual([error.retryable, error.retryAfter], [false, undefined])
    assert.equal((await mailer.send({ ...order, to: to(2) })).status, 'sent')
  })

  test('several windows hold together; a refusal by one takes from none', async () => {
    const { mailer, clock } = setup({
      limits: {
        quota: [
          { limit: 2, per: 1_000 },
          { limit: 3, per: 100_000 },
        ],
      },
    })
    await mailer.send({ ...order, to: to(2) })
    for (let i = 0; i < 5; i++) await refusal(mailer.send(order), 'SEND_LIMIT_EXCEEDED')
    await clock.advance(1_100)
    await mailer.send(order)
    await refusal(mailer.send(order), 'SEND_LIMIT_EXCEEDED')
  })

  test('mailer and tenant both count, and a tenant’s refusal gives the mailer’s share back', async () => {
    const tenants = {
      a: { route: 'outbox', limits: { quota: { limit: 1, per: 60_000 } } },
      b: { route: 'outbox' },
    }
    const { mailer } = setup({ ...quota(3), tenants })
    const send = (tenant: string) => mailer.send({ ...order, from: 'x@acme.example' }, { tenant })
    await send('a')
    for (let i = 0; i < 5; i++) await refusal(send('a'), 'SEND_LIMIT_EXCEEDED')
    await send('b')
    await send('b')
    await refusal(send('b'), 'SEND_LIMIT_EXCEEDED')
  })
})

describe('what is taken and not used goes back; never over, sometimes under', () => {
  const one = quota(1)

  test('after a certain failure', async () => {
    const { mailer, outbox } = setup({ ...one, retry: { rounds: 1 } })
    outbox.failNext({ outcome: 'failed', kind: 'content' })
    await refusal(mailer.send(order), 'SEND_FAILED')
    assert.equal((await mailer.send(order)).status, 'sent')
  })

  for (const outcome of ['rejected', 'unknown'] as const) {
    test(`not after ${outcome}`, async () => {
      const { mailer, outbox } = setup(one)
      outbox.failNext(outcome)
      await refusal(mailer.send(order))
      await refusal(mailer.send(order), 'SEND_LIMIT_EXCEEDED')
    })
  }

  test('after expiry, cancel, a late suppression and a refusal at dispatch', async () => {
    const { mailer, clock, outbox } = setup({
      ...one,
      queue: { work: false },
      policies: {
        dispatch: [
          (next) => (delivery) => {
            if (delivery.message.subject === 'refuse') throw new MailError('FORBIDDEN', 'no')
            return next(delivery)
          },
        ],
      },
    })
    await refusal(mailer.send(order, { notAfter: clock.now() }), 'EXPIRED')
    const { id } = await mailer.enqueue(order)
    await refusal(mailer.send(order), 'SEND_LIMIT_EXCEEDED')
    await mailer.cancel(id)
    await refusal(mailer.send({ ...order, subject: 'refuse' }))
    assert.equal((await mailer.send(order)).status, 'sent')
    await refusal(mailer.send(order), 'SEND_LIMIT_EXCEEDED')
    assert.equal(outbox.sent().length, 1)
  })

  test('not for a replay, nor in the sandbox, nor for a plan', async () => {
    const { mailer } = setup(one)
    await mailer.send(order, { sandbox: true })
    await mailer.plan(order)
    await mailer.send(order, { idempotencyKey: 'k' })
    for (let i = 0; i < 3; i++) await mailer.send(order, { idempotencyKey: 'k' })
    await refusal(mailer.send(order), 'SEND_LIMIT_EXCEEDED')
  })

  test('calls at once cannot pass it', async () => {
    const { mailer, outbox } = setup(quota(10))
    await Promise.allSettled(Array.from({ length: 100 }, (_, i) => mailer.send({ ...order, to: to(3, `r${i}-`) })))
    assert.equal(outbox.sent().length, 3)
  })

  test('in no window of any length run is more handed over than allowed', async () => {
    const step = fc.record({ wait: fc.integer({ min: 0, max: 700 }), count: fc.integer({ min: 1, max: 4 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
        const { mailer, clock } = setup(quota(6, 1_000))
        const handed: { at: number; count: number }[] = []
        for (const { wait, count } of steps) {
          await clock.advance(wait)
          const sent = await mailer.send({ ...order, to: to(count) }).catch(() => undefined)
          if (sent) handed.push({ at: clock.now(), count })
        }
        for (const { at } of handed) {
          const inWindow = handed.filter((other) => other.at >= at && other.at < at + 1_000)
          assert.ok(inWindow.reduce((sum, { count }) => sum + count, 0) <= 6)
        }
      }),
      { seed, numRuns: 40 },
    )
  })
})

describe('the sandbox hands nothing over and counts nothing', () => {
  for (const [what, options, call] of [
    ['by option', {}, { sandbox: true }],
    ['of the mailer', { sandbox: true }, {}],
    ['of the mailer, which a call cannot leave', { sandbox: true }, { sandbox: false }],
  ] as const) {
    test(what, async () => {
      const { mailer, outbox, clock } = setup({ ...options, ...quota(1) })
      for (const mode of ['send', 'enqueue', 'send'] as const) {
        const receipt = await mailer[mode](order, call)
        assert.deepEqual(
          [receipt.status, receipt.sandbox, receipt.recipients[0]!.status],
          ['sandboxed', true, 'sandboxed'],
        )
        assert.equal((await mailer.messages.get(receipt.id))!.status, 'sandboxed')
      }
      await clock.advance(60_000)
      assert.equal(outbox.sent().length, 0)
    })
  }

  test('what would be refused live is refused there too', async () => {
    const { mailer } = setup({ sandbox: true, senders: ['acme.example'], limits: { recipients: 1 } })
    await refusal(mailer.send({ ...order, subject: '' }), 'VALIDATION_ERROR')
    await refusal(mailer.send({ ...order, from: 'a@other.example' }), 'SENDER_NOT_ALLOWED')
    await refusal(mailer.send({ ...order, cc: 'b@example.com' }), 'RECIPIENT_LIMIT_EXCEEDED')
  })
})
