import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory } from '../../providers/memory.ts'
import { createMailer } from '../../src/index.ts'
import { memory as memoryStore } from '../../src/stores/memory.ts'
import { tapped } from '../support/tapped-store.ts'

test('S3: with its store down a provider limit is kept by the process itself, with a warning', async (t) => {
  const provider = memory()
  const store = tapped(memoryStore(), {
    before({ name }) {
      if (name === 'limits.take') throw new Error('down')
    },
  })
  const limits = { providers: { provider: { limit: 2, per: 3_600_000 } } }
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example', store, limits })
  t.after(() => mailer.close())
  const warnings: string[] = []
  mailer.on('warning', ({ code }) => warnings.push(code))
  const message = { to: 'ada@example.com', subject: 'Hi', text: 'x' }
  await mailer.send(message)
  await mailer.send(message)
  await assert.rejects(mailer.send(message), { code: 'SEND_LIMIT_EXCEEDED' })
  assert.equal(provider.sent().length, 2)
  assert.deepEqual(warnings, ['STORE_UNAVAILABLE', 'STORE_UNAVAILABLE', 'STORE_UNAVAILABLE'])
})

test('S3: a quota whose store is down refuses: it is a promise, not smoothing', async (t) => {
  const provider = memory()
  const store = tapped(memoryStore(), {
    before({ name }) {
      if (name === 'limits.take') throw new Error('down')
    },
  })
  const limits = { quota: { limit: 2, per: 3_600_000 } }
  const mailer = createMailer({ providers: { provider }, from: 'a@acme.example', store, limits })
  t.after(() => mailer.close())
  await assert.rejects(mailer.send({ to: 'ada@example.com', subject: 'Hi', text: 'x' }), { code: 'STORE_UNAVAILABLE' })
  assert.equal(provider.sent().length, 0)
})
