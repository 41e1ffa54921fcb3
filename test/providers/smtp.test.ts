import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { getEventListeners, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { inspect } from 'node:util'
import type { SmtpOptions } from '../../providers/smtp.ts'
import { smtp } from '../../providers/smtp.ts'
import { MailError } from '../../src/provider.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { deliveryOf } from '../support/delivery.ts'
import { disposeAfterTest } from '../support/disposal.ts'
import { smtpPair } from '../support/smtp.ts'

const recipients = (...addresses: string[]) => ({
  recipients: addresses.map((address) => ({ address, key: address.toLowerCase(), field: 'to' as const })),
})
const three = recipients('a@example.com', 'b@example.com', 'c@example.com')

/** Runs a module in a process of its own, which has to end by itself. */
function run(script: string): string {
  const args = ['--input-type=module', '-e', script]
  return execFileSync(process.execPath, args, { timeout: 20_000, stdio: ['ignore', 'pipe', 'inherit'] })
    .toString()
    .trim()
}

const at = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)

test('importing the provider and making one loads nothing of nodemailer', () => {
  const loaded = run(`
    import { registerHooks } from 'node:module'
    const urls = []
    registerHooks({ load: (url, context, next) => (urls.push(url), next(url, context)) })
    const { smtp } = await import(${at('../../providers/smtp.ts')})
    smtp({ host: 'example.com' })
    console.log(urls.join(' '))`)
  assert.match(loaded, /providers\/smtp\.ts/)
  assert.doesNotMatch(loaded, /node_modules/)
})

for (const [what, options] of [
  ['nothing', {}],
  ['a url of another kind', { url: 'http://example.com' }],
  ['a url with an unknown parameter', { url: 'smtp://example.com?rejectUnauthorized=false' }],
  ['smtps without TLS', { url: 'smtps://example.com?tls=none' }],
  ['url and host', { url: 'smtp://example.com', host: 'example.com' }],
  ['an unknown option', { host: 'example.com', secure: true }],
  ['a tls mode that is none', { host: 'example.com', tls: 'maybe' }],
  ['a port out of range', { host: 'example.com', port: 70_000 }],
  ['a line break in the EHLO name', { host: 'example.com', name: 'a\r\nQUIT' }],
  ['a password that is empty', { host: 'example.com', auth: { user: 'u', pass: '' } }],
  ['a NUL in the password', { host: 'example.com', auth: { user: 'u', pass: 'a\0b' } }],
  [
    'an access URL in clear text',
    {
      host: 'h',
      auth: {
        type: 'oauth2',
        user: 'u',
        clientId: 'c',
        clientSecret: 's',
        refreshToken: 'r',
        accessUrl: 'http://example.com',
      },
    },
  ],
  ['no connections', { host: 'example.com', pool: { connections: 0 } }],
  ['a timeout that is none', { host: 'example.com', timeouts: { socket: Number.NaN } }],
  ['a ca that is no PEM', { host: 'example.com', ca: 'x' }],
  ['a DKIM key that is none', { host: 'example.com', dkim: { domainName: 'a', keySelector: 'b', privateKey: 'c' } }],
  ['an envelope sender with a bracket', { host: 'example.com', envelopeFrom: 'a@b>\r\n' }],
] as const) {
  test(`the factory refuses ${what} at once`, () => {
    assert.throws(
      () => smtp(options as unknown as SmtpOptions),
      (error) =>
        error instanceof MailError && error.code === 'CONFIGURATION_ERROR' && error.message.startsWith('smtp: '),
    )
  })
}

test('P11 neither the provider nor any error shows a credential', async () => {
  const pass = 'canary-Zg7-pass'
  const server = await createSmtpServer({ auth: { user: 'canary-user', pass: 'other' } })
  disposeAfterTest(server)
  const provider = smtp({ host: server.host, port: server.port, tls: 'none', auth: { user: 'canary-user', pass } })
  const error = await provider.verify?.({}).catch((error: unknown) => error)
  assert.ok(error instanceof MailError)
  assert.equal(error.kind, 'login')
  assert.equal(error.outcome, 'failed')
  for (const text of [
    inspect(provider, { depth: 9, showHidden: true }),
    JSON.stringify(provider),
    inspect(error, { depth: 9 }),
    JSON.stringify(error),
  ]) {
    assert.ok(!text.includes(pass), text)
  }
  await provider.close?.()
})

