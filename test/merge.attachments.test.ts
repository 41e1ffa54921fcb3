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
