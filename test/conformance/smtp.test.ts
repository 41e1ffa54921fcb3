import { describe, it } from 'node:test'
import { smtp } from '../../providers/smtp.ts'
import { describeProvider } from '../../src/testing/describe-provider.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'

const auth = { user: 'mailer', pass: 'CANARY+smtp/pass word' }

describeProvider('smtp, in the clear', {
  describe,
  it,
  dialect: 'smtp',
  points: ['hello', 'sender', 'data'],
  secrets: [auth.pass, encodeURIComponent(auth.pass)],
  server: () => createSmtpServer({ auth }),
  provider: ({ url }) => smtp({ url }),
})
