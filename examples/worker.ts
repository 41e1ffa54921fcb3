/**
 * A background worker: takes jobs, one JSON line each, answers at once that it has them, and sends ten at a time. A job
 * with the key of an earlier one is not sent again. At the end of its input, or on SIGTERM, it sends what it still holds.
 *
 *     SMTP_URL=smtp://user:password@smtp.example.com:587 node examples/worker.ts < jobs.jsonl
 *     {"key":"welcome-7","to":"ada@example.com","subject":"Welcome","text":"Good to have you."}
 *
 * The queue lives in this process: what it holds is lost if the process is killed.
 */
import { createInterface } from 'node:readline/promises'
import { createMailer, MailError, type Message } from 'sendwright'
import { smtp } from 'sendwright/providers/smtp'

const mailer = createMailer({
  providers: { relay: smtp({ url: process.env.SMTP_URL ?? '' }) },
  from: 'Acme <hello@acme.example>',
  queue: { concurrency: 10 },
})

mailer.on('settled', ({ id, status }) => console.log(`${status} ${id}`))
mailer.on('warning', ({ code, message }) => console.error(`warning ${code}: ${message}`))

async function take(line: string): Promise<void> {
  try {
    const { key, ...message } = JSON.parse(line) as Message & { key: string }
    const anHour = Date.now() + 3_600_000
    const receipt = await mailer.enqueue(message, { idempotencyKey: key, notAfter: anHour })
    console.log(`${receipt.replayed ? 'repeat of' : receipt.status} ${receipt.id}`)
  } catch (error) {
    console.error(
      error instanceof MailError ? `refused ${error.code}: ${error.message}` : 'refused: not a line of JSON',
    )
  }
}

const jobs = createInterface({ input: process.stdin })
process.once('SIGTERM', () => jobs.close())
for await (const line of jobs) await take(line)

const { settled, unknown, pending } = await mailer.close({ deadline: 30_000 })
console.log(`closed: ${settled} settled, ${unknown.length} uncertain, ${pending.length} left`)
process.exitCode = pending.length > 0 ? 1 : 0