test('W6 TLS is required unless opted out: a server without STARTTLS gets no mail and no credentials', async () => {
  const server = await createSmtpServer({ auth: { user: 'u', pass: 'p' } })
  disposeAfterTest(server)
  for (const tls of [undefined, 'opportunistic'] as const) {
    const provider = smtp({
      host: server.host,
      port: server.port,
      auth: { user: 'u', pass: 'p' },
      ...(tls ? { tls } : {}),
    })
    const error = await provider.verify?.({}).catch((error: unknown) => error)
    assert.ok(error instanceof MailError)
    assert.equal(error.outcome, 'failed')
    assert.equal(error.kind, 'configuration')
    await provider.close?.()
  }
  assert.ok(!server.commands.some((line) => line.startsWith('AUTH') || line.startsWith('MAIL')))
})

for (const tls of ['starttls', 'implicit'] as const) {
  test(`W6 ${tls}: a certificate nobody vouches for, or of another name, is refused`, async () => {
    const server = await createSmtpServer({ tls })
    disposeAfterTest(server)
    for (const trust of [{}, { ca: server.ca, servername: 'mail.example.com' }]) {
      const provider = smtp({ url: server.url, ...trust })
      const error = await provider.verify?.({}).catch((error: unknown) => error)
      assert.ok(error instanceof MailError, 'it must not connect')
      assert.equal(error.outcome, 'failed')
      assert.equal(error.kind, 'configuration')
      await provider.close?.()
    }
    assert.ok(!server.commands.some((line) => line.startsWith('MAIL')))
  })

  test(`${tls}: mail goes over TLS once the authority is trusted, and verify says so`, async () => {
    const pair = await smtpPair({ tls, auth: { user: 'u', pass: 'p%:@/' } })
    disposeAfterTest(pair)
    await pair.provider.verify?.({})
    assert.equal((await pair.hand(deliveryOf())).outcome, 'sent')
    assert.equal((await pair.server.accepted()).length, 1)
  })
}

test('opportunistic without credentials sends in clear text when nothing better is offered', async () => {
  const server = await createSmtpServer()
  disposeAfterTest(server)
  const provider = smtp({ host: server.host, port: server.port, tls: 'opportunistic' })
  await provider.send(deliveryOf(), { signal: new AbortController().signal, timeout: 5_000 })
  await provider.close?.()
  assert.equal(server.raw.length, 1)
})

test('OAuth2: the token is fetched once for all connections, and XOAUTH2 presents it', async () => {
  let fetched = 0
  const tokens = createServer((request, response) => {
    fetched++
    request.resume().on('end', () => response.end(JSON.stringify({ access_token: 'token-1', expires_in: 3600 })))
  })
  tokens.listen(0, '127.0.0.1')
  await once(tokens, 'listening')
  const accessUrl = `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/token`
  const server = await createSmtpServer({ auth: { user: 'u', token: 'token-1' } })
  disposeAfterTest(server)
  const provider = smtp({
    url: server.url,
    auth: { type: 'oauth2', user: 'u', clientId: 'c', clientSecret: 's', refreshToken: 'r', accessUrl },
  })
  const context = { signal: new AbortController().signal, timeout: 5_000 }
  await Promise.all(Array.from({ length: 5 }, () => provider.send(deliveryOf(), context)))
  await provider.close?.()
  tokens.close()
  tokens.closeAllConnections()
  assert.equal(server.raw.length, 5)
  assert.equal(fetched, 1)
})

test('OAuth2: a token the server refuses is a login failure', async () => {
  const server = await createSmtpServer({ auth: { user: 'u', token: 'right' } })
  disposeAfterTest(server)
  const provider = smtp({ url: server.url, auth: { type: 'oauth2', user: 'u', accessToken: 'wrong' } })
  const error = await provider.verify?.({}).catch((error: unknown) => error)
  assert.ok(error instanceof MailError)
  assert.equal(error.kind, 'login')
  await provider.close?.()
})

