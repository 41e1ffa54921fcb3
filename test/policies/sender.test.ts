import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { order, refusal, setup } from '../support/mailbox.ts'

describe('sender allow-lists compare whole canonical domains and mailboxes (A7)', () => {
  const { mailer } = setup({ senders: ['acme.example', 'exämple.com', 'Boss@Partner.example'] })
  for (const from of [
    'anyone@acme.example',
    'Anyone <anyone@ACME.example>',
    'a@EXÄMPLE.com',
    'a@xn--exmple-cua.com',
    'boss@partner.example',
    'BOSS@partner.example',
    '"boss"@partner.example',
  ]) {
    test(`${from} may`, async () => assert.equal((await mailer.send({ ...order, from })).status, 'sent'))
  }
  for (const from of [
    'a@notacme.example',
    'a@sub.acme.example',
    'a@acme.example.evil.example',
    'a@acme.exampl',
    'other@partner.example',
    'boss+x@partner.example',
    '"acme.example"@evil.example',
    '"boss@partner.example" <x@evil.example>',
  ]) {
    test(`${from} may not`, async () => {
      const error = await refusal(mailer.send({ ...order, from }), 'SENDER_NOT_ALLOWED')
      assert.deepEqual(
        error.issues.map(({ path, code }) => [path, code]),
        [['from', 'sender_not_allowed']],
      )
      assert.ok(!JSON.stringify(error).includes('@'))
    })
  }

  test('an empty list allows nobody', async () => {
    await refusal(setup({ senders: [] }).mailer.send(order), 'SENDER_NOT_ALLOWED')
  })

  test('exactly one From, and text cannot smuggle a second (A4, A7)', async () => {
    for (const from of [
      'a@acme.example, b@evil.example',
      ['a@acme.example'],
      'a@acme.example\r\nFrom: b@evil.example',
    ]) {
      await refusal(mailer.send({ ...order, from: from as string }), 'VALIDATION_ERROR')
    }
  })
})
