import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SESv2Client } from '@aws-sdk/client-sesv2'
import { type SesOptions, ses } from '../../providers/ses.ts'
import { createSesServer } from '../../src/testing/ses-server.ts'
import { sendEmail } from '../support/contracts/ses.ts'
import { deliveryOf } from '../support/delivery.ts'
import { disposeAfterTest } from '../support/disposal.ts'
import {
  answering,
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

const secretAccessKey = 'CANARY+ses/secret'
const sessionToken = 'CANARY-ses-session'
const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey, sessionToken }
const providerAt = (endpoint: string, options: Partial<SesOptions> = {}) =>
  ses({ region: 'eu-west-1', credentials, endpoint, ...options })

const jsonOf = (raw: Uint8Array) => JSON.parse(Buffer.from(raw).toString())

test('everything in the message model arrives, and the request keeps to the contract', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const provider = providerAt(server.url, { configurationSetName: 'events', tenantName: 'acme' })
  const delivery = fullDelivery()
  const { message } = delivery
  const answer = await provider.send(delivery, context())
  const [mail] = await server.accepted()
  assert.ok(mail)
  assert.deepEqual(sendEmail(jsonOf(mail.raw), 'body'), [])
  assert.equal(mail.providerMessageId, answer.providerMessageId)
  assert.equal(mail.sendwrightId, delivery.id)
  assert.deepEqual(mail.from, message.from)
  assert.deepEqual(mail.to, message.to)
  assert.deepEqual(mail.cc, [{ name: '', address: 'cc@example.com' }])
  assert.deepEqual(mail.replyTo, [message.replyTo[0], { name: '', address: 'other@acme.example' }])
  assert.deepEqual(
    mail.recipients,
    delivery.envelope.recipients.map(({ address }) => address),
  )
  assert.equal(mail.subject, message.subject)
  assert.equal(mail.text, message.text)
  assert.equal(mail.html, message.html)
  assert.deepEqual(mail.headers['list-unsubscribe'], [message.headers[0]?.value])
  assert.deepEqual(mail.headers['x-place'], ['Köln, 東京'])
  assert.deepEqual(mail.headers.importance, ['high'])
  assert.deepEqual(mail.headers.references, [message.references.join(' ')])
  assert.deepEqual(mail.headers['in-reply-to'], [message.inReplyTo])
  for (const [index, file] of message.attachments.entries()) {
    assert.deepEqual(new Uint8Array(mail.attachments[index]?.content ?? []), file.content)
    assert.equal(mail.attachments[index]?.filename, file.filename)
    assert.equal(mail.attachments[index]?.contentType, file.contentType)
    assert.equal(mail.attachments[index]?.contentId, file.contentId)
  }
  assert.deepEqual(mail.tags, message.tags)
  assert.deepEqual(mail.metadata, message.metadata)
  const body = jsonOf(mail.raw)
  assert.equal(body.ConfigurationSetName, 'events')
  assert.equal(body.TenantName, 'acme')
  await provider.close?.()
})

test('P6 what Simple cannot carry goes as MIME, without Bcc and without tags or metadata in it', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const many = Array.from({ length: 16 }, (_, index) => ({ name: `X-N-${index}`, value: `${index}` }))
  const deliveries = [
    fullDelivery({ message: { calendar } }),
    fullDelivery({ message: { headers: many } }),
    fullDelivery({ message: { headers: [{ name: 'X-Long', value: 'word '.repeat(250).trim() }] } }),
    fullDelivery({ message: { headers: many.slice(0, 2).map(({ value }) => ({ name: 'X-Same', value })) } }),
  ]
  for (const delivery of deliveries) await provider.send(delivery, context())
  const mails = await server.accepted()
  for (const [index, mail] of mails.entries()) {
    const body = jsonOf(mail.raw)
    assert.deepEqual(sendEmail(body, 'body'), [])
    const mime = Buffer.from(body.Content.Raw.Data, 'base64').toString()
    assert.doesNotMatch(mime, /hidden|Hidden|Bcc|1048|X-Sendwright-Tag/i)
    assert.equal(body.FromEmailAddress, undefined, 'it would replace the header')
    assert.ok(mail.recipients.includes('hidden@example.com'))
    assert.deepEqual(mail.to, deliveries[index]?.message.to)
    assert.equal(mail.sendwrightId, deliveries[index]?.id)
    assert.deepEqual(mail.tags, ['welcome', 'v2_a-b'])
    assert.deepEqual(mail.metadata, { order: '1048', note: 'grün & "blau"' })
  }
  assert.equal(mails[0]?.calendar?.method, 'REQUEST')
  assert.deepEqual(mails[1]?.headers['x-n-15'], ['15'])
  assert.deepEqual(mails[3]?.headers['x-same'], ['0', '1'])
  await provider.close?.()
})

