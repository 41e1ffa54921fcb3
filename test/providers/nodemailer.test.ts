import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTransport } from 'nodemailer'
import { nodemailer } from '../../providers/nodemailer.ts'
import type { FaultKind, FaultPoint } from '../../src/testing/scripted-server.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { deliveryOf } from '../support/delivery.ts'
import { disposeAfterTest } from '../support/disposal.ts'
import {
  assertSilent,
  calendar,
  closedPort,
  context,
  facts,
  failed,
  failureOf,
  fullDelivery,
  refusedPaths,
  rejected,
  unknown,
} from '../support/http-api.ts'

const pass = 'CANARY-smtp-password'
const auth = { user: 'user', pass }
/** A transport that answers what it is told and remembers what it was given. */
function recording(answer: (mail: Record<string, unknown>) => unknown = () => ({})) {
  const mails: Record<string, unknown>[] = []
  const transport = {
    name: 'Recording',
    version: '1',
    send({ data }: { data: Record<string, unknown> }, done: (error: unknown, info?: unknown) => void) {
      mails.push(data)
      try {
        done(null, answer(data))
      } catch (error) {
        done(error)
      }
    },
  }
  return { mails, transport }
}

test('through SMTP everything in the message model arrives, and bcc is in the envelope only', async () => {
  const server = await createSmtpServer({ auth })
  disposeAfterTest(server)
  const provider = nodemailer({ transport: { host: server.host, port: server.port, auth, ignoreTLS: true } })
  const delivery = fullDelivery({ message: { calendar } })
  const { message } = delivery
  await provider.send(delivery, context())
  const [mail] = await server.accepted()
  assert.ok(mail)
  assert.deepEqual(
    mail.recipients,
    delivery.envelope.recipients.map(({ address }) => address),
  )
  assert.doesNotMatch(Buffer.from(mail.raw).toString(), /hidden|bcc/i)
  assert.equal(mail.sendwrightId, delivery.id)
  assert.ok(Buffer.from(mail.raw).includes(`Message-ID: ${delivery.messageId}`))
  assert.deepEqual(mail.from, message.from)
  assert.deepEqual(mail.to, message.to)
  assert.deepEqual(mail.replyTo, [message.replyTo[0], { name: '', address: 'other@acme.example' }])
  assert.equal(mail.subject, message.subject)
  assert.equal(mail.text?.trim(), message.text)
  assert.deepEqual(mail.headers['x-place'], ['Köln, 東京'])
  assert.deepEqual(mail.headers['in-reply-to'], ['<first@acme.example>'])
  assert.equal(mail.calendar?.method, 'REQUEST')
  const [pdf] = message.attachments
  assert.deepEqual(
    new Uint8Array(mail.attachments.find(({ filename }) => filename === 'report.pdf')?.content ?? []),
    pdf?.content,
  )
  assert.deepEqual(mail.tags, message.tags)
  assert.deepEqual(mail.metadata, message.metadata)
  await provider.close?.()
})

const faults: [FaultPoint, FaultKind, object][] = [
  ['greeting', '4xx', failed('transient')],
  ['greeting', '5xx', failed('configuration')],
  ['login', '5xx', failed('login')],
  ['login', '4xx', failed('transient')],
  ['sender', '4xx', failed('transient')],
  ['sender', '5xx', failed('sender')],
  ['envelope', '5xx', rejected('recipient')],
  ['envelope', '4xx', failed('transient')],
  ['data', '5xx', rejected('content')],
  ['afterBody', '5xx', rejected('content')],
  ['afterBody', '4xx', failed('transient')],
  ['afterBody', 'reset', unknown('connection')],
  ['afterBody', 'close', unknown('connection')],
  ['midAnswer', 'close', unknown('connection')],
  // nodemailer reports these as it reports a connection lost after the body.
  ['sender', 'reset', unknown('connection')],
  ['midBody', 'reset', unknown('connection')],
]

test('O3 a reply says what happened; a connection lost without one is unknown at every stage', async () => {
  const server = await createSmtpServer({ auth })
  disposeAfterTest(server)
  const provider = nodemailer({ transport: { host: server.host, port: server.port, auth, ignoreTLS: true } })
  for (const [at, kind, expected] of faults) {
    server.reset()
    server.fail({ at, kind })
    const error = await failureOf(provider.send(deliveryOf(), context()))
    assert.deepEqual(facts(error), expected, `${at} ${kind}`)
    assertSilent([pass, 'ada@example.com'], error)
    const taken = (await server.accepted()).length
    if (error.outcome !== 'unknown') assert.equal(taken, 0, `${at} ${kind}`)
  }
  await provider.close?.()
})

test('O5 refused recipients stand in the answer, each with its outcome', async () => {
  const server = await createSmtpServer()
  disposeAfterTest(server)
  const provider = nodemailer({ transport: `smtp://${server.host}:${server.port}?ignoreTLS=true` })
  const to = ['one', 'two', 'three'].map((name) => ({ address: `${name}@example.com` }))
  server.fail({ at: 'envelope', kind: '5xx', recipient: 'one@example.com' })
  server.fail({ at: 'envelope', kind: '4xx', recipient: 'three@example.com' })
  const answer = await provider.send(deliveryOf({ message: { to } }), context())
  assert.deepEqual(
    answer.recipients?.map(({ address, outcome }) => [address, outcome]),
    [
      ['one@example.com', 'rejected'],
      ['three@example.com', 'failed'],
    ],
  )
  assert.deepEqual((await server.accepted())[0]?.recipients, ['two@example.com'])
  await provider.close?.()
})

