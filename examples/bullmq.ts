/**
 * A fleet: processes that queue mail and processes that send it. Redis keeps the messages, BullMQ tells the workers; start
 * as many of either as you like. A worker told to stop (SIGTERM) finishes what it has begun and leaves the rest to others.
 *
 *     export REDIS_URL=redis://localhost:6379 SMTP_URL=smtp://user:password@smtp.example.com:587
 *     node examples/bullmq.ts work
 *     node examples/bullmq.ts send < jobs.jsonl
 *     {"key":"welcome-7","to":"ada@example.com","subject":"Welcome","text":"Good to have you."}
 *
 * The server needs `appendonly yes` and `maxmemory-policy noeviction`.
 */
import { createInterface } from 'node:readline/promises'
import { createClient } from 'redis'
import { createMailer, MailError, type Message } from 'sendwright'
import { smtp } from 'sendwright/providers/smtp'
import { bullmq } from 'sendwright/queues/bullmq'
import { redis } from 'sendwright/stores/redis'

const url = process.env.REDIS_URL ?? 'redis://localhost:6379'
const client = createClient({ url })
client.on('error', ({ message }) => console.error(`redis: ${message}`))
await client.connect()

const mailer = createMailer({
  providers: { relay: smtp({ url: process.env.SMTP_URL ?? '' }) },
  from: 'Acme <hello@acme.example>',
  store: redis({ client }),
  scope: 'shared',
  queue: { engine: bullmq({ connection: { url } }), concurrency: 10 },
})
mailer.on('settled', ({ id, status }) => console.log(`${status} ${id}`))
mailer.on('warning', ({ code, message }) => console.error(`warning ${code}: ${message}`))

async function close(): Promise<void> {
  const { settled, unknown } = await mailer.close({ deadline: 30_000 })
  client.destroy()
  console.log(`closed: ${settled} settled, ${unknown.length} uncertain`)
}

async function take(line: string): Promise<void> {
  try {
    const { key, ...message } = JSON.parse(line) as Message & { key: string }
    const receipt = await mailer.enqueue(message, { idempotencyKey: key })
    console.log(`${receipt.replayed ? 'repeat of' : receipt.status} ${receipt.id}`)
  } catch (error) {
    console.error(
      error instanceof MailError ? `refused ${error.code}: ${error.message}` : 'refused: not a line of JSON',
    )
  }
}

if (process.argv[2] === 'work') {
  mailer.work()
  console.log('working')
  process.once('SIGTERM', () => void close())
} else {
  for await (const line of createInterface({ input: process.stdin })) await take(line)
  await close()
}
