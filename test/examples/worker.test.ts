import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { start } from '../support/program.ts'

const job = (n: number) =>
  `${JSON.stringify({ key: `welcome-${n}`, to: `user${n}@example.com`, subject: `Welcome ${n}`, text: 'Good.' })}\n`

test('the worker sends each job once, refuses what is no job, and empties its queue at the end of input', async (t) => {
  const smtp = await createSmtpServer()
  t.after(() => smtp.close())
  const worker = start(t, 'examples/worker.ts', { SMTP_URL: smtp.url })
  for (let n = 0; n < 30; n++) worker.child.stdin?.write(job(n))
  worker.child.stdin?.write(job(7))
  worker.child.stdin?.write('no JSON\n{"key":"x","to":"nobody","subject":"x","text":"x"}\n')
  worker.child.stdin?.end()

  assert.equal(await worker.ended, 0)
  const mails = await smtp.accepted()
  assert.deepEqual(
    mails.map(({ subject }) => subject).sort(),
    Array.from({ length: 30 }, (_, n) => `Welcome ${n}`).sort(),
  )
  assert.equal(worker.out.match(/^queued msg_/gm)?.length, 30)
  assert.equal(worker.out.match(/^repeat of msg_/gm)?.length, 1)
  assert.equal(worker.out.match(/^sent msg_/gm)?.length, 30)
  assert.match(worker.out, /closed: \d+ settled, 0 uncertain, 0 left/)
  assert.match(worker.err, /refused: not a line of JSON/)
  assert.match(worker.err, /refused VALIDATION_ERROR/)
})

test('the worker, told to stop, sends what it has taken before it ends', async (t) => {
  const smtp = await createSmtpServer()
  t.after(() => smtp.close())
  const worker = start(t, 'examples/worker.ts', { SMTP_URL: smtp.url })
  for (let n = 0; n < 50; n++) worker.child.stdin?.write(job(n))
  await worker.printed(/queued msg_/)
  worker.child.kill('SIGTERM')

  assert.equal(await worker.ended, 0)
  const taken = worker.out.match(/^queued msg_/gm)?.length ?? 0
  assert.ok(taken > 0)
  assert.equal((await smtp.accepted()).length, taken)
})