test('P3 recipients taken out of the envelope are shown but not mailed', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const whole = fullDelivery()
  const recipients = whole.envelope.recipients.slice(1)
  await provider.send({ ...whole, envelope: { ...whole.envelope, recipients } }, context())
  const [mail] = await server.accepted()
  assert.deepEqual(
    mail?.recipients,
    recipients.map(({ address }) => address),
  )
  assert.deepEqual(mail?.to, whole.message.to)
  await provider.close?.()
})

test('provider options reach the wire; unknown and ill-fitting ones are refused by name', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const provider = providerAt(server.url, { configurationSetName: 'default' })
  const options = {
    configurationSetName: 'special',
    template: { name: 'hello', data: { who: 'Ada' } },
    contactList: { name: 'readers', topic: 'news' },
    tracking: { opens: false, clicks: true },
    messageTags: { team: 'growth' },
  }
  const delivery = deliveryOf()
  assert.deepEqual(refusedPaths(provider, delivery, options), [])
  await provider.send(delivery, { ...context(), options })
  const body = jsonOf((await server.accepted())[0]?.raw ?? Buffer.alloc(0))
  assert.deepEqual(sendEmail(body, 'body'), [])
  assert.equal(body.ConfigurationSetName, 'special')
  assert.equal(body.Content.Template.TemplateName, 'hello')
  assert.deepEqual(JSON.parse(body.Content.Template.TemplateData), { who: 'Ada' })
  assert.deepEqual(body.ListManagementOptions, { ContactListName: 'readers', TopicName: 'news' })
  assert.deepEqual(body.ConfigurationOverrides.Tracking, {
    OpenTrackingEnabled: 'DISABLED',
    ClickTrackingEnabled: 'ENABLED',
  })
  assert.deepEqual(body.EmailTags.at(-1), { Name: 'team', Value: 'growth' })

  const wrong = { to: ['x@example.com'], tracking: { opens: 'yes' }, messageTags: { sw_m_a: 'b' }, template: {} }
  assert.deepEqual(refusedPaths(provider, delivery, wrong), [
    'providerOptions.ses.to',
    'providerOptions.ses.tracking',
    'providerOptions.ses.messageTags',
    'providerOptions.ses.template',
  ])
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { calendar } }), { template: { name: 'a' } }), [
    'calendar',
  ])
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { metadata: { long: 'ü'.repeat(95) } } })), [
    'metadata.long',
  ])
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { metadata: { fits: 'ü'.repeat(94) } } })), [])
  await provider.close?.()
})

const answers: [number, string, string, object][] = [
  [429, 'TooManyRequestsException', 'Too many', failed('throttled')],
  [400, 'ThrottlingException', 'Maximum sending rate exceeded.', failed('throttled')],
  [400, 'LimitExceededException', 'Daily message quota exceeded.', failed('throttled')],
  [400, 'MessageRejected', 'Email address is not verified. The following …', failed('sender')],
  [400, 'MessageRejected', 'Illegal content', rejected('content')],
  [400, 'MailFromDomainNotVerifiedException', 'x', failed('sender')],
  [400, 'BadRequestException', "Missing final '@domain'", rejected('recipient')],
  [400, 'BadRequestException', 'Template data is no JSON', rejected('content')],
  [404, 'NotFoundException', 'x', failed('configuration')],
  [400, 'AccountSuspendedException', 'x', failed('account')],
  [400, 'SendingPausedException', 'x', failed('account')],
  [403, 'AccessDeniedException', 'x', failed('login')],
  [403, 'SignatureDoesNotMatch', 'x', failed('login')],
  [400, 'ExpiredTokenException', 'x', failed('login')],
  [403, 'RequestTimeTooSkewed', 'x', failed('transient')],
  [413, 'Unheard', 'x', rejected('size')],
  [500, 'InternalFailure', 'x', unknown('transient')],
  [503, 'ServiceUnavailable', 'x', unknown('transient')],
  [503, 'ThrottlingException', 'x', unknown('transient')],
  [408, 'Unheard', 'x', unknown('transient')],
  [409, 'ConflictException', 'x', unknown('transient')],
]