test('credentials for a server that offers no AUTH are a configuration failure, and none are sent', async () => {
  const server = await createSmtpServer()
  disposeAfterTest(server)
  const provider = smtp({ url: server.url, auth: { user: 'u', pass: 'p' } })
  const error = await provider.verify?.({}).catch((error: unknown) => error)
  assert.ok(error instanceof MailError)
  assert.equal(error.kind, 'configuration')
  await provider.close?.()
  assert.ok(!server.commands.some((line) => line.startsWith('AUTH')))
})

test('the answer carries the queue id, the code and the evidence', async () => {
  const pair = await smtpPair()
  disposeAfterTest(pair)
  const { answer } = await pair.hand(deliveryOf())
  assert.equal(answer?.providerMessageId, pair.server.raw[0]?.providerMessageId)
  assert.equal(answer?.code, '250 2.0.0')
  assert.match(answer?.evidence ?? '', /queued as/)
})

for (const pipelining of [true, false]) {
  const how = pipelining ? 'pipelined' : 'one by one'
  test(`O5 partial refusals are per recipient (${how})`, async () => {
    const pair = await smtpPair({ pipelining })
    disposeAfterTest(pair)
    pair.server.fail({ at: 'envelope', kind: '5xx', recipient: 'b@example.com' })
    pair.server.fail({ at: 'envelope', kind: '4xx', recipient: 'c@example.com' })
    const { answer } = await pair.hand(deliveryOf({ envelope: three }))
    assert.deepEqual(
      answer?.recipients?.map(({ address, outcome, code }) => ({ address, outcome, code })),
      [
        { address: 'b@example.com', outcome: 'rejected', code: '550 5.1.1' },
        { address: 'c@example.com', outcome: 'failed', code: '450 4.2.1' },
      ],
    )
    assert.deepEqual(pair.server.raw[0]?.recipients, ['a@example.com'])
  })

  test(`O5 nobody accepted: alike is one error, unlike is named (${how})`, async () => {
    const pair = await smtpPair({ pipelining }, { pool: { connections: 1 } })
    disposeAfterTest(pair)
    pair.server.fail({ at: 'envelope', kind: '5xx', times: 3 })
    assert.equal((await pair.hand(deliveryOf({ envelope: three }))).outcome, 'rejected')
    pair.server.fail({ at: 'envelope', kind: '5xx', recipient: 'a@example.com' })
    pair.server.fail({ at: 'envelope', kind: '4xx', recipient: 'b@example.com' })
    pair.server.fail({ at: 'envelope', kind: '5xx', recipient: 'c@example.com' })
    const { answer } = await pair.hand(deliveryOf({ envelope: three }))
    assert.deepEqual(
      answer?.recipients?.map(({ outcome }) => outcome),
      ['rejected', 'failed', 'rejected'],
    )
    assert.equal(answer?.providerMessageId, undefined)
    assert.equal((await pair.hand(deliveryOf({ envelope: three }))).outcome, 'sent')
    assert.equal(pair.server.connections, 1, 'a refusal costs no connection')
    assert.equal(pair.server.bodies, 1)
  })
}

test('O3, O5 a refused recipient stays refused when the others are unknown', async () => {
  const pair = await smtpPair()
  disposeAfterTest(pair)
  pair.server.fail({ at: 'envelope', kind: '5xx', recipient: 'b@example.com' })
  pair.server.fail({ at: 'afterBody', kind: 'reset' })
  const { answer } = await pair.hand(deliveryOf({ envelope: three }))
  assert.deepEqual(
    answer?.recipients?.map(({ outcome }) => outcome),
    ['unknown', 'rejected', 'unknown'],
  )
})

test('O5 more recipients than the server takes at once are left for another transaction', async () => {
  const pair = await smtpPair({ recipients: 2 })
  disposeAfterTest(pair)
  const { answer } = await pair.hand(deliveryOf({ envelope: three }))
  assert.deepEqual(
    answer?.recipients?.map(({ address, outcome }) => `${address} ${outcome}`),
    ['c@example.com failed'],
  )
})

test('O9 a mailbox that is not ASCII needs SMTPUTF8, else it is rejected before MAIL', async () => {
  const delivery = deliveryOf({ message: { to: [{ address: 'jürgen@example.com' }] } })
  const without = await smtpPair({ smtputf8: false })
  disposeAfterTest(without)
  assert.equal((await without.hand(delivery)).outcome, 'rejected')
  assert.ok(!without.server.commands.some((line) => line.startsWith('MAIL')))

  const offered = await smtpPair()
  disposeAfterTest(offered)
  assert.equal((await offered.hand(delivery)).outcome, 'sent')
  assert.ok(offered.server.commands.some((line) => /^MAIL .* SMTPUTF8\b/.test(line)))
  assert.equal((await offered.server.accepted())[0]?.to[0]?.address, 'jürgen@example.com')
})

