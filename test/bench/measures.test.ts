import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { measured } from './measured.ts'

for (const kind of ['policies', 'bare', 'nodemailer']) {
  test(`the pipeline is measured: ${kind}`, async (t) => {
    const facts = await measured(t, 'pipeline.ts', 'small', kind, '20')
    assert.deepEqual(Object.keys(facts), ['rate', 'cpu'])
    assert.ok(Object.values(facts).every((value) => value > 0))
  })
}

for (const kind of ['sendwright', 'nodemailer']) {
  test(`SMTP is measured with mail that arrives: ${kind}`, async (t) => {
    const server = await createSmtpServer()
    t.after(() => server.close())
    await measured(t, 'smtp.ts', kind, 'typical', String(server.port), '20')
    assert.equal(server.raw.length, 30)
    assert.ok(server.peak <= 5)
  })
}

test('the stream is measured with every message sent', async (t) => {
  const facts = await measured(t, 'stream.ts', '50')
  assert.deepEqual(Object.keys(facts), ['rate', 'cpu', 'peakGrowth', 'heapGrowth', 'delayP99', 'delayMax'])
})

test('the import is measured', async (t) => {
  assert.deepEqual(Object.keys(await measured(t, 'import.ts', 'sendwright')), ['ms', 'mb'])
})
