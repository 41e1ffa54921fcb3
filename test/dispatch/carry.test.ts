import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, failover, type Message } from '../../src/index.ts'
import type { Capabilities } from '../../src/provider.ts'
import { rejection } from '../support/rejection.ts'
import { everything, fails, handed, scripted } from '../support/scripted-provider.ts'

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }
const file = { filename: 'a.txt', content: Buffer.from('x') }

/** What a provider lacks, and the least message it cannot carry for that; the field the error must name. */
const lacks: readonly [Partial<Capabilities>, Partial<Message>, string][] = [
  [{ recipients: 1 }, { cc: 'bob@example.com' }, 'to'],
  [{ bytes: 100_000 }, { text: 'x'.repeat(200_000) }, 'attachments'],
  [{ headers: 0 }, { headers: { 'X-A': '1' } }, 'headers'],
  [{ replyTo: 1 }, { replyTo: ['r@example.com', 's@example.com'] }, 'replyTo'],
  [{ replyTo: 0 }, { replyTo: 'r@example.com' }, 'replyTo'],
  [{ attachments: false }, { attachments: [file] }, 'attachments'],
  [{ inline: false }, { html: '<img src="cid:a">', attachments: [{ ...file, contentId: 'a' }] }, 'attachments'],
  [{ calendar: false }, { calendar: { method: 'REQUEST', content: 'BEGIN:VCALENDAR\r\nEND:VCALENDAR' } }, 'calendar'],
  [{ tags: 1 }, { tags: ['a', 'b'] }, 'tags'],
  [{ tags: false }, { tags: ['a'] }, 'tags'],
  [{ metadata: false }, { metadata: { a: '1' } }, 'metadata'],
  [{ nonAsciiLocalPart: 'never' }, { to: 'jürgen@example.com' }, 'to'],
]

for (const [capabilities, fields, path] of lacks) {
  const what = JSON.stringify(capabilities)
  test(`a provider with ${what} is never called for what it cannot carry: refused by name, routed around, planned`, async () => {
    const poor = scripted('poor', capabilities)
    const rich = scripted('rich')
    const providers = { poor, rich }
    const mailer = createMailer({ from: 'hello@acme.example', providers, route: failover('poor', 'rich') })
    const input = { ...message, ...fields }

    const error = await rejection(mailer.send(input, { provider: 'poor' }))
    assert.equal(error.code, 'UNSUPPORTED_FEATURE')
    assert.deepEqual(
      error.issues.map((issue) => issue.path),
      [path],
    )
    assert.equal(error.id, undefined, 'refused before anything was kept')
    const receipt = await mailer.send(input)
    assert.equal(receipt.provider, 'rich')
    assert.equal(receipt.attempts.length, 1)
    const plan = await mailer.plan(input)
    assert.equal(plan.provider, 'rich')
    assert.deepEqual(
      plan.route[0]?.issues.map((issue) => issue.path),
      [path],
    )
    assert.equal(poor.calls.length, 0)
    assert.equal(
      (await mailer.send({ ...message, to: 'ada@example.com' })).provider,
      'poor',
      'an ordinary one it takes',
    )
  })
}

test('O9: a mailbox that is not ASCII goes where it can, or nowhere', async () => {
  const never = scripted('never', { nonAsciiLocalPart: 'never' })
  const asks = scripted('asks', { nonAsciiLocalPart: 'negotiated' })
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { never, asks },
    route: failover('never', 'asks'),
  })
  assert.equal((await mailer.send({ ...message, to: 'jürgen@example.com' })).provider, 'asks')
  assert.equal(
    (await mailer.send({ ...message, to: 'juergen@exämple.com' })).provider,
    'never',
    'a domain has A-labels',
  )
})

test('what refuse names, and options nobody takes, are found before the wire', async () => {
  const picky = Object.assign(scripted('picky'), {
    refuse: (_: unknown, options: unknown) =>
      options === undefined ? [] : [{ path: 'providerOptions.picky.pool', code: 'unknown_field', message: 'No.' }],
  })
  const plain = scripted('plain')
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { picky, plain },
    route: failover('picky', 'plain'),
  })
  const given = { ...message, providerOptions: { picky: { pool: 'x' } } }
  assert.equal((await mailer.send(given as never)).provider, 'plain')
  const other = { ...message, providerOptions: { picky: { pool: 'x' }, plain: { a: 1 } } }
  const error = await rejection(mailer.send(other as never))
  assert.equal(error.code, 'UNSUPPORTED_FEATURE')
  assert.deepEqual(
    error.issues.map(({ path }) => path),
    ['providerOptions.picky.pool', 'providerOptions'],
  )
  const stranger = { ...message, providerOptions: { nobody: {} } }
  assert.equal((await rejection(mailer.send(stranger as never))).code, 'VALIDATION_ERROR')
  assert.equal(picky.calls.length, 0)
})

test('P9: a refuse that throws is a MailError before anything is sent', async () => {
  const broken = Object.assign(scripted('broken'), {
    refuse: () => {
      throw new TypeError('secret')
    },
  })
  const mailer = createMailer({ from: 'hello@acme.example', providers: { broken } })
  const error = await rejection(mailer.send(message))
  assert.equal(error.code, 'CONFIGURATION_ERROR')
  assert.doesNotMatch(JSON.stringify(error), /secret/)
  assert.equal(broken.calls.length, 0)
})

test('what is hidden after a suppression does not count as a partial repeat', async () => {
  const whole = scripted('whole', { ...everything, envelope: false })
  const mailer = createMailer({ from: 'hello@acme.example', providers: { whole }, retry: { rounds: 2, base: 0.01 } })
  await mailer.suppressions.add({ address: 'bob@example.com' })
  whole.will(fails('transient'))
  const receipt = await mailer.send({ ...message, to: ['ada@example.com', 'bob@example.com'], bcc: 'eve@example.com' })
  assert.equal(receipt.status, 'sent')
  assert.deepEqual(handed(whole), [
    ['ada@example.com', 'eve@example.com'],
    ['ada@example.com', 'eve@example.com'],
  ])
})
