import assert from 'node:assert/strict'
import { test } from 'node:test'
import { postgresMigration } from '../../src/stores/postgres.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { urlOf } from '../queues/ground.ts'
import { query, reasonNotToStart, startPostgres } from '../support/postgres-server.ts'
import { start } from '../support/program.ts'

test('the pg-boss example: an order and its mail, both or neither', {
  skip: reasonNotToStart() ?? false,
}, async (t) => {
  const smtp = await createSmtpServer()
  t.after(() => smtp.close())
  const postgres = await startPostgres()
  t.after(() => postgres.stop())
  // On a busy machine it takes longer than an order waits.
  await query(postgres.config, postgresMigration())
  const env = { DATABASE_URL: urlOf(postgres.config), SMTP_URL: smtp.url }
  const order = async (...args: string[]) => {
    const program = start(t, 'examples/pg-boss.ts', env, ['order', ...args])
    return { code: await program.ended, out: program.out, err: program.err }
  }
  const worker = start(t, 'examples/pg-boss.ts', env, ['work'])
  await worker.printed(/working/)

  assert.deepEqual(await order('1048', '3', 'ada@example.com'), { code: 0, out: 'committed\n', err: '' })
  const failed = await order('1049', '0', 'bob@example.com')
  assert.equal(failed.code, 1)
  assert.match(failed.err, /rolled back: .*check constraint/)
  const twice = await order('1048', '3', 'ada@example.com')
  assert.equal(twice.code, 1)
  assert.deepEqual(await order('1050', '1', 'eve@example.com'), { code: 0, out: 'committed\n', err: '' })

  await worker.printed(/^sent .*\n(.*\n)*?sent /m)
  worker.child.kill('SIGTERM')
  assert.equal(await worker.ended, 0, worker.err)
  assert.deepEqual(
    (await smtp.accepted()).map(({ subject, recipients }) => [subject, ...recipients]),
    [
      ['Your order 1048', 'ada@example.com'],
      ['Your order 1050', 'eve@example.com'],
    ],
  )
  const orders = await query(postgres.config, 'SELECT number FROM orders ORDER BY number')
  assert.deepEqual(
    orders.map(({ number }) => number),
    [1048, 1050],
  )
})
