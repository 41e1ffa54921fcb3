import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory } from '../../providers/memory.ts'
import { smtp } from '../../providers/smtp.ts'
import { createMailer, type Message } from '../../src/index.ts'
import {
  type AcceptedMail,
  createSmtpServer,
  expectNotSent,
  expectSent,
  type MailPattern,
  type Mails,
  type SentMail,
} from '../../src/testing/index.ts'
import { disposeAfterTest } from '../support/disposal.ts'

const message: Message = {
  from: 'Acme <hello@acme.example>',
  to: ['Ada <Ada@Example.com>', 'grace@bücher.example'],
  cc: 'cc@example.com',
  bcc: 'hidden@example.net',
  replyTo: 'support@acme.example',
  subject: 'Your order 1048',
  text: 'Your code is CANARY-1234.\nBye',
  html: '<p>Your code is CANARY-1234.</p>',
  headers: { 'X-Place': 'Köln' },
  tags: ['order', 'shipped'],
  metadata: { order: 1048 },
  attachments: [{ filename: 'invoice.pdf', content: new Uint8Array(10) }],
}

const fitting: MailPattern[] = [
  {},
  { from: 'HELLO@acme.example', to: 'ada@example.com', cc: /^cc@/, bcc: 'hidden@example.net' },
  { to: 'grace@xn--bcher-kva.example', replyTo: 'support@acme.example' },
  { recipient: 'hidden@example.net' },
  { recipient: 'grace@bücher.example' },
  { subject: 'Your order 1048' },
  { subject: /order \d+/g },
  { text: 'Your code is CANARY-1234.\nBye', html: /CANARY-\d{4}/ },
  { headers: { 'x-place': 'Köln' } },
  { tags: ['shipped'], metadata: { order: '1048' }, attachments: ['invoice.pdf'] },
]

const differing: [MailPattern, RegExp][] = [
  [{ from: 'other@acme.example' }, /from is "hello@acme\.example"/],
  [{ to: 'cc@example.com' }, /to is "Ada@example\.com, grace@/],
  [{ cc: /ada/ }, /cc is "cc@example\.com"/],
  [{ bcc: 'cc@example.com' }, /bcc is "hidden@example\.net"/],
  [{ replyTo: 'hello@acme.example' }, /replyTo is "support@acme\.example"/],
  [{ recipient: 'nobody@example.com' }, /recipient is "Ada@/],
  [{ subject: 'Your order' }, /subject is "Your order 1048"/],
  [{ text: /no such words/ }, /text differs/],
  [{ html: 'CANARY' }, /html differs/],
  [{ headers: { 'X-None': 'a' } }, /headers has no X-None/],
  [{ headers: { 'X-Place': 'Bonn' } }, /headers has X-Place "Köln"/],
  [{ tags: ['order', 'late'] }, /tags are "order, shipped"/],
  [{ metadata: { order: '7' } }, /metadata has order "1048"/],
  [{ metadata: { toString: /./ } }, /metadata has no toString/],
  [{ attachments: ['terms.pdf'] }, /attachments are "invoice\.pdf"/],
]

async function inMemory(...messages: Message[]) {
  const outbox = memory()
  const mailer = createMailer({ providers: { outbox } })
  for (const one of messages) await mailer.send(one)
  await mailer.close()
  return outbox
}

async function onTheWire(...messages: Message[]) {
  const server = await createSmtpServer()
  disposeAfterTest(server)
  const mailer = createMailer({ providers: { relay: smtp({ url: server.url }) } })
  for (const one of messages) await mailer.send(one)
  await mailer.close()
  return server.accepted()
}

for (const [where, sent] of [
  ['the memory provider', inMemory],
  ['what a scripted server took', onTheWire],
] as const) {
  test(`every field of a pattern finds its mail, in ${where}`, async () => {
    const mails: Mails<SentMail | AcceptedMail> = await sent(message)
    for (const pattern of fitting) {
      const mail = expectSent(mails, pattern)
      assert.ok(mail.recipients.includes('hidden@example.net'))
      assert.throws(() => expectNotSent(mails, pattern), { name: 'AssertionError' })
    }
  })

  test(`a field that differs is named with what was found, and bodies are not shown, in ${where}`, async () => {
    const mails: Mails<SentMail | AcceptedMail> = await sent(message)
    for (const [pattern, words] of differing) {
      expectNotSent(mails, pattern)
      assert.throws(
        () => expectSent(mails, pattern),
        (error: Error) => {
          assert.equal(error.name, 'AssertionError')
          assert.match(error.message, /expected one mail with .*; 0 of 1 fit/)
          assert.match(error.message, words)
          assert.doesNotMatch(error.message, /CANARY-1/)
          return true
        },
      )
    }
  })
}

test('a tenant is a field as well', async () => {
  const outbox = memory()
  const mailer = createMailer({ providers: { outbox }, tenants: { t1: { route: 'outbox', from: 'a@acme.example' } } })
  await mailer.tenant('t1').send({ to: 'ada@example.com', subject: 'Hi', text: 'x' })
  expectSent(outbox, { tenant: 't1' })
  assert.throws(() => expectSent(outbox, { tenant: 't2' }), /tenant is t1/)
  await mailer.close()
})

test('one mail means one: a second copy fails, and count says how many are wanted', async () => {
  const outbox = await inMemory(message, message, { ...message, subject: 'Another' })
  assert.throws(() => expectSent(outbox, { subject: /order/ }), /expected one mail .*2 of 3 fit\n.*: fits\n.*: fits\n/)
  const mails = expectSent(outbox, { subject: /order/ }, { count: 2 })
  assert.deepEqual(
    mails.map((mail) => mail.message.subject),
    ['Your order 1048', 'Your order 1048'],
  )
  assert.deepEqual(expectSent(outbox, { subject: 'None' }, { count: 0 }), [])
  assert.throws(() => expectSent(outbox, {}, { count: 2 }), { actual: 3, expected: 2 })
  expectSent(outbox.sent().slice(0, 1))
})

test('the nearest mails come first, and a long list is cut', async () => {
  const others = Array.from({ length: 20 }, (_, n) => ({ ...message, subject: `Number ${n} ${'x'.repeat(300)}` }))
  const outbox = await inMemory(...others, { ...message, subject: 'Nearly' })
  assert.throws(
    () => expectSent(outbox, { subject: 'Nearly', to: 'nobody@example.com' }),
    (error: Error) => {
      const lines = error.message.split('\n')
      assert.match(lines[1] ?? '', /^ {2}"Nearly": to is/)
      assert.match(lines.at(-1) ?? '', /and 16 more/)
      assert.ok(error.message.length < 2_500)
      return true
    },
  )
  assert.throws(() => expectSent(memory()), /expected one mail; nothing was sent/)
})

test('a misspelt field is refused, since it would fit everything', () => {
  assert.throws(() => expectSent(memory(), { subjekt: 'a' } as MailPattern), {
    code: 'CONFIGURATION_ERROR',
    message: /subjekt/,
  })
})
