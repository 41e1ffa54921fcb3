/**
 * The same mail over the same number of connections to the sink:
 * `smtp.ts <sendwright|nodemailer> <small|typical> <port> [count]`.
 */
import { createTransport } from 'nodemailer'
import { createMailer } from 'sendwright'
import { smtp } from 'sendwright/providers/smtp'
import { measure, report } from './measure.ts'
import * as messages from './messages.ts'

const [kind, size, port, times = '4000'] = process.argv.slice(2)
const message = size === 'small' ? messages.small : messages.typical
const count = Number(times)
const connections = 5
const width = 20

function ours() {
  const relay = smtp({ url: `smtp://127.0.0.1:${port}?tls=none`, pool: { connections } })
  const mailer = createMailer({ providers: { relay }, from: messages.from, senders: ['acme.example'] })
  const send = (n: number) => mailer.send({ ...message, to: messages.recipient(n) }, { idempotencyKey: `order-${n}` })
  return measure(count, width, send).finally(() => mailer.close())
}

function theirs() {
  const transport = createTransport({
    host: '127.0.0.1',
    port: Number(port),
    ignoreTLS: true,
    pool: true,
    maxConnections: connections,
    maxMessages: Number.POSITIVE_INFINITY,
  })
  const send = (n: number) => transport.sendMail({ ...message, from: messages.from, to: messages.recipient(n) })
  return measure(count, width, send).finally(() => transport.close())
}

report(kind === 'nodemailer' ? await theirs() : await ours())
