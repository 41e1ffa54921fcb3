import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { start } from '../support/program.ts'

test('each tenant mails through its own account, under its own name, within its own quota (P8)', async (t) => {
  const north = await createSmtpServer({ auth: { user: 'north', pass: 'snow' } })
  t.after(() => north.close())
  const south = await createSmtpServer({ auth: { user: 'south', pass: 'sand' } })
  t.after(() => south.close())
  const folder = await mkdtemp(join(tmpdir(), 'tenants-'))
  const file = join(folder, 'tenants.json')
  await writeFile(
    file,
    JSON.stringify({
      north: { smtp: north.url, from: 'North <mail@north.example>', perDay: 10, version: 1 },
      south: { smtp: south.url, from: 'mail@south.example', perDay: 1, version: 1 },
      east: { smtp: south.url, from: 'mail@east.example', perDay: 10, version: 1, blocked: true },
    }),
  )
  const service = start(t, 'examples/tenants.ts', { TENANTS: file, PORT: '0' })
  const [, url] = await service.printed(/listening on (\S+)/)
  const mail = async (tenant: string, change: object = {}) => {
    const body = JSON.stringify({ to: 'ada@example.com', subject: `From ${tenant}`, text: 'Hello.', ...change })
    const response = await fetch(`${url}/${tenant}/mail`, { method: 'POST', body })
    const { code, from } = (await response.json()) as { code?: string; from?: string }
    return { status: response.status, code, from }
  }

  assert.equal((await mail('north')).from, 'mail@north.example')
  assert.equal((await mail('south')).from, 'mail@south.example')
  assert.equal((await mail('south')).code, 'SEND_LIMIT_EXCEEDED')
  assert.equal((await mail('north')).status, 200)
  assert.equal((await mail('north', { from: 'mail@south.example' })).code, 'SENDER_NOT_ALLOWED')
  assert.equal((await mail('east')).code, 'TENANT_BLOCKED')
  assert.deepEqual(await mail('west').then(({ status, code }) => [status, code]), [404, 'TENANT_NOT_FOUND'])
  assert.equal((await mail('north', { text: 'x'.repeat(200_000) })).status, 400)
  assert.equal((await fetch(`${url}/north`)).status, 404)

  const from = async (server: typeof north) => (await server.accepted()).map(({ from }) => from.address)
  assert.deepEqual(await from(north), ['mail@north.example', 'mail@north.example'])
  assert.deepEqual(await from(south), ['mail@south.example'])

  service.child.kill('SIGTERM')
  assert.equal(await service.ended, 0)
  assert.equal(service.err, '')
  await rm(folder, { recursive: true })
})
