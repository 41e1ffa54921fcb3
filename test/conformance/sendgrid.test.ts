import { describe, it } from 'node:test'
import { sendgrid } from '../../providers/sendgrid.ts'
import { describeProvider } from '../../src/testing/describe-provider.ts'
import { createSendGridServer } from '../../src/testing/sendgrid-server.ts'

const apiKey = 'SG.CANARY-sendgrid.key'

describeProvider('sendgrid', {
  describe,
  it,
  dialect: 'http',
  secrets: [apiKey],
  server: () => createSendGridServer({ apiKey }),
  provider: ({ url }) => sendgrid({ apiKey, endpoint: url }),
})
