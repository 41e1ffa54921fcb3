import { describe, it } from 'node:test'
import { mailgun } from '../../providers/mailgun.ts'
import { describeProvider } from '../../src/testing/describe-provider.ts'
import { createMailgunServer } from '../../src/testing/mailgun-server.ts'

const apiKey = 'CANARY-mailgun-key'
const domain = 'mg.acme.example'

describeProvider('mailgun', {
  describe,
  it,
  dialect: 'http',
  secrets: [apiKey],
  server: () => createMailgunServer({ apiKey, domain }),
  provider: ({ url }) => mailgun({ apiKey, domain, endpoint: url }),
})
