import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory } from '../../providers/memory.ts'
import { createMailer } from '../../src/index.ts'
import { disposeAfterTest } from '../support/disposal.ts'

const html = '<h1>Order 7</h1><p>It is <b>on its way</b>:<br><a href="https://acme.example/7">track it</a></p>'

test('textFromHtml makes the missing text part, and leaves a given one alone', async () => {
  const provider = memory()
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example', textFromHtml: true })
  disposeAfterTest(mailer)
  await mailer.send({ to: 'ada@example.com', subject: 'Order', html })
  await mailer.send({ to: 'bob@example.com', subject: 'Order', html, text: 'mine' })
  const [made, given] = provider.sent()
  assert.match(made!.message.text!, /ORDER 7/)
  assert.match(made!.message.text!, /It is on its way:\ntrack it \[https:\/\/acme\.example\/7\]/)
  assert.equal(given!.message.text, 'mine')
})

test('without textFromHtml a message of html alone has no text part', async () => {
  const provider = memory()
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example' })
  disposeAfterTest(mailer)
  await mailer.send({ to: 'ada@example.com', subject: 'Order', html })
  assert.equal(provider.sent()[0]!.message.text, undefined)
})

test('G4: html too long to convert is refused before the converter sees it', async () => {
  const provider = memory()
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example', textFromHtml: true })
  disposeAfterTest(mailer)
  await assert.rejects(mailer.send({ to: 'ada@example.com', subject: 'Order', html: '<b>'.repeat(50_000) }), {
    code: 'VALIDATION_ERROR',
    issues: [
      {
        path: 'text',
        code: 'too_long',
        message: 'Cannot be made from html of more than 102400 characters; give it yourself.',
      },
    ],
  })
  assert.equal(provider.sent().length, 0)
})

test('G4: markup nested 30,000 deep is converted within its limits', async () => {
  const provider = memory()
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example', textFromHtml: true })
  disposeAfterTest(mailer)
  await mailer.send({ to: 'ada@example.com', subject: 'Order', html: `top${'<b>'.repeat(30_000)}` })
  assert.match(provider.sent()[0]!.message.text!, /^top/)
})