test('SIZE is respected: no byte of a message over it goes, and another provider may take it', async () => {
  const pair = await smtpPair({ size: 2_000 })
  disposeAfterTest(pair)
  const ending = await pair.hand(deliveryOf({ message: { text: 'x '.repeat(4_000) } }))
  assert.equal(ending.outcome, 'failed')
  assert.equal(ending.error?.kind, 'size')
  assert.equal(ending.error?.retryable, false)
  assert.equal(pair.server.bodies, 0)
  assert.equal((await pair.hand(deliveryOf())).outcome, 'sent')
})

test('P6 recipients come from the envelope alone, and the envelope sender from options or envelope', async () => {
  const pair = await smtpPair({}, { envelopeFrom: 'bounces@acme.example' })
  disposeAfterTest(pair)
  await pair.hand(
    deliveryOf({ message: { bcc: [{ address: 'spy@example.com' }] }, envelope: recipients('z@example.com') }),
  )
  assert.deepEqual(pair.server.raw[0]?.recipients, ['z@example.com'])
  assert.equal(pair.server.raw[0]?.envelopeFrom, 'bounces@acme.example')
  const plain = await smtpPair()
  disposeAfterTest(plain)
  await plain.hand(deliveryOf({ envelope: { from: 'ret@acme.example' } }))
  assert.equal(plain.server.raw[0]?.envelopeFrom, 'ret@acme.example')
})

test('DKIM: every message is signed, and arrives whole', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pair = await smtpPair({}, { dkim: { domainName: 'acme.example', keySelector: 'k1', privateKey } })
  disposeAfterTest(pair)
  await pair.hand(deliveryOf({ message: { text: 'signed ü\n.dots\n' } }))
  const [mail] = await pair.server.accepted()
  assert.match(mail?.headers['dkim-signature']?.[0] ?? '', /d=acme\.example;.*s=k1;/)
  assert.equal(mail?.text?.trim(), 'signed ü\n.dots')
})

test('replies in packets of one byte are understood', async () => {
  const pair = await smtpPair({ trickle: true })
  disposeAfterTest(pair)
  assert.equal((await pair.hand(deliveryOf())).outcome, 'sent')
})

test('P10 never more connections than the pool allows, whatever the load; order is first come, first served', async () => {
  const pair = await smtpPair({}, { pool: { connections: 3 } })
  disposeAfterTest(pair)
  const endings = await Promise.all(Array.from({ length: 200 }, () => pair.hand(deliveryOf())))
  assert.ok(endings.every(({ outcome }) => outcome === 'sent'))
  assert.equal(pair.server.peak, 3)
  assert.equal(pair.server.connections, 3)
  const ids = (await pair.server.accepted()).map(({ sendwrightId = '' }) => sendwrightId)
  const late = ids.filter((id, at) => ids.slice(0, at).filter((before) => before > id).length > 3)
  assert.deepEqual(late, [])
})

test('pool.messages replaces a connection after so many, pool: false after each', async () => {
  const pair = await smtpPair({}, { pool: { connections: 1, messages: 4 } })
  disposeAfterTest(pair)
  for (let sent = 0; sent < 12; sent++) assert.equal((await pair.hand(deliveryOf())).outcome, 'sent')
  assert.equal(pair.server.connections, 3)
  const single = await smtpPair({}, { pool: false })
  disposeAfterTest(single)
  for (let sent = 0; sent < 3; sent++) assert.equal((await single.hand(deliveryOf())).outcome, 'sent')
  assert.equal(single.server.connections, 3)
})

test('an idle connection says QUIT after its time', async () => {
  const pair = await smtpPair({}, { pool: { idle: 1 } })
  disposeAfterTest(pair)
  await pair.hand(deliveryOf())
  while (pair.server.open > 0) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(pair.server.commands.at(-1), 'QUIT')
})

