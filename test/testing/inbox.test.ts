import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory } from '../../providers/memory.ts'
import { createMailer } from '../../src/index.ts'
import { createInbox, expectNotSent, expectSent } from '../../src/testing/index.ts'

test('P8 tests that share one mailer at once see their own mail only', async () => {
  const outbox = memory()
  const mailer = createMailer({ providers: { outbox }, from: 'hello@acme.example' })
  await Promise.all(
    Array.from({ length: 20 }, async (_, n) => {
      const inbox = createInbox(outbox)
      expectNotSent(inbox)
      await mailer.send({ to: inbox.address(`user${n}`), subject: `Welcome ${n}`, text: 'Hello' })
      const mail = expectSent(inbox, { to: inbox.address(`USER${n}`) })
      assert.equal(mail.message.subject, `Welcome ${n}`)
    }),
  )
  assert.equal(outbox.sent().length, 20)
  await mailer.close()
})

test('an inbox sees mail it is in bcc of, not what failed for it, and no domain that only ends like its own', async () => {
  const outbox = memory()
  const mailer = createMailer({ providers: { outbox }, from: 'hello@acme.example' })
  const inbox = createInbox(outbox)
  const other = createInbox(outbox)
  await mailer.send({ to: other.address(), bcc: inbox.address('hidden'), subject: 'Both', text: 'x' })
  await mailer.send({ to: `a@sub.${inbox.domain}`, subject: 'Neither', text: 'x' })
  outbox.failNext({ outcome: 'rejected', recipients: [inbox.address()] })
  await mailer.send({ to: [inbox.address(), other.address()], subject: 'Theirs', text: 'x' })
  assert.deepEqual(
    inbox.sent().map(({ message }) => message.subject),
    ['Both'],
  )
  assert.deepEqual(
    other.sent().map(({ message }) => message.subject),
    ['Both', 'Theirs'],
  )
  await mailer.close()
})

test('clear forgets what arrived, in this inbox alone', async () => {
  const outbox = memory()
  const mailer = createMailer({ providers: { outbox }, from: 'hello@acme.example' })
  const [one, two] = [createInbox(outbox), createInbox(outbox)]
  assert.notEqual(one.domain, two.domain)
  const to = [one.address(), two.address()]
  await mailer.send({ to, subject: 'Before', text: 'x' })
  one.clear()
  await mailer.send({ to, subject: 'After', text: 'x' })
  const subjects = (inbox: typeof one) => inbox.sent().map(({ message }) => message.subject)
  assert.deepEqual(subjects(one), ['After'])
  assert.deepEqual(subjects(two), ['Before', 'After'])
  assert.equal(outbox.sent().length, 2)
  await mailer.close()
})
