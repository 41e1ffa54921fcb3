/**
 * A process that works on the queue until it is killed, or told by SIGTERM to close. Nothing here ends it: it ends by itself
 * when nothing holds it any more. Its orders are in ORDERS.
 */
import { smtp } from '../../../providers/smtp.ts'
import { createMailer } from '../../../src/index.ts'
import { type Ground, open } from '../ground.ts'

export interface Orders {
  readonly ground: Ground
  readonly smtpUrl: string
  readonly timeout?: number
  readonly deadline?: number
}

const { ground, smtpUrl, timeout = 1_000, deadline = 5_000 } = JSON.parse(process.env.ORDERS!) as Orders
const { store, engine, free } = await open(ground)
const mailer = createMailer({
  from: 'Acme <hello@acme.example>',
  providers: { relay: smtp({ url: smtpUrl }) },
  store,
  timeout,
  retry: { rounds: 1, schedule: [50, 100, 200] },
  queue: { engine, concurrency: 5 },
})
mailer.on('warning', ({ code, message }) => console.error(code, message))
mailer.work()
await mailer.queue.stats().catch(() => undefined)
console.log('ready')
process.once('SIGTERM', async () => {
  const { settled, unknown, pending } = await mailer.close({ deadline })
  await free()
  console.log(`closed ${settled} ${unknown.length} ${pending.length}`)
})
