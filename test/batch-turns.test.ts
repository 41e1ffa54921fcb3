import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory } from '../providers/memory.ts'
import { createMailer } from '../src/index.ts'

test('streamBatch leaves the event loop its turns even where nothing waits for a network (X4)', async () => {
  const mailer = createMailer({ providers: { outbox: memory({ limit: 0 }) }, from: 'hello@acme.example' })
  let turns = 0
  let running = true
  const count = () => {
    turns++
    if (running) setImmediate(count)
  }
  setImmediate(count)
  const turnsFor = async (messages: number): Promise<number> => {
    const before = turns
    const items = Array.from({ length: messages }, (_, n) => ({
      to: `reader-${n}@example.com`,
      subject: 'x',
      text: 'x',
    }))
    for await (const { error } of mailer.streamBatch(items)) assert.equal(error, undefined)
    return turns - before
  }

  await turnsFor(100)
  const some = await turnsFor(500)
  const many = await turnsFor(8 * 500)
  running = false
  assert.ok(some > 0)
  assert.ok(many > 2 * some, `${some} turns for 500 messages, ${many} for 4,000`)
  await mailer.close()
})
