import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { memory } from '../../providers/memory.ts'
import { createMailer, failover } from '../../src/index.ts'
import { order, refusal } from '../support/mailbox.ts'

describe('what no provider of the route can carry is refused by name, before a key is claimed', () => {
  const plain = memory({
    capabilities: {
      calendar: false,
      attachments: false,
      tags: false,
      metadata: false,
      recipients: 1,
      headers: 0,
      replyTo: 0,
      bytes: 2_000,
      nonAsciiLocalPart: 'never',
    },
  })
  const full = memory()
  const mailer = createMailer({ providers: { plain, full }, from: 'hello@acme.example' })
  for (const [path, more] of [
    ['calendar', { calendar: { method: 'REQUEST', content: 'x' } }],
    ['attachments', { attachments: [{ filename: 'a', content: new Uint8Array(1) }] }],
    ['tags', { tags: ['a'] }],
    ['metadata', { metadata: { a: 1 } }],
    ['to', { cc: 'b@example.com' }],
    ['headers', { headers: { 'X-A': '1' } }],
    ['replyTo', { replyTo: 'b@example.com' }],
    ['attachments', { text: 'x'.repeat(3_000) }],
    ['to', { to: 'jürgen@example.com' }],
    ['providerOptions', { providerOptions: { plain: { pool: 'x' } } }],
  ] as const) {
    test(`${path} (${Object.keys(more)[0]})`, async () => {
      const key = { idempotencyKey: `k-${Object.keys(more)[0]}` }
      const message = { ...order, ...more } as typeof order
      const error = await refusal(mailer.send(message, { ...key, provider: 'plain' }), 'UNSUPPORTED_FEATURE')
      assert.equal(error.issues[0]!.path, path)
      assert.match(error.message, /plain/)
      if (path !== 'providerOptions') {
        // The key was not claimed: another message may use it, on a route with a provider that can.
        assert.equal((await mailer.send(message, { ...key, route: failover('plain', 'full') })).provider, 'full')
      }
    })
  }
  test('options for a provider that is not configured', async () => {
    const message = { ...order, providerOptions: { nowhere: {} } } as typeof order
    await refusal(mailer.send(message), 'VALIDATION_ERROR')
  })
  test('nothing was dropped in silence: the plain provider was never asked', () => assert.equal(plain.sent().length, 0))
})
