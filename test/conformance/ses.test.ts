import { describe, it } from 'node:test'
import { ses } from '../../providers/ses.ts'
import { describeProvider } from '../../src/testing/describe-provider.ts'
import { createSesServer } from '../../src/testing/ses-server.ts'

const credentials = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'CANARY+ses/secret',
  sessionToken: 'CANARY-ses-session',
}

describeProvider('ses', {
  describe,
  it,
  dialect: 'http',
  secrets: [credentials.secretAccessKey, credentials.sessionToken],
  server: () => createSesServer(),
  provider: ({ url }) => ses({ region: 'eu-west-1', credentials, endpoint: url }),
})
