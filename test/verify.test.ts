import assert from 'node:assert/strict'
import { test } from 'node:test'
import { smtp } from '../providers/smtp.ts'
import { createMailer, handOverError } from '../src/index.ts'
import { fakeClock } from '../src/testing/fake-clock.ts'
import { createSmtpServer } from '../src/testing/smtp-server.ts'
import { disposeAfterTest } from './support/disposal.ts'
import { rejection } from './support/rejection.ts'
import { scripted } from './support/scripted-provider.ts'

const from = 'hello@acme.example'

test('verify says of each provider whether it works, and rejects for none', async () => {
  const odd = {
    well: async () => undefined,
    refused: () => Promise.reject(handOverError({ outcome: 'failed', kind: 'login', reason: '535 no' })),
    broken: () => Promise.reject(new TypeError('password=secret')),
    thrower: () => {
      throw new TypeError('password=secret')
    },
    nothing: () => Promise.reject(undefined),
  }
  const providers = {
    ...Object.fromEntries(
      Object.entries(odd).map(([name, verify]) => [name, Object.assign(scripted(name), { verify })]),
    ),
    silent: scripted('silent'),
  }
  const result = await createMailer({ from, providers }).verify()
  assert.equal(result.ok, false)
  assert.deepEqual(
    Object.entries(result.providers).map(([name, { status, error }]) => [name, status, error?.provider]),
    [
      ['well', 'ok', undefined],
      ['refused', 'failed', 'refused'],
      ['broken', 'failed', 'broken'],
      ['thrower', 'failed', 'thrower'],
      ['nothing', 'failed', 'nothing'],
      ['silent', 'unsupported', undefined],
    ],
  )
  assert.equal(result.providers.refused?.error?.kind, 'login')
  assert.doesNotMatch(JSON.stringify(result), /secret/)
})

test('P9: a provider that hangs in verify is failed at the deadline, or at close', async () => {
  for (const how of ['deadline', 'close'] as const) {
    const clock = fakeClock()
    const deaf = Object.assign(scripted('deaf'), { verify: () => new Promise<void>(() => undefined) })
    const mailer = createMailer({ from, providers: { deaf, well: scripted('well') }, clock, timeout: 5_000 })
    const checking = mailer.verify()
    await clock.advance(1)
    const closing = how === 'close' ? mailer.close({ deadline: 100 }) : undefined
    await clock.advance(6_000)
    const result = await checking
    assert.equal(result.providers.deaf?.status, 'failed')
    assert.equal(result.providers.well?.status, 'unsupported')
    await closing
    assert.equal(clock.pending, 0)
  }
})

test('X7: what verify opened for a tenant is counted and closed with the mailer', async () => {
  const server = await createSmtpServer()
  disposeAfterTest(server)
  const mailer = createMailer({
    providers: {},
    tenants: { acme: { from, providers: { own: smtp({ url: server.url }) } } },
  })
  assert.equal((await mailer.tenant('acme').verify()).ok, true)
  assert.equal((await rejection(mailer.tenant('nobody').verify())).code, 'TENANT_NOT_FOUND')
  await mailer.close()
  while (server.open > 0) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(server.connections, 1)
})
