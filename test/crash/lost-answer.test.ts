import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory as outboxOf } from '../../providers/memory.ts'
import { createMailer, type Row } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { rejection } from '../support/rejection.ts'
import { tapped } from '../support/tapped-store.ts'

test('P1, P7: what one caller was told the store had failed at and another was promised is sent', async () => {
  const store = memory()
  let down = false
  const flaky = tapped(store, {
    before({ name }) {
      if (down && name === 'read') throw new Error('down')
    },
    after({ name, args }) {
      if (name !== 'settle' || (args[0] as Row).status !== 'queued') return
      down = true
      throw new Error('the answer was lost')
    },
  })
  const outbox = outboxOf()
  const options = { providers: { outbox }, from: 'hello@acme.example', queue: { work: false } }
  const one = createMailer({ ...options, store: flaky })
  const other = createMailer({ ...options, store })
  const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }
  const failure = await rejection(one.enqueue(message, { idempotencyKey: 'k' }))
  assert.equal(failure.code, 'STORE_UNAVAILABLE')
  down = false
  const { id } = await other.enqueue(message, { idempotencyKey: 'k' })

  const settled = new Promise((resolve) => one.on('settled', resolve))
  one.work()
  await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, 2_000))])
  assert.equal((await other.messages.get(id))?.status, 'sent')
  assert.equal(outbox.sent().length, 1)
})
