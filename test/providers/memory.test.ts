import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { memory } from '../../providers/memory.ts'
import { type Answer, MailError } from '../../src/provider.ts'
import { deliveryOf } from '../support/delivery.ts'

const context = () => ({ signal: new AbortController().signal, timeout: 1000 })

test('what was sent is remembered with its facts, bcc included, and the newest to a mailbox is found', async () => {
  const provider = memory()
  const first = deliveryOf({ message: { bcc: [{ address: 'Bob@xn--bcher-kva.example' }], subject: 'one' } })
  const second = deliveryOf({ tenant: 't1', message: { subject: 'two' } })
  const answer = await provider.send(first, context())
  await provider.send(second, context())
  const [one, two] = provider.sent()
  assert.equal(one?.id, first.id)
  assert.equal(one?.messageId, first.messageId)
  assert.equal(one?.message, first.message)
  assert.equal(one?.providerMessageId, answer.providerMessageId)
  assert.deepEqual(one?.recipients, ['ada@example.com', 'Bob@xn--bcher-kva.example'])
  assert.equal(two?.tenant, 't1')
  assert.notEqual(one?.providerMessageId, two?.providerMessageId)
  assert.equal(provider.lastTo('ADA@EXAMPLE.com')?.id, second.id)
  assert.equal(provider.lastTo('bob@Bücher.example')?.id, first.id)
  assert.equal(provider.lastTo('nobody@example.com'), undefined)
  provider.clear()
  assert.deepEqual(provider.sent(), [])
  assert.equal(one?.id, first.id, 'what was handed out stays as it was')
})

test('P10 it remembers at most `limit` mails, the newest', async () => {
  const provider = memory({ limit: 3 })
  for (let n = 1; n <= 20; n++) {
    await provider.send(deliveryOf({ message: { subject: `${n}`, to: [{ address: `n${n}@example.com` }] } }), context())
    assert.ok(provider.sent().length <= 3)
  }
  assert.deepEqual(
    provider.sent().map((mail) => mail.message.subject),
    ['18', '19', '20'],
  )
  assert.equal(provider.lastTo('n17@example.com'), undefined)
  const forgetful = memory({ limit: 0 })
  await forgetful.send(deliveryOf(), context())
  assert.deepEqual(forgetful.sent(), [])
})

test('failNext ends the next hand-overs as told, and then all is well again', async () => {
  const provider = memory()
  provider.failNext('rejected')
  provider.failNext({ outcome: 'failed', kind: 'throttled', reason: 'slow down', retryAfter: 5000 }, 2)
  provider.failNext('unknown')
  const seen: (MailError | Answer)[] = []
  for (let n = 0; n < 5; n++) seen.push(await provider.send(deliveryOf(), context()).catch((error) => error))
  const facts = seen.map((one) =>
    one instanceof MailError ? [one.code, one.outcome, one.kind, one.retryable, one.retryAfter] : 'sent',
  )
  assert.deepEqual(facts, [
    ['REJECTED', 'rejected', 'content', false, undefined],
    ['SEND_FAILED', 'failed', 'throttled', true, 5000],
    ['SEND_FAILED', 'failed', 'throttled', true, 5000],
    ['OUTCOME_UNKNOWN', 'unknown', 'connection', false, undefined],
    'sent',
  ])
  assert.equal(provider.sent().length, 1)
})

test('O5 a failure of some recipients leaves the others sent', async () => {
  const provider = memory()
  const delivery = deliveryOf({ message: { to: [{ address: 'a@example.com' }, { address: 'b@example.com' }] } })
  provider.failNext({ outcome: 'rejected', recipients: ['b@example.com'] })
  const answer = await provider.send(delivery, context())
  assert.deepEqual(answer.recipients, [
    { address: 'b@example.com', outcome: 'rejected', reason: 'planned by failNext' },
  ])
  assert.deepEqual(provider.sent()[0]?.recipients, ['a@example.com'])
  provider.failNext({ outcome: 'rejected', recipients: ['a@example.com', 'b@example.com'] })
  await assert.rejects(provider.send(delivery, context()), { outcome: 'rejected' })
})

test('P13 a bulk call answers per delivery, in order', async () => {
  const provider = memory()
  provider.failNext('failed')
  const answers = (await provider.sendMany?.([deliveryOf(), deliveryOf()], context())) ?? []
  assert.equal((answers[0] as MailError).outcome, 'failed')
  assert.equal((answers[1] as Answer).providerMessageId, provider.sent()[0]?.providerMessageId)
})

test('an aborted signal sends nothing', async () => {
  const provider = memory()
  const signal = AbortSignal.abort()
  await assert.rejects(provider.send(deliveryOf(), { signal, timeout: 1000 }), { outcome: 'failed', kind: 'aborted' })
  assert.equal(provider.sent().length, 0)
})

test('options are checked when it is made; capabilities and refuse are what the test says', () => {
  const wrong = [{ limit: -1 }, { limit: 1.5 }, { keep: 1 }] as object[]
  for (const options of wrong) assert.throws(() => memory(options), { code: 'CONFIGURATION_ERROR' })
  const issue = { path: 'calendar', code: 'unsupported', message: 'no calendars here' }
  const provider = memory({ from: 'a@example.com', capabilities: { recipients: 2 }, refuse: () => [issue] })
  assert.equal(provider.capabilities.recipients, 2)
  assert.equal(provider.capabilities.bulk, 1000)
  assert.equal(provider.from, 'a@example.com')
  assert.deepEqual(provider.refuse?.(deliveryOf(), undefined), [issue])
})

test('P11 inspection and JSON of the provider show no mail', async () => {
  const provider = memory()
  await provider.send(deliveryOf({ message: { text: 'canary' } }), context())
  assert.doesNotMatch(inspect(provider, { depth: 9, showHidden: true }) + JSON.stringify(provider), /canary|ada@/)
})
