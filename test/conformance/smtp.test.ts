import { describe, it } from 'node:test'
import { smtp } from '../../providers/smtp.ts'
import { describeProvider } from '../../src/testing/describe-provider.ts'
import { createSmtpServer, type ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'

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

describeProvider('smtp, over STARTTLS', {
  describe,
  it,
  dialect: 'smtp',
  points: ['tls'],
  secrets: [auth.pass],
  server: () => createSmtpServer({ auth, tls: 'starttls', pipelining: false }),
  provider: (server) => smtp({ url: server.url, ca: (server as ScriptedSmtpServer).ca, pool: { connections: 2 } }),
})
