import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import http from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { decodeWords } from 'postal-mime'
import { decodeLabel, encodeLabel } from '../../providers/shared/carried.ts'
import { Exchange } from '../../providers/shared/exchange.ts'
import { lazy, loadPeer } from '../../providers/shared/load.ts'
import { meaningOfStatus, retryAfterOf } from '../../providers/shared/status.ts'
import { encodeText, encodeWords, formatMailbox } from '../../providers/shared/words.ts'
import { disposeAfterTest } from '../support/disposal.ts'
import { answering, closedPort, context, facts, failed, failureOf, unknown } from '../support/http-api.ts'

const post = (exchange: Exchange, url: string, body: string | Uint8Array = '{}', timeout = 5000) =>
  exchange.run(context(timeout), (call) => call.request({ method: 'POST', url: new URL(url), headers: {}, body }))

/** A bare TCP server: what it does with a connection is the test's. */
async function tcpServer(serve: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket.on('error', () => {}))
    serve(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('O1 while no byte of the request was written the outcome is failed: refused, unresolved, no TLS, no socket in time', async () => {
  const exchange = new Exchange({ connectTimeout: 50 })
  const port = await closedPort()
  const refused = await failureOf(post(exchange, `http://127.0.0.1:${port}/`))
  assert.deepEqual(facts(refused), failed('connection'))
  assert.equal(refused.providerCode, 'ECONNREFUSED')
  assert.deepEqual(facts(await failureOf(post(exchange, 'http://nobody.invalid/'))), failed('connection'))

  let bytes = 0
  const plain = await tcpServer((socket) => {
    socket.on('data', (chunk) => {
      bytes += chunk.length
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
    })
  })
  disposeAfterTest(plain)
  const noTls = await failureOf(post(exchange, plain.url.replace('http:', 'https:')))
  assert.deepEqual(facts(noTls), failed('connection'))
  assert.ok(bytes > 0, 'the handshake was begun')
  const silent = await tcpServer(() => {})
  disposeAfterTest(silent)
  const stalled = await failureOf(post(exchange, silent.url.replace('http:', 'https:')))
  assert.deepEqual(facts(stalled), failed('timeout'))
  await exchange.close()
})

test('O2 once it was written the outcome is unknown until a whole answer is there, at every byte of the answer', async () => {
  const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"id":"0123456789ab"}'
  let length = 0
  const server = await tcpServer((socket) => {
    socket.once('data', () => socket.end(answer.slice(0, length)))
  })
  disposeAfterTest(server)
  const exchange = new Exchange()
  for (length = 0; length < answer.length; length++) {
    assert.deepEqual(facts(await failureOf(post(exchange, server.url))), unknown('connection'), `cut at ${length}`)
  }
  length = answer.length
  assert.equal((await post(exchange, server.url)).status, 200)
  await exchange.close()
})

test('O2 garbage, an endless head and a protocol switch are unknown', async () => {
  const oddities = [
    'no http at all\r\n\r\n',
    `HTTP/1.1 200 OK\r\nX-Long: ${'x'.repeat(100_000)}`,
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
  ]
  const exchange = new Exchange()
  for (const oddity of oddities) {
    const server = await tcpServer((socket) => socket.once('data', () => socket.end(oddity)))
    disposeAfterTest(server)
    assert.deepEqual(facts(await failureOf(post(exchange, server.url))), unknown('connection'))
  }
  await exchange.close()
})

test('an answer that comes before the body was read counts, whole', async () => {
  const server = await tcpServer((socket) => {
    socket.once('data', () =>
      socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno'),
    )
  })
  disposeAfterTest(server)
  const exchange = new Exchange()
  const answer = await post(exchange, server.url, new Uint8Array(8_000_000))
  assert.equal(answer.status, 413)
  assert.equal(answer.body.toString(), 'no')
  await exchange.close()
})

test('P10 of a body only the first megabyte is kept; redirects are answers, not followed', async () => {
  const exchange = new Exchange()
  const long = await answering({ status: 400, body: 'x'.repeat(3_000_000) })
  disposeAfterTest(long)
  const answer = await post(exchange, long.url)
  assert.equal(answer.status, 400)
  assert.equal(answer.body.length, 1_000_000)
  const moved = await answering({ status: 307, headers: { location: '/again' } })
  disposeAfterTest(moved)
  assert.equal((await post(exchange, moved.url)).status, 307)
  assert.equal(moved.state.requests, 1)
  await exchange.close()
})

