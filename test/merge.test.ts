import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, failover, type MailerOptions, type Policy } from '../src/index.ts'
import { memory } from '../src/stores/memory.ts'
import { fakeClock } from '../src/testing/fake-clock.ts'
import { rejection } from './support/rejection.ts'
import { fails, handed, rejects, type ScriptedProvider, scripted, sent } from './support/scripted-provider.ts'

const content = { subject: 'News', text: 'Hello' }
const people = (count: number) => Array.from({ length: count }, (_, i) => ({ to: `p${i}@example.com` }))

function setUp(options: Partial<MailerOptions> = {}, providers: ScriptedProvider[] = [scripted('a', { bulk: 10 })]) {
  const clock = fakeClock()
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: Object.fromEntries(providers.map((provider) => [provider.name, provider])),
    route: failover(...providers.map(({ name }) => name)),
    clock,
    store: memory({ clock }),
    random: () => 0.5,
    ...(options as object),
  })
  /** Moves time on until the call has settled. */
  const settle = async <T>(call: Promise<T>): Promise<T> => {
    let open = true
    call.finally(() => (open = false)).catch(() => undefined)
    while (open) await clock.advance(10)
    return call
  }
  return { mailer, clock, a: providers[0]!, settle }
}

test('one content to many: each is alone in it, in native calls of the provider’s size, one result each in order', async () => {
  const { mailer, a, settle } = setUp()
  const result = await settle(
    mailer.sendMerge(
      { ...content, metadata: { campaign: 'x' }, headers: { 'X-All': '1' } },
      people(25).map((person, i) => ({ ...person, metadata: { n: `${i}` }, headers: { 'X-Own': `${i}` } })),
    ),
  )
  assert.deepEqual([result.total, result.sent, result.failed], [25, 25, 0])
  assert.deepEqual(
    result.results.map(({ index, receipt }) => [index, receipt?.recipients[0]?.address]),
    people(25).map(({ to }, i) => [i, to]),
  )
  assert.deepEqual(a.bulks, [10, 10, 5])
  for (const { message, envelope } of a.calls) {
    assert.equal(envelope.recipients.length, 1)
    assert.deepEqual(
      [...message.to, ...message.cc, ...message.bcc].map(({ address }) => address),
      [envelope.recipients[0]!.address],
    )
    const n = envelope.recipients[0]!.address.slice(1).split('@')[0]
    assert.deepEqual(message.metadata, { campaign: 'x', n })
    assert.deepEqual(
      message.headers.map(({ name, value }) => `${name}:${value}`),
      ['X-All:1', `X-Own:${n}`],
    )
  }
  assert.equal(new Set(result.results.map(({ receipt }) => receipt?.id)).size, 25)
})

test('O5: one call’s failure harms only its own recipients, and of them only those it names', async () => {
  const fallback = scripted('b')
  const a = scripted('a', { bulk: 2 })
  a.will(sent, rejects, fails('configuration'), sent, sent, sent)
  const { mailer, settle } = setUp({}, [a, fallback])
  const result = await settle(mailer.sendMerge(content, people(6)))
  assert.deepEqual(
    result.results.map(({ receipt, error }) => receipt?.provider ?? error?.code),
    ['a', 'REJECTED', 'b', 'a', 'a', 'a'],
  )
  assert.deepEqual(handed(fallback), [['p2@example.com']])
  assert.deepEqual([result.sent, result.failed], [5, 1])

  for (const [broken, code] of [
    [() => Promise.reject(new TypeError('all')), 'OUTCOME_UNKNOWN'],
    [async () => [], 'OUTCOME_UNKNOWN'],
    [async () => undefined, 'OUTCOME_UNKNOWN'],
    [
      () => {
        throw new TypeError('at once')
      },
      'OUTCOME_UNKNOWN',
    ],
  ] as const) {
    const c = Object.assign(scripted('a', { bulk: 3 }), { sendMany: broken }) as unknown as ScriptedProvider
    const other = scripted('b')
    const merge = setUp({}, [c, other])
    const failed = await merge.settle(merge.mailer.sendMerge(content, people(4)))
    assert.deepEqual(
      failed.results.map(({ receipt, error }) => receipt?.status ?? error?.code),
      [code, code, code, 'sent'],
      'the fourth left alone',
    )
    assert.equal(other.calls.length, 0)
  }
})