test('O1 O2 each refusal has its outcome and kind, whether the type stands in header or body', async () => {
  const server = await answering({ status: 500 })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  let calls = 0
  for (const [status, type, message, expected] of answers) {
    for (const inHeader of [true, false]) {
      server.state.answer = inHeader
        ? {
            status,
            headers: { 'x-amzn-errortype': `${type}:http://internal.amazon.com/` },
            body: JSON.stringify({ message }),
          }
        : { status, body: JSON.stringify({ __type: `com.amazonaws.sesv2#${type}`, message }) }
      const error = await failureOf(provider.send(deliveryOf(), context()))
      assert.deepEqual(facts(error), expected, `${status} ${type}`)
      assert.equal(error.providerCode, type)
      calls++
    }
  }
  assert.equal(server.state.requests, calls, 'O4 one attempt, one request')
  await provider.close?.()
})

test('O2 a success that cannot be read, a page in place of JSON and a redirect are unknown', async () => {
  const server = await answering({ status: 200, body: '{}' })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const odd = [
    { status: 200, body: '{}' },
    { status: 200, body: '<html>' },
    { status: 200, body: '{"MessageId":7}' },
    { status: 204 },
    { status: 502, body: '<html>Bad gateway</html>' },
    { status: 307, headers: { location: '/elsewhere' } },
  ]
  for (const answer of odd) {
    server.state.answer = answer
    assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context()))), unknown('transient'))
  }
  assert.equal(server.state.requests, odd.length)
  await provider.close?.()
})

test('a throttled answer carries Retry-After in milliseconds', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  server.fail({ at: 'envelope', kind: 'throttle', retryAfter: 7 })
  const error = await failureOf(provider.send(deliveryOf(), context()))
  assert.deepEqual(facts(error), { ...failed('throttled'), retryAfter: 7000 })
  await provider.close?.()
})

test('before the request nothing can be taken: no credentials, nobody listening, an abort', async () => {
  const provider = providerAt(`http://127.0.0.1:${await closedPort()}`)
  assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context()))), failed('connection'))
  const signal = AbortSignal.abort()
  const aborted = await failureOf(provider.send(deliveryOf(), { signal, timeout: 5000 }))
  assert.deepEqual(facts(aborted), failed('aborted'))
  await provider.close?.()

  const none = async () => {
    throw Object.assign(new Error(secretAccessKey), { name: 'CredentialsProviderError' })
  }
  const stranger = providerAt('http://127.0.0.1:9', { credentials: none })
  const login = await failureOf(stranger.send(deliveryOf(), context()))
  assert.deepEqual(facts(login), failed('login'))
  assertSilent([secretAccessKey], login, stranger)
})

test('a clock found wrong is corrected by the SDK for later calls', async () => {
  const date = new Date(Date.now() + 3_600_000).toUTCString()
  const headers = { 'x-amzn-errortype': 'RequestTimeTooSkewed', date }
  const server = await answering({ status: 403, headers, body: '{}' })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const hours = new Set<number>()
  // The SDK reads the answer after we did: the correction may come a call later.
  for (let calls = 0; calls < 50 && hours.size < 2; calls++) {
    assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context()))), failed('transient'))
    const signed = String(server.state.headers['x-amz-date']).replace(
      /^(....)(..)(..)T(..)(..)(..)Z$/,
      '$1-$2-$3T$4:$5:$6Z',
    )
    hours.add(Math.round((Date.parse(signed) - Date.now()) / 3_600_000))
  }
  assert.deepEqual([...hours], [0, 1])
  await provider.close?.()
})

