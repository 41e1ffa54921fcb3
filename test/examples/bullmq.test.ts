import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { start } from '../support/program.ts'
import { hasRedisServer, startRedis } from '../support/redis-server.ts'

const skip = hasRedisServer() ? false : 'no redis-server installed'

test('the BullMQ example: one process queues, two send each message once, and they end when told', {
  skip,
}, async (t) => {
  const smtp = await createSmtpServer()
  t.after(() => smtp.close())
  const redis = await startRedis({ appendonly: 'everysec' })
  t.after(() => redis.stop())
  const env = { REDIS_URL: redis.url, SMTP_URL: smtp.url }
  const workers = [1, 2].map(() => start(t, 'examples/bullmq.ts', env, ['work']))
  await Promise.all(workers.map((worker) => worker.printed(/working/)))

  const sender = start(t, 'examples/bullmq.ts', env, ['send'])
  for (let n = 0; n < 30; n++) {
    const job = { key: `welcome-${n}`, to: `user${n}@example.com`, subject: `Welcome ${n}`, text: 'Good to have you.' }
    sender.child.stdin?.write(`${JSON.stringify(job)}\n`)
    if (n === 7) sender.child.stdin?.write(`${JSON.stringify(job)}\n`)
  }
  sender.child.stdin?.end('no JSON\n')
  assert.equal(await sender.ended, 0, sender.err)
  assert.equal(sender.out.match(/^queued msg_/gm)?.length, 30)
  assert.equal(sender.out.match(/^repeat of msg_/gm)?.length, 1)
  assert.match(sender.err, /refused: not a line of JSON/)

  const sent = () => workers.flatMap(({ out }) => out.match(/^sent msg_/gm) ?? []).length
  while (sent() < 30)
    await Promise.race(workers.map(({ child }) => new Promise((resolve) => child.stdout?.once('data', resolve))))
  for (const { child } of workers) child.kill('SIGTERM')
  for (const worker of workers) {
    assert.equal(await worker.ended, 0, worker.err)
    assert.match(worker.out, /closed: \d+ settled, 0 uncertain/)
  }
  assert.deepEqual(
    (await smtp.accepted()).map(({ subject }) => subject).sort(),
    Array.from({ length: 30 }, (_, n) => `Welcome ${n}`).sort(),
  )
})
