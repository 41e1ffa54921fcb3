import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { memory } from '../providers/memory.ts'
import { createMailer } from '../src/index.ts'

const people = Array.from({ length: 20 }, (_, i) => ({ to: `user${i}@example.com` }))

test('sendMerge reads an attachment stream once and gives every recipient its bytes', async (t) => {
  const provider = memory()
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example' })
  t.after(() => mailer.close())
  let chunks = 0
  async function* report() {
    for (const chunk of ['one ', 'two ', 'three']) {
      chunks++
      yield Buffer.from(chunk)
    }
  }
  const content = Readable.from(report())
  const result = await mailer.sendMerge(
    { subject: 'Report', text: 'attached', attachments: [{ filename: 'report.txt', content }] },
    people,
  )
  assert.equal(result.sent, 20)
  assert.equal(chunks, 3)
  for (const mail of provider.sent()) {
    assert.equal(Buffer.from(mail.message.attachments[0]!.content).toString(), 'one two three')
  }
})

test('P10: the attachments of a merge are held once, not once for each recipient', async (t) => {
  const provider = memory()
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example' })
  t.after(() => mailer.close())
  const content = Buffer.alloc(1_000_000, 7)
  await mailer.sendMerge({ subject: 'R', text: 'x', attachments: [{ filename: 'r.bin', content }] }, people)
  const copies = new Set(provider.sent().map(({ message }) => message.attachments[0]!.content))
  assert.equal(copies.size, 1)
  assert.equal(copies.has(content), false, 'the caller’s own bytes must not be used: it may write to them')
})

test('P13: an attachment that cannot be read is the result of every recipient', async (t) => {
  const provider = memory()
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example' })
  t.after(() => mailer.close())
  const content = new Readable({ read: () => content.destroy(new Error('disk gone')) })
  const result = await mailer.sendMerge(
    { subject: 'R', text: 'x', attachments: [{ filename: 'r.bin', content }] },
    people,
  )
  assert.equal(result.failed, 20)
  assert.ok(result.results.every(({ error }) => error?.issues[0]?.path === 'attachments[0].content'))
  assert.equal(provider.sent().length, 0)
})

test('P6: what the caller does to message and recipients after the call changes nothing', async (t) => {
  const provider = memory()
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example' })
  t.after(() => mailer.close())
  const message = { subject: 'before', text: 'x', attachments: [{ filename: 'r.bin', content: Buffer.from('before') }] }
  const recipients = [{ to: 'ada@example.com', metadata: { n: 'before' } }, { to: 'bob@example.com' }]
  const merge = mailer.sendMerge(message, recipients)
  message.subject = 'after'
  message.attachments[0]!.content.fill('!')
  recipients[0]!.to = 'mallory@example.com'
  recipients[0]!.metadata!.n = 'after'
  recipients.pop()
  assert.equal((await merge).sent, 2)
  const [first, second] = provider.sent()
  assert.equal(first!.message.subject, 'before')
  assert.equal(Buffer.from(first!.message.attachments[0]!.content).toString(), 'before')
  assert.deepEqual([first!.recipients, first!.message.metadata], [['ada@example.com'], { n: 'before' }])
  assert.deepEqual(second!.recipients, ['bob@example.com'])
})
