import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sendgrid } from '../../providers/sendgrid.ts'
import { smtp } from '../../providers/smtp.ts'
import type { Provider } from '../../src/provider.ts'
import type { ScriptedServer } from '../../src/testing/scripted-server.ts'
import { createSendGridServer } from '../../src/testing/sendgrid-server.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { broken, brokenAdapters } from '../support/broken-adapters.ts'
import { collect, failuresOf } from '../support/collect.ts'

const secret = 'SG.CANARY-broken-adapter-key'
const auth = { user: 'mailer', pass: secret }

const bases = {
  smtp: {
    dialect: 'smtp' as const,
    server: (): Promise<ScriptedServer> => createSmtpServer({ auth }),
    provider: ({ url }: ScriptedServer): Provider => smtp({ url }),
  },
  http: {
    dialect: 'http' as const,
    server: (): Promise<ScriptedServer> => createSendGridServer({ apiKey: secret }),
    provider: ({ url }: ScriptedServer): Provider => sendgrid({ apiKey: secret, endpoint: url }),
  },
}

for (const adapter of brokenAdapters) {
  test(`X1 an adapter that ${adapter.name} is caught under ${adapter.feature}`, async () => {
    const base = bases[adapter.base]
    const common = { ...base, secrets: [secret], patience: 1_000 }
    const chosen = (cases: ReturnType<typeof collect>) =>
      cases.filter(({ feature, name }) => feature === adapter.feature && adapter.fails.test(name))

    const healthy = chosen(collect(common))
    assert.ok(healthy.length > 0, 'no case has such a name')
    assert.deepEqual([...(await failuresOf(healthy)).keys()], [], 'the adapter that is not broken fails, too')

    const lying = chosen(collect({ ...common, provider: (server) => broken(adapter, base.provider(server), secret) }))
    const failures = await failuresOf(lying)
    assert.deepEqual(
      lying.map(({ feature, name }) => `${feature}: ${name}`).filter((name) => !failures.has(name)),
      [],
      'these cases let it pass',
    )
    for (const error of failures.values()) {
      assert.ok(error instanceof assert.AssertionError, `caught by accident: ${error}`)
    }
  })
}

test('X1 every case of the suite is failed by a broken adapter', () => {
  const cases = Object.entries(bases).flatMap(([base, harness]) =>
    collect({ ...harness, secrets: [] }).map(({ feature, name }) => ({
      name: `${feature}: ${name}`,
      caught: brokenAdapters.some((adapter) => {
        return adapter.base === base && adapter.feature === feature && adapter.fails.test(name)
      }),
    })),
  )
  const caught = new Set(cases.filter((one) => one.caught).map(({ name }) => name))
  const never = cases.map(({ name }) => name).filter((name) => !caught.has(name))
  assert.deepEqual(never, [])
})
