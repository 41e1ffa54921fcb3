/**
 * A service that mails its customers. A repeated request sends nothing twice, and every error of the mailer becomes the
 * HTTP answer it asks for.
 *
 *     SMTP_URL=smtp://user:password@smtp.example.com:587 PORT=3000 node examples/express.ts
 *     curl -X POST localhost:3000/orders/1048/shipped -H 'content-type: application/json' -d '{"email":"ada@example.com"}'
 */
import express, { type Next, type Request, type Response } from 'express'
import { createMailer, MailError } from 'sendwright'
import { smtp } from 'sendwright/providers/smtp'

const mailer = createMailer({
  providers: { relay: smtp({ url: process.env.SMTP_URL ?? '' }) },
  from: 'Acme <hello@acme.example>',
  senders: ['acme.example'],
})

const app = express()
app.use(express.json({ limit: '10kb' }))

app.post('/orders/:id/shipped', async ({ params, body }, response) => {
  const { email } = (body ?? {}) as { email?: string }
  const receipt = await mailer.send(
    { to: email ?? '', subject: `Order ${params.id}`, text: 'It is on its way.', metadata: { order: params.id ?? '' } },
    { idempotencyKey: `order-${params.id}-shipped` },
  )
  response.json({ id: receipt.id, status: receipt.status, replayed: receipt.replayed })
})

app.get('/mails/:id', async ({ params }, response) => {
  const record = await mailer.messages.get(params.id ?? '')
  if (record) response.json({ status: record.status, events: record.events })
  else response.status(404).json({ code: 'NOT_FOUND' })
})

app.use((error: unknown, _request: Request, response: Response, next: Next) => {
  if (!(error instanceof MailError)) return next(error)
  if (error.retryAfter !== undefined) response.set('retry-after', String(Math.ceil(error.retryAfter / 1000)))
  // Its JSON holds no address and no secret, so it can be shown; `outcome` tells the caller whether to fear a duplicate.
  response.status(error.status).json(error)
})

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  const address = server.address()
  console.log(`listening on http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`)
})

process.once('SIGTERM', async () => {
  await new Promise((closed) => server.close(closed))
  const { unknown } = await mailer.close({ deadline: 10_000 })
  if (unknown.length > 0) console.error(`uncertain: ${unknown.join(', ')}`)
})