test('P9 who waits in line can leave it at once, and the line goes on', async () => {
  const pair = await smtpPair({}, { pool: { connections: 1 } })
  disposeAfterTest(pair)
  const { server, hand } = pair
  server.fail({ at: 'sender', kind: 'stall' })
  const struck = server.struck()
  const stuck = new AbortController()
  const first = hand(deliveryOf(), stuck)
  await struck
  const leaving = new AbortController()
  const waiting = hand(deliveryOf(), leaving)
  const after = hand(deliveryOf())
  leaving.abort()
  const left = await waiting
  assert.equal(left.outcome, 'failed')
  assert.equal(left.error?.kind, 'aborted')
  stuck.abort()
  assert.equal((await first).outcome, 'failed')
  assert.equal((await after).outcome, 'sent')
  assert.equal(server.bodies, 1)
})

test('P9 a signal that has aborted already opens no connection', async () => {
  const pair = await smtpPair()
  disposeAfterTest(pair)
  const { outcome, error } = await pair.hand(deliveryOf(), { signal: AbortSignal.abort() })
  assert.equal(outcome, 'failed')
  assert.equal(error?.kind, 'aborted')
  assert.equal(pair.server.connections, 0)
})

test('P9 no listener is left on the signal of a send that settled', async () => {
  const pair = await smtpPair()
  disposeAfterTest(pair)
  const { signal } = new AbortController()
  await Promise.all(Array.from({ length: 9 }, () => pair.hand(deliveryOf(), { signal })))
  assert.deepEqual(getEventListeners(signal, 'abort'), [])
})

test('X7 close lets the running finish, is harmless twice, and the next send opens anew', async () => {
  const server = await createSmtpServer()
  disposeAfterTest(server)
  const provider = smtp({ url: server.url, pool: { connections: 2 } })
  const context = { signal: new AbortController().signal, timeout: 5_000 }
  const running = Array.from({ length: 20 }, () => provider.send(deliveryOf(), context))
  const closing = provider.close?.()
  await Promise.all([closing, provider.close?.()])
  assert.equal((await Promise.all(running)).length, 20)
  assert.equal(server.raw.length, 20)
  await provider.send(deliveryOf(), context)
  assert.equal(server.raw.length, 21)
  await provider.close?.()
})

const scene = `
  const { createSmtpServer } = await import(${at('../../src/testing/smtp-server.ts')})
  const { smtp } = await import(${at('../../providers/smtp.ts')})
  const { deliveryOf } = await import(${at('../support/delivery.ts')})
  const context = { signal: new AbortController().signal, timeout: 60_000 }`

test('X7 after close no handle or timer keeps the process, not even behind sends that were cut off', () => {
  const kinds = run(`${scene}
    const server = await createSmtpServer()
    const provider = smtp({ url: server.url, pool: { connections: 2 } })
    for (const at of ['greeting', 'sender', 'afterBody']) {
      const giveUp = new AbortController()
      server.fail({ at, kind: 'stall' })
      server.struck().then(() => giveUp.abort())
      await provider.send(deliveryOf(), { signal: giveUp.signal, timeout: 60_000 }).catch(() => {})
    }
    await Promise.all(Array.from({ length: 9 }, () => provider.send(deliveryOf(), context)))
    await provider.close()
    console.log(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length)
    await server.close()`)
  assert.equal(kinds, '0')
})

test('X7 an idle pool keeps no process alive', () => {
  const out = run(`
    import { Server } from 'node:net'
    ${scene}
    // The server lets the process go, so that only the provider could hold it.
    const listen = Server.prototype.listen
    Server.prototype.listen = function (...args) {
      this.on('connection', (socket) => socket.unref())
      return listen.apply(this, args).unref()
    }
    const keep = setInterval(() => {}, 1000)
    const server = await createSmtpServer()
    const provider = smtp({ url: server.url })
    await provider.send(deliveryOf(), context)
    clearInterval(keep)
    console.log('sent')`)
  assert.equal(out, 'sent')
})

test('providerOptions are a closed set, empty so far', () => {
  const provider = smtp({ host: 'example.com' })
  assert.deepEqual(provider.refuse?.(deliveryOf(), {}), [])
  assert.deepEqual(
    provider.refuse?.(deliveryOf(), { envelopeFrom: 'x@example.com' }).map(({ path, code }) => [path, code]),
    [['providerOptions.smtp.envelopeFrom', 'unknown_field']],
  )
})
