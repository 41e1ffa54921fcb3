/** Compiled and run by the package check, once as an ES module and once as CommonJS. */
import { createMailer, failover, MailError, type MailErrorCode, type Receipt } from 'sendwright'
import { mailgun } from 'sendwright/providers/mailgun'
import { memory } from 'sendwright/providers/memory'
import { nodemailer } from 'sendwright/providers/nodemailer'
import { sendgrid } from 'sendwright/providers/sendgrid'
import { ses } from 'sendwright/providers/ses'
import { smtp } from 'sendwright/providers/smtp'
import { keyvStore } from 'sendwright/stores/keyv'
import { memory as memoryStore } from 'sendwright/stores/memory'
import * as testing from 'sendwright/testing'

const outbox = memory()
const mailer = createMailer({
  providers: { outbox, relay: smtp({ url: 'smtp://127.0.0.1:1' }) },
  route: failover('outbox', 'relay'),
  from: 'Acme <hello@acme.example>',
  store: memoryStore(),
})

async function main(): Promise<void> {
  const receipt: Receipt = await mailer.send({
    to: 'ada@example.com',
    subject: 'Your order',
    text: 'It is on its way.',
  })
  if (receipt.status !== 'sent' || outbox.sent().length !== 1) throw new Error(`It ended ${receipt.status}.`)

  let code: MailErrorCode | undefined
  await mailer.send({ to: 'nobody', subject: 'x', text: 'x' }).catch((error: unknown) => {
    if (error instanceof MailError) code = error.code
  })
  if (code !== 'VALIDATION_ERROR') throw new Error(`It refused with ${code}.`)
  await mailer.close()

  for (const part of [mailgun, nodemailer, sendgrid, ses, keyvStore]) {
    if (typeof part !== 'function') throw new Error('An entry point lacks its factory.')
  }
  if (Object.keys(testing).length === 0) throw new Error('sendwright/testing is empty.')
}

main().catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})
