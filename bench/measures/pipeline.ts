/**
 * One message through everything but a network: `pipeline.ts <small|typical> <policies|bare|nodemailer> [count]`. `policies` is
 * each policy at work: sender list, recipient limit, idempotency key, suppression, quota and the provider's limit;
 * `nodemailer` is its jsonTransport, which has none of them.
 */
import { createTransport } from 'nodemailer'
import { createMailer } from 'sendwright'
import { memory } from 'sendwright/providers/memory'
import { measure, report } from './measure.ts'
import * as messages from './messages.ts'

const [size, kind, times = '20000'] = process.argv.slice(2)
const message = size === 'small' ? messages.small : messages.typical
const count = Number(times)
const aDay = 86_400_000

async function ours(policies: boolean) {
  const mailer = createMailer({
    providers: { outbox: memory({ limit: 0 }) },
    from: messages.from,
    ...(policies
      ? {
          senders: ['acme.example'],
          limits: {
            quota: { limit: 10_000_000, per: aDay },
            providers: { outbox: { limit: 10_000_000, per: aDay } },
          },
        }
      : {}),
  })
  if (policies) {
    for (let n = 0; n < 1_000; n++) await mailer.suppressions.add({ address: `gone-${n}@example.com` })
  }
  return measure(count, 10, (n) =>
    mailer.send({ ...message, to: messages.recipient(n) }, policies ? { idempotencyKey: `order-${n}` } : {}),
  )
}

function theirs() {
  const transport = createTransport({ jsonTransport: true })
  return measure(count, 10, (n) => transport.sendMail({ ...message, from: messages.from, to: messages.recipient(n) }))
}

report(kind === 'nodemailer' ? await theirs() : await ours(kind === 'policies'))
