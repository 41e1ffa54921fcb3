import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { start } from '../support/program.ts'

test('the Express service sends once per order, answers errors by their status, and ends cleanly on SIGTERM', async (t) => {
  const smtp = await createSmtpServer()
  t.after(() => smtp.close())
  const service = start(t, 'examples/express.ts', { SMTP_URL: smtp.url, PORT: '0' })
  const [, url] = await service.printed(/listening on (\S+)/)
  const post = async (body: unknown, order = '1048') => {
    const response = await fetch(`${url}/orders/${order}/shipped`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  const first = await post({ email: 'ada@example.com' })
  assert.equal(first.status, 200)
  assert.equal(first.body.status, 'sent')
  assert.equal(first.body.replayed, false)

  const repeat = await post({ email: 'ada@example.com' })
  assert.deepEqual(repeat, { status: 200, body: { ...first.body, replayed: true } })
  const other = await post({ email: 'bob@example.com' })
  assert.equal(other.status, 422)
  assert.equal(other.body.code, 'IDEMPOTENCY_MISMATCH')

  const wrong = await post({ email: 'ada@' }, '1049')
  assert.equal(wrong.status, 400)
  assert.equal(wrong.body.code, 'VALIDATION_ERROR')
  assert.equal((wrong.body.issues as { path: string }[])[0]?.path, 'to')
  assert.equal((await post({}, '1050')).status, 400)

  smtp.fail({ at: 'envelope', kind: '5xx' })
  const refused = await post({ email: 'gone@example.com' }, '1051')
  assert.equal(refused.status, 422)
  assert.equal(refused.body.outcome, 'rejected')
  assert.ok(!JSON.stringify(refused.body).includes('gone@'))

  const record = await fetch(`${url}/mails/${first.body.id}`)
  assert.equal(((await record.json()) as { status: string }).status, 'sent')
  assert.equal((await fetch(`${url}/mails/msg_unknown`)).status, 404)

  const mails = await smtp.accepted()
  assert.deepEqual(
    mails.map(({ recipients, subject, metadata }) => ({ recipients, subject, metadata })),
    [{ recipients: ['ada@example.com'], subject: 'Order 1048', metadata: { order: '1048' } }],
  )

  service.child.kill('SIGTERM')
  assert.equal(await service.ended, 0)
  assert.equal(service.err, '')
})