test('P5: every recipient passes every policy for itself', async () => {
  const { mailer, a, settle } = setUp({ limits: { quota: { limit: 3, per: 60_000 } } })
  await mailer.suppressions.add({ address: 'p1@example.com' })
  const result = await settle(mailer.sendMerge(content, [...people(5), { to: 'no address' }]))
  assert.deepEqual(
    result.results.map(({ receipt, error }) => receipt?.status ?? error?.code),
    ['sent', 'RECIPIENT_SUPPRESSED', 'sent', 'sent', 'SEND_LIMIT_EXCEEDED', 'VALIDATION_ERROR'],
  )
  assert.equal(result.suppressed, 1)
  assert.deepEqual(handed(a).flat().sort(), ['p0@example.com', 'p2@example.com', 'p3@example.com'])
})

test('P7: a key stands for (key, mailbox): a repeat mails those only who were not mailed', async () => {
  const { mailer, a, settle } = setUp()
  const options = { idempotencyKey: 'news-1' }
  await settle(mailer.sendMerge(content, people(3), options))
  const again = await settle(
    mailer.sendMerge(content, [{ to: 'P2 <p2@EXAMPLE.com>' }, ...people(4).reverse()], options),
  )
  assert.equal(again.results[0]?.error?.code, 'IDEMPOTENCY_MISMATCH', 'another name is another mail')
  assert.deepEqual(
    again.results.slice(1).map(({ receipt }) => receipt?.replayed),
    [false, true, true, true],
  )
  assert.equal(a.calls.length, 4)
})

test('P6: what a policy made different never leaves in the content of another', async () => {
  const personal: Policy = (next) => (delivery) =>
    next({ ...delivery, message: { ...delivery.message, subject: `For ${delivery.envelope.recipients[0]!.address}` } })
  const archive: Policy = (next) => (delivery) =>
    next({ ...delivery, message: { ...delivery.message, bcc: [{ address: 'archive@acme.example' }] } })
  for (const [policies, size] of [
    [{ dispatch: [personal] }, 3],
    [{ accept: [personal] }, 3],
    [{ accept: [archive] }, 3],
  ] as const) {
    const { mailer, a, settle } = setUp({ policies })
    const result = await settle(mailer.sendMerge(content, people(3)))
    assert.equal(result.sent, size)
    assert.deepEqual(a.bulks, [], 'each left in a call of its own')
    assert.equal(a.calls.length, 3)
  }
})

test('a stream is read once and reaches everybody', async () => {
  const { mailer, a, settle } = setUp()
  async function* stream() {
    yield Buffer.from('the same ')
    yield Buffer.from('for all')
  }
  const result = await settle(
    mailer.sendMerge({ ...content, attachments: [{ filename: 'a.txt', content: stream() }] }, people(3)),
  )
  assert.equal(result.sent, 3, JSON.stringify(result.results))
  for (const { message } of a.calls) {
    assert.equal(Buffer.from(message.attachments[0]!.content).toString(), 'the same for all')
  }
})

test('malformed calls reject; variables are refused until there are templates', async () => {
  const { mailer, a, settle } = setUp({ limits: { batch: 3 } })
  const refused: (() => Promise<unknown>)[] = [
    () => mailer.sendMerge(content, people(4)),
    () => mailer.sendMerge(content, 'ada@example.com' as never),
    () => mailer.sendMerge(content, undefined as never),
    () => mailer.sendMerge(undefined as never, people(1)),
    () => mailer.sendMerge([] as never, people(1)),
    () => mailer.sendMerge({ ...content, to: 'ada@example.com' } as never, people(1)),
    () => mailer.sendMerge({ ...content, bcc: 'ada@example.com' } as never, people(1)),
  ]
  for (const call of refused) assert.equal((await rejection(call())).code, 'VALIDATION_ERROR')
  const odd = [{ to: 'ada@example.com', variables: { a: 1 } }, { to: ['ada@example.com'] }, null]
  const result = await settle(mailer.sendMerge(content, odd as never))
  assert.deepEqual(
    result.results.map(({ error }) => error?.code),
    ['UNSUPPORTED_FEATURE', 'VALIDATION_ERROR', 'VALIDATION_ERROR'],
  )
  assert.deepEqual((await mailer.sendMerge(content, [])).results, [])
  assert.equal(a.calls.length, 0)
})

test('failed ones of a merge meet again in the next round', async () => {
  const a = scripted('a', { bulk: 10 })
  a.will(...Array(4).fill(fails('transient')))
  const { mailer, settle } = setUp({ random: () => 0.7 }, [a])
  const result = await settle(mailer.sendMerge(content, people(4)))
  assert.equal(result.sent, 4)
  assert.deepEqual(a.bulks, [4, 4])
})