test('connections are kept: a hundred calls in a row use one, and many at once no more than the pool holds', async () => {
  const ports = new Set<number | undefined>()
  const waiting: http.ServerResponse[] = []
  const gate = { hold: false }
  const server = http.createServer((request, response) => {
    ports.add(request.socket.remotePort)
    if (gate.hold) waiting.push(response)
    else response.end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const exchange = new Exchange()
  for (let n = 0; n < 100; n++) await post(exchange, url)
  assert.equal(ports.size, 1)
  gate.hold = true
  const calls = Array.from({ length: 120 }, () => post(exchange, url))
  while (waiting.length < 50) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(waiting.length, 50)
  gate.hold = false
  for (const response of waiting) response.end('{}')
  await Promise.all(calls)
  assert.ok(ports.size <= 51)
  await exchange.close()
  server.close()
})

test('a kept connection the server closed meanwhile costs no false unknown: the call goes over a new one', async () => {
  let requests = 0
  const server = await tcpServer((socket) => {
    socket.on('data', () => {
      requests++
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}')
    })
  })
  disposeAfterTest(server)
  const exchange = new Exchange()
  const rounds = 20
  for (let n = 0; n < rounds; n++) {
    await post(exchange, server.url)
    for (const socket of server.sockets) socket.destroy()
    server.sockets.clear()
  }
  assert.equal(requests, rounds)
  await exchange.close()
})

test('O4 one attempt makes one request, even if the SDK asks again', async () => {
  const server = await answering({ status: 503 })
  disposeAfterTest(server)
  const exchange = new Exchange()
  const again: unknown[] = []
  const answer = await exchange.run(context(), async (call) => {
    const request = { method: 'POST', url: new URL(server.url), headers: {}, body: '{}' }
    await call.request(request)
    await call.request(request).catch((error) => again.push(error))
  })
  assert.equal(answer.status, 503)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(again.length, 1)
  assert.equal(server.state.requests, 1)
  await exchange.close()
})

test('P9 what fails or hangs before the request is failed, and nothing is sent when it comes late', async () => {
  const server = await answering({ status: 200, body: '{}' })
  disposeAfterTest(server)
  const exchange = new Exchange()
  const request = { method: 'POST', url: new URL(server.url), headers: {}, body: '{}' }
  const lost = await failureOf(exchange.run(context(), () => Promise.reject(new Error('CANARY'))))
  assert.deepEqual(facts(lost), failed('configuration'))
  assert.doesNotMatch(lost.message, /CANARY/)
  assert.deepEqual(facts(await failureOf(exchange.run(context(), async () => {}))), failed('configuration'))

  const gate = Promise.withResolvers<void>()
  const late = Promise.withResolvers<unknown>()
  const hanging = exchange.run(context(20), async (call) => {
    await gate.promise
    await call.request(request).catch(late.resolve)
  })
  assert.deepEqual(facts(await failureOf(hanging)), failed('timeout'))
  gate.resolve()
  assert.deepEqual(facts((await late.promise) as never), failed('aborted'))
  assert.equal(server.state.requests, 0)
  await exchange.close()
})

test('abort before, while connecting and while waiting: failed, failed, unknown', async () => {
  const exchange = new Exchange()
  const server = await tcpServer(() => {})
  disposeAfterTest(server)
  const run = (url: string, signal: AbortSignal) =>
    failureOf(
      exchange.run({ signal, timeout: 5000 }, (call) =>
        call.request({ method: 'POST', url: new URL(url), headers: {}, body: '{}' }),
      ),
    )
  assert.deepEqual(facts(await run(server.url, AbortSignal.abort())), failed('aborted'))
  const connecting = new AbortController()
  const inHandshake = run(server.url.replace('http:', 'https:'), connecting.signal)
  while (server.sockets.size === 0) await new Promise((resolve) => setImmediate(resolve))
  connecting.abort()
  assert.deepEqual(facts(await inHandshake), failed('aborted'))
  const waiting = new AbortController()
  let read = 0
  const reader = await tcpServer((socket) => socket.on('data', ({ length }) => (read += length)))
  disposeAfterTest(reader)
  const inAnswer = run(reader.url, waiting.signal)
  while (read === 0) await new Promise((resolve) => setImmediate(resolve))
  waiting.abort()
  assert.deepEqual(facts(await inAnswer), unknown('aborted'))
  await exchange.close()
})

test('X7 close lets what runs finish, frees every socket, and a later call opens anew', async () => {
  const held: http.ServerResponse[] = []
  const server = http.createServer((_, response) => held.push(response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const exchange = new Exchange()
  const running = post(exchange, url)
  while (held.length === 0) await new Promise((resolve) => setImmediate(resolve))
  const closing = exchange.close()
  held[0]?.end('{}')
  assert.equal((await running).status, 200)
  await closing
  await exchange.close()
  const connections = () => new Promise((resolve) => server.getConnections((_, count) => resolve(count)))
  while ((await connections()) !== 0) await new Promise((resolve) => setImmediate(resolve))

  const later = post(exchange, url)
  while (held.length === 1) await new Promise((resolve) => setImmediate(resolve))
  held[1]?.end('{}')
  assert.equal((await later).status, 200)
  await exchange.close()
  server.close()
})

test('proxies named in the environment are not used', async () => {
  const server = await answering({ status: 200, body: '{}' })
  disposeAfterTest(server)
  const names = ['HTTP_PROXY', 'http_proxy', 'NODE_USE_ENV_PROXY']
  const before = names.map((name) => process.env[name])
  process.env.HTTP_PROXY = process.env.http_proxy = `http://127.0.0.1:${await closedPort()}`
  process.env.NODE_USE_ENV_PROXY = '1'
  try {
    const exchange = new Exchange()
    assert.equal((await post(exchange, server.url)).status, 200)
    await exchange.close()
  } finally {
    for (const [index, name] of names.entries()) {
      if (before[index] === undefined) delete process.env[name]
      else process.env[name] = before[index]
    }
  }
})

test('importing and making the adapters loads no SDK, no nodemailer and no zod', async () => {
  const root = new URL('../../providers/', import.meta.url).href
  const script = `
    import { registerHooks } from 'node:module'
    const seen = []
    registerHooks({ resolve: (name, context, next) => (seen.push(name), next(name, context)) })
    const load = (name) => import('${root}' + name + '.ts')
    const [a, b, c, d, e] = await Promise.all(['ses', 'sendgrid', 'mailgun', 'nodemailer', 'memory'].map(load))
    a.ses({ region: 'eu-west-1' })
    b.sendgrid({ apiKey: 'SG.x' })
    c.mailgun({ apiKey: 'x', domain: 'mg.example.com' })
    d.nodemailer({ transport: 'smtp://127.0.0.1' })
    e.memory()
    console.log(JSON.stringify(seen.filter((name) => !/^(\\.|file:|node:)/.test(name))))
  `
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  assert.equal(stdout, '[]\n')
})

test('a missing package is named with the command to install it, and the outcome is failed', async () => {
  const name = '@acme/no-such-package'
  const error = await failureOf(loadPeer('acme', name, () => import(name)))
  assert.deepEqual(facts(error), failed('configuration'))
  assert.match(error.message, /acme needs the package @acme\/no-such-package.*npm install @acme\/no-such-package/)
  const broken = await failureOf(loadPeer('acme', 'other', () => Promise.reject(new Error('CANARY'))))
  assert.match(broken.message, /cannot be loaded/)
  assert.doesNotMatch(broken.message, /CANARY/)
})

test('a lazy load is made once for all who wait, and again after it failed', async () => {
  let loads = 0
  const load = lazy(async () => {
    loads++
    if (loads === 1) throw new Error('not yet')
    return loads
  })
  const first = await Promise.allSettled([load(), load()])
  assert.deepEqual(
    first.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  assert.deepEqual(await Promise.all([load(), load()]), [2, 2])
})

test('names and values become encoded words of at most 75 characters that another reader decodes', () => {
  const texts = ['Köln', '東京'.repeat(60), '🎉'.repeat(33), 'a =?UTF-8?B?eA==?= b', 'tab\there', 'é'.repeat(500)]
  for (const text of texts) {
    const encoded = encodeText(text)
    assert.match(encoded, /^[ -~]+$/)
    for (const word of encoded.split(' ')) assert.ok(word.length <= 75)
    assert.equal(decodeWords(encoded), text)
  }
  assert.equal(encodeText('plain, "quoted" <x>'), 'plain, "quoted" <x>')
  assert.equal(decodeWords(encodeWords('Doe, Jane; PhD')), 'Doe, Jane; PhD')
  assert.equal(formatMailbox({ address: 'a@b.example' }), 'a@b.example')
  assert.equal(formatMailbox({ name: 'Ada L', address: 'a@b.example' }), 'Ada L <a@b.example>')
  assert.equal(formatMailbox({ name: 'L, "A" \\', address: 'a@b.example' }), '"L, \\"A\\" \\\\" <a@b.example>')
})

test('labels of a narrow alphabet carry any text and give it back, or say that it does not fit', () => {
  for (const text of ['plain_1-x', '', 'with blank', 'b64_looks-encoded', 'größe', 'x'.repeat(256), 'ü'.repeat(94)]) {
    const label = encodeLabel(text) ?? assert.fail('it should fit')
    assert.match(label, /^[A-Za-z0-9_-]{1,256}$/)
    assert.equal(decodeLabel(label), text)
  }
  assert.equal(encodeLabel('x'.repeat(257)), undefined)
})

test('every status has a meaning, and only refusals are final', () => {
  for (let status = 300; status < 600; status++) {
    const { outcome } = meaningOfStatus(status)
    const final = [400, 413, 422]
    const open = status < 400 || status >= 500 || status === 408 || status === 409
    assert.equal(outcome, final.includes(status) ? 'rejected' : open ? 'unknown' : 'failed', `${status}`)
  }
  assert.equal(retryAfterOf({ 'retry-after': '120' }), 120_000)
  assert.equal(retryAfterOf({ 'retry-after': 'Fri, 02 Jan 2026 00:00:30 GMT' }, Date.UTC(2026, 0, 2)), 30_000)
  assert.equal(retryAfterOf({ 'retry-after': 'Fri, 02 Jan 2026 00:00:30 GMT' }, Date.UTC(2027, 0, 2)), 0)
  for (const value of ['', 'soon', '-1', '1e400'])
    assert.equal(retryAfterOf({ 'retry-after': value }) ?? undefined, undefined)
})