test('P9 credentials that never come end with the deadline, and nothing is sent when they come late', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const late = Promise.withResolvers<typeof credentials>()
  const provider = providerAt(server.url, { credentials: () => late.promise })
  assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context(30)))), failed('timeout'))
  late.resolve(credentials)
  await provider.send(deliveryOf({ message: { subject: 'second' } }), context())
  assert.deepEqual(
    (await server.accepted()).map((mail) => mail.subject),
    ['second'],
  )
  await provider.close?.()
})

test('O2 an abort while the answer is awaited is unknown, with the abort as its kind', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  server.fail({ at: 'afterBody', kind: 'stall' })
  const controller = new AbortController()
  const sending = failureOf(provider.send(deliveryOf(), { signal: controller.signal, timeout: 5000 }))
  while (server.bodies === 0) await new Promise((resolve) => setImmediate(resolve))
  controller.abort(new Error(secretAccessKey))
  const error = await sending
  assert.deepEqual(facts(error), unknown('aborted'))
  assertSilent([secretAccessKey], error)
  await provider.close?.()
})

test('P11 L2 no secret in any error, in the provider, in inspection or JSON, even if SES echoes it', async () => {
  const server = await answering({
    status: 403,
    headers: { 'x-amzn-errortype': 'SignatureDoesNotMatch' },
    body: JSON.stringify({ message: `key ${secretAccessKey} token ${sessionToken} for ada@example.com` }),
  })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const error = await failureOf(provider.send(deliveryOf({ message: { text: 'CANARY-text' } }), context()))
  assert.match(error.message, /^key <secret>/)
  assertSilent([secretAccessKey, sessionToken, 'CANARY-text', 'ada@example.com'], error, provider)
  await provider.close?.()
})

test('a ready client lends keys, region and endpoint; its retries and transport are not used', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const client = new SESv2Client({ region: 'eu-west-1', credentials, endpoint: server.url, maxAttempts: 5 })
  const provider = ses({ client })
  const answer = await provider.send(deliveryOf(), context())
  assert.equal((await server.accepted())[0]?.providerMessageId, answer.providerMessageId)
  server.fail({ at: 'afterBody', kind: '5xx', times: 9 })
  assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context()))), unknown('transient'))
  server.reset()
  await provider.send(deliveryOf(), context())
  assert.equal(server.bodies, 3, 'O4 one attempt, one request')
  await provider.close?.()
  client.destroy()
})

test('verify tells good keys from wrong ones, and a paused account', async () => {
  const server = await createSesServer()
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  await provider.verify?.({})
  const wrong = providerAt(server.url, { credentials: { ...credentials, accessKeyId: 'AKIDOTHER' } })
  assert.deepEqual(facts(await failureOf(wrong.verify?.({}) ?? Promise.resolve())), failed('login'))
  const paused = await answering({ status: 200, body: '{"SendingEnabled":false}' })
  disposeAfterTest(paused)
  const suspended = providerAt(paused.url)
  assert.deepEqual(facts(await failureOf(suspended.verify?.({}) ?? Promise.resolve())), failed('account'))
  for (const one of [provider, wrong, suspended]) await one.close?.()
})

test('options are checked when it is made, naming the option and never its value', () => {
  const client = new SESv2Client({ region: 'eu-west-1' })
  const wrong: [object, RegExp][] = [
    [{ region: 'eu west' }, /region/],
    [{ region: 'eu-west-1', key: 'CANARY' }, /"key"/],
    [{ region: 'eu-west-1', credentials: { accessKeyId: 'AKID' } }, /secretAccessKey/],
    [{ region: 'eu-west-1', endpoint: 'ftp://CANARY.example' }, /endpoint/],
    [{ region: 'eu-west-1', endpoint: 'https://user:CANARY@ses.example' }, /endpoint/],
    [{ client, region: 'eu-west-1' }, /client/],
    [{ client: {} }, /client/],
  ]
  for (const [options, words] of wrong) {
    assert.throws(
      () => ses(options),
      (error: Error) => words.test(error.message) && !error.message.includes('CANARY'),
    )
  }
})