test('before a connection is made nothing can be taken; a signal or deadline after it leaves it unknown', async () => {
  const nobody = nodemailer({ transport: { host: '127.0.0.1', port: await closedPort() } })
  assert.deepEqual(facts(await failureOf(nobody.send(deliveryOf(), context()))), failed('connection'))
  const early = { signal: AbortSignal.abort(), timeout: 5000 }
  assert.deepEqual(facts(await failureOf(nobody.send(deliveryOf(), early))), failed('aborted'))

  const server = await createSmtpServer()
  disposeAfterTest(server)
  const provider = nodemailer({ transport: { host: server.host, port: server.port, ignoreTLS: true } })
  server.fail({ at: 'afterBody', kind: 'stall', times: 2 })
  const controller = new AbortController()
  const sending = failureOf(provider.send(deliveryOf(), { signal: controller.signal, timeout: 5000 }))
  while (server.bodies === 0) await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  assert.deepEqual(facts(await sending), unknown('aborted'))
  assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context(100)))), unknown('timeout'))
  await Promise.all([nobody.close?.(), provider.close?.()])
})

test('a transport of its own kind reads fields, bcc among them, and promises less', async () => {
  const { mails, transport } = recording(() => ({ messageId: '<theirs@service.example>' }))
  const provider = nodemailer({ transport })
  const { calendar: hasCalendar, envelope, tags, metadata } = provider.capabilities
  assert.deepEqual(
    { hasCalendar, envelope, tags, metadata },
    { hasCalendar: false, envelope: false, tags: false, metadata: false },
  )
  const delivery = fullDelivery({ message: { tags: [], metadata: {} } })
  const answer = await provider.send(delivery, context())
  assert.equal(answer.providerMessageId, 'theirs@service.example')
  const [mail] = mails
  assert.deepEqual(mail?.bcc, [{ name: 'Hidden', address: 'hidden@example.com' }])
  assert.deepEqual(mail?.to, delivery.message.to)
  assert.equal(mail?.messageId, delivery.messageId)
  assert.equal(nodemailer({ transport, capabilities: { tags: 5 } }).capabilities.tags, 5)
})

test('an error without a reply is unknown, whatever it is, and none of it is shown', async () => {
  const odd = [new Error('CANARY-error'), { code: 'EWHATEVER', config: 'CANARY-config' }, 'CANARY-text', undefined]
  for (const thrown of odd) {
    const { transport } = recording(() => {
      throw thrown ?? Object.assign(new Error('x'), { code: 'ESES' })
    })
    const error = await failureOf(nodemailer({ transport }).send(deliveryOf(), context()))
    assert.deepEqual(facts(error), unknown('connection'))
    assertSilent(['CANARY'], error)
  }
})

test('P9 a transporter that throws on the spot rejects like any other', async () => {
  const transport = {
    sendMail() {
      throw new Error('CANARY')
    },
  }
  const error = await failureOf(nodemailer({ transport }).send(deliveryOf(), context()))
  assert.deepEqual(facts(error), unknown('connection'))
  assertSilent(['CANARY'], error)
})

test('a transporter made elsewhere is used as it is and stays open', async () => {
  const server = await createSmtpServer()
  disposeAfterTest(server)
  const transporter = createTransport({ host: server.host, port: server.port, ignoreTLS: true, pool: true })
  const provider = nodemailer({ transport: transporter })
  assert.equal(provider.capabilities.envelope, true)
  await provider.send(deliveryOf(), context())
  await provider.close?.()
  await provider.close?.()
  await provider.send(deliveryOf(), context())
  assert.equal((await server.accepted()).length, 2)
  transporter.close()
})

test('verify tells good passwords from wrong ones', async () => {
  const server = await createSmtpServer({ auth })
  disposeAfterTest(server)
  const options = { host: server.host, port: server.port, ignoreTLS: true }
  const provider = nodemailer({ transport: { ...options, auth } })
  await provider.verify?.({})
  const wrong = nodemailer({ transport: { ...options, auth: { ...auth, pass: 'CANARY-wrong' } } })
  const error = await failureOf(wrong.verify?.({}) ?? Promise.resolve())
  assert.deepEqual(facts(error), failed('login'))
  assertSilent(['CANARY-wrong', pass], error, wrong, provider)
  await Promise.all([provider.close?.(), wrong.close?.()])
})

test('options are checked when it is made; provider options are refused by name', () => {
  for (const options of [{}, { transport: 7 }, { transport: null }, { transport: 'smtp://a', host: 'CANARY' }]) {
    assert.throws(
      () => nodemailer(options as never),
      (error: Error & { code?: string }) => error.code === 'CONFIGURATION_ERROR' && !error.message.includes('CANARY'),
    )
  }
  const provider = nodemailer({ transport: 'smtp://localhost' })
  assert.deepEqual(refusedPaths(provider, deliveryOf(), { dsn: {} }), ['providerOptions.nodemailer.dsn'])
})
