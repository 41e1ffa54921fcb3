import { describe, it } from 'node:test'
import { nodemailer } from '../../providers/nodemailer.ts'
import { describeProvider } from '../../src/testing/describe-provider.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'

const auth = { user: 'mailer', pass: 'CANARY-nodemailer-password' }

describeProvider('nodemailer over SMTP', {
  describe,
  it,
  dialect: 'smtp',
  points: ['hello', 'sender', 'data'],
  secrets: [auth.pass],
  server: () => createSmtpServer({ auth }),
  provider: ({ host, port }) => nodemailer({ transport: { host, port, auth, ignoreTLS: true } }),
  // nodemailer reports a connection lost before the body as it does one lost after it, so only whole replies are certain.
  outcomes: ({ at, kind }) =>
    ['reset', 'close', 'stall', 'garbage'].includes(kind) && at !== 'afterBody' && at !== 'midAnswer'
      ? ['failed', 'unknown']
      : undefined,
})
