import assert from 'node:assert/strict'
import { test } from 'node:test'
import sdk from '@sendgrid/client'
import { type SendGridOptions, sendgrid } from '../../providers/sendgrid.ts'
import type { Answer, MailError } from '../../src/provider.ts'
import type { AcceptedAttachment } from '../../src/testing/scripted-server.ts'
import { createSendGridServer } from '../../src/testing/sendgrid-server.ts'
import { mailSend } from '../support/contracts/sendgrid.ts'
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

const apiKey = 'SG.CANARY-sendgrid.key'
const providerAt = (endpoint: string, options: Partial<SendGridOptions> = {}) =>
  sendgrid({ apiKey, endpoint, ...options })
const jsonOf = (raw: Uint8Array | undefined) => JSON.parse(Buffer.from(raw ?? []).toString())

test('everything in the message model arrives, and the request keeps to the contract', async () => {
  const server = await createSendGridServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const delivery = fullDelivery({ message: { calendar } })
  const { message } = delivery
  const answer = await provider.send(delivery, context())
  const [mail] = await server.accepted()
  assert.ok(mail)
  assert.deepEqual(mailSend(jsonOf(mail.raw), 'body'), [])
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
  for (const { name, value } of message.headers) assert.deepEqual(mail.headers[name.toLowerCase()], [value])
  assert.deepEqual(mail.headers.importance, ['high'])
  assert.deepEqual(mail.headers.references, [message.references.join(' ')])
  assert.equal(jsonOf(mail.raw).headers['Message-ID'], delivery.messageId)
  for (const [index, file] of message.attachments.entries()) {
    const accepted: AcceptedAttachment | undefined = mail.attachments[index]
    const { filename, contentType, contentId } = file
    assert.deepEqual(new Uint8Array(accepted?.content ?? []), file.content)
    assert.deepEqual(
      [accepted?.filename, accepted?.contentType, accepted?.contentId, accepted?.inline],
      [filename, contentType, contentId, contentId !== undefined],
    )
  }
  assert.deepEqual(mail.calendar, { method: 'REQUEST', content: calendar.content })
  assert.equal(mail.attachments[2]?.filename, 'invite.ics')
  assert.deepEqual(mail.tags, message.tags)
  assert.deepEqual(mail.metadata, message.metadata)
  await provider.close?.()
})

test('mail headers never become headers of the call: key, host and content type stay ours', async () => {
  const server = await createSendGridServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const headers = ['Authorization', 'On-Behalf-Of', 'Host', 'Content-Length'].map((name) => ({ name, value: '7' }))
  await provider.send(deliveryOf({ message: { headers } }), context())
  assert.deepEqual((await server.accepted())[0]?.headers['on-behalf-of'], ['7'])
  await provider.close?.()
})

test('provider options reach the wire; unknown and ill-fitting ones are refused by name', async () => {
  const server = await createSendGridServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const options = {
    template: { id: 'd-0123abc', data: { who: 'Ada', list: [1] } },
    ipPool: 'fast',
    tracking: { opens: false, clicks: true },
    unsubscribeGroup: { id: 7, display: [7, 8] },
    sendAt: 1_800_000_000,
    batchId: 'batch-1',
  }
  const delivery = deliveryOf()
  assert.deepEqual(refusedPaths(provider, delivery, options), [])
  await provider.send(delivery, { ...context(), options })
  const body = jsonOf((await server.accepted())[0]?.raw)
  assert.deepEqual(mailSend(body, 'body'), [])
  assert.equal(body.template_id, 'd-0123abc')
  assert.deepEqual(body.personalizations[0].dynamic_template_data, options.template.data)
  assert.equal(body.ip_pool_name, 'fast')
  assert.deepEqual(body.tracking_settings, { open_tracking: { enable: false }, click_tracking: { enable: true } })
  assert.deepEqual(body.asm, { group_id: 7, groups_to_display: [7, 8] })
  assert.equal(body.send_at, 1_800_000_000)
  assert.equal(body.batch_id, 'batch-1')

  const wrong = { personalizations: [], template: { id: 'old' }, sendAt: 1.5, ipPool: 'x' }
  assert.deepEqual(refusedPaths(provider, delivery, wrong), [
    'providerOptions.sendgrid.personalizations',
    'providerOptions.sendgrid.template',
    'providerOptions.sendgrid.sendAt',
    'providerOptions.sendgrid.ipPool',
  ])
  await provider.close?.()
})

test('what SendGrid cannot carry is refused by name before the wire', () => {
  const provider = sendgrid({ apiKey })
  const twice = ['a', 'b'].map((value) => ({ name: 'X-Same', value }))
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { headers: twice } })), ['headers["X-Same"]'])
  const reserved = [{ name: 'X-SG-EID', value: 'a' }]
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { headers: reserved } })), ['headers["X-SG-EID"]'])
  const empty = [{ filename: 'a', content: new Uint8Array(0), contentType: 'text/plain' }]
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { attachments: empty } })), ['attachments[0]'])
  const metadata = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`key${index}`, 'ü'.repeat(300)]))
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { metadata } })), ['metadata'])
  const whole = fullDelivery()
  const fewer = { ...whole, envelope: { ...whole.envelope, recipients: whole.envelope.recipients.slice(1) } }
  assert.deepEqual(refusedPaths(provider, fewer), ['to'])
  assert.deepEqual(refusedPaths(provider, whole), [])
})

test('one call for many of one content: each alone in its mail, with own facts, in order', async () => {
  const server = await createSendGridServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const deliveries = ['a', 'b', 'c'].map((name) =>
    deliveryOf({
      message: {
        to: [{ name, address: `${name}@example.com` }],
        metadata: { who: name },
        headers: [{ name: 'X-Who', value: name }],
        tags: ['merge'],
      },
    }),
  )
  const other = deliveryOf({ message: { subject: 'of other content' } })
  const all = [...deliveries.slice(0, 2), other, ...deliveries.slice(2)]
  const results = (await provider.sendMany?.(all, context())) as Answer[]
  const mails = await server.accepted()
  assert.equal(server.bodies, 2)
  for (const [index, delivery] of all.entries()) {
    const mail = mails.find(({ sendwrightId }) => sendwrightId === delivery.id)
    assert.ok(mail)
    assert.deepEqual(mailSend(jsonOf(mail.raw), 'body'), [])
    assert.deepEqual(mail.recipients, [delivery.message.to[0]?.address])
    assert.deepEqual(mail.metadata, delivery.message.metadata)
    assert.equal(mail.subject, delivery.message.subject)
    assert.deepEqual(mail.headers['x-who'], delivery === other ? undefined : [delivery.message.metadata.who])
    assert.equal(results[index]?.providerMessageId, mail.providerMessageId)
  }
  await provider.close?.()
})

test('O5 a bulk call refused for one recipient: that one is rejected, the others may be sent again', async () => {
  const errors = [{ message: 'Does not contain a valid address.', field: 'personalizations.1.to.0.email' }]
  const server = await answering({ status: 400, body: JSON.stringify({ errors }) })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const results = (await provider.sendMany?.([deliveryOf(), deliveryOf(), deliveryOf()], context())) as MailError[]
  assert.deepEqual(results.map(facts), [failed('transient'), rejected('recipient'), failed('transient')])
  server.state.answer = { status: 503 }
  const lost = (await provider.sendMany?.([deliveryOf(), deliveryOf()], context())) as MailError[]
  assert.deepEqual(lost.map(facts), [unknown('transient'), unknown('transient')])
  await provider.close?.()
})

const answers: [number, string | null, object][] = [
  [400, 'personalizations.0.to.0.email', rejected('recipient')],
  [400, 'personalizations.0.bcc.3.email', rejected('recipient')],
  [400, 'personalizations.0.custom_args', rejected('content')],
  [400, 'from.email', failed('sender')],
  [403, 'from', failed('sender')],
  [400, 'content.0.value', rejected('content')],
  [400, null, rejected('content')],
  [422, null, rejected('content')],
  [401, null, failed('login')],
  [403, null, failed('login')],
  [402, null, failed('account')],
  [404, null, failed('configuration')],
  [405, null, failed('configuration')],
  [406, null, failed('configuration')],
  [415, null, failed('configuration')],
  [413, null, rejected('size')],
  [429, null, failed('throttled')],
  [408, null, unknown('transient')],
  [409, null, unknown('transient')],
  [500, null, unknown('transient')],
  [503, null, unknown('transient')],
  [302, null, unknown('transient')],
]

test('O1 O2 each refusal has its outcome and kind', async () => {
  const server = await answering({ status: 500 })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  for (const [status, field, expected] of answers) {
    const body = JSON.stringify({ errors: [{ message: 'refused', field, help: null }] })
    server.state.answer = { status, body, headers: status === 302 ? { location: '/v3/scopes' } : {} }
    const error = await failureOf(provider.send(deliveryOf(), context()))
    assert.deepEqual(facts(error), expected, `${status} ${field}`)
    assert.equal(error.providerCode, `http ${status}`)
  }
  assert.equal(server.state.requests, answers.length, 'O4 one attempt, one request')
  await provider.close?.()
})

test('O2 a success without an id is unknown, except the 200 of the sandbox', async () => {
  const server = await answering({ status: 202 })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  for (const answer of [{ status: 202 }, { status: 200, headers: { 'x-message-id': 'a' }, body: '<html>' }]) {
    server.state.answer = answer
    assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context()))), unknown('transient'))
  }
  const answer = await provider.send(deliveryOf(), { ...context(), options: { sandbox: true } })
  assert.deepEqual(answer, { code: 'http 200' })
  await provider.close?.()
})

test('429 carries Retry-After, else the reset of the rate limit, in milliseconds', async () => {
  const server = await answering({ status: 429, headers: { 'retry-after': '9', 'x-ratelimit-reset': '1' } })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  assert.equal((await failureOf(provider.send(deliveryOf(), context()))).retryAfter, 9000)
  server.state.answer = { status: 429, headers: { 'x-ratelimit-reset': String(Math.ceil(Date.now() / 1000) + 3600) } }
  const { retryAfter = 0 } = await failureOf(provider.send(deliveryOf(), context()))
  assert.ok(retryAfter > 3_500_000 && retryAfter <= 3_601_000)
  await provider.close?.()
})

test('a refusal in a directory whose name is no regular expression settles like any other', async () => {
  const server = await answering({ status: 400, body: '{}' })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const cwd = process.cwd
  process.cwd = () => '/srv/(app++'
  try {
    assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context()))), rejected('content'))
  } finally {
    process.cwd = cwd
  }
  await provider.close?.()
})

test('before the request nothing can be taken; aborted after it, nobody knows', async () => {
  const nobody = providerAt(`http://127.0.0.1:${await closedPort()}`)
  assert.deepEqual(facts(await failureOf(nobody.send(deliveryOf(), context()))), failed('connection'))
  const early = { signal: AbortSignal.abort(), timeout: 5000 }
  assert.deepEqual(facts(await failureOf(nobody.send(deliveryOf(), early))), failed('aborted'))

  const server = await createSendGridServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  server.fail({ at: 'afterBody', kind: 'stall', times: 2 })
  const controller = new AbortController()
  const sending = failureOf(provider.send(deliveryOf(), { signal: controller.signal, timeout: 5000 }))
  while (server.bodies === 0) await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  assert.deepEqual(facts(await sending), unknown('aborted'))
  assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context(100)))), unknown('timeout'))
  await Promise.all([nobody.close?.(), provider.close?.()])
})

test('P11 L2 no secret in any error, in the provider, in inspection or JSON, even if SendGrid echoes it', async () => {
  const errors = [{ message: `${apiKey} may not send as ada@example.com`, field: 'CANARY-field' }]
  const server = await answering({ status: 401, body: JSON.stringify({ errors }) })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const canaries = [apiKey, 'CANARY-text', 'CANARY-field', 'ada@example.com']
  const message = { text: 'CANARY-text' }
  const echoed = await failureOf(provider.send(deliveryOf({ message }), context()))
  assert.match(echoed.message, /^<secret> may not send/)
  const nobody = providerAt(`http://127.0.0.1:${await closedPort()}`)
  const lost = await failureOf(nobody.send(deliveryOf({ message }), context()))
  assertSilent(canaries, echoed, lost, provider, nobody)
  await Promise.all([nobody.close?.(), provider.close?.()])
})

test('P8 each instance calls with its own key and sub-user', async () => {
  const server = await answering({ status: 202, headers: { 'x-message-id': 'a' } })
  disposeAfterTest(server)
  const first = sendgrid({ apiKey: 'SG.one', endpoint: server.url, subuser: 'first' })
  const second = sendgrid({ apiKey: 'SG.two', endpoint: `${server.url}/`, region: 'eu' })
  for (const [provider, key, subuser] of [
    [first, 'SG.one', 'first'],
    [second, 'SG.two', undefined],
    [first, 'SG.one', 'first'],
  ] as const) {
    await provider.send(deliveryOf(), context())
    const { authorization, 'on-behalf-of': onBehalfOf } = server.state.headers
    assert.deepEqual([authorization, onBehalfOf], [`Bearer ${key}`, subuser])
  }
  await Promise.all([first.close?.(), second.close?.()])
})

test('a ready client lends key and host', async () => {
  const server = await createSendGridServer({ apiKey })
  disposeAfterTest(server)
  const { Client } = sdk as unknown as { Client: new () => typeof sdk }
  const client = new Client()
  client.setApiKey(apiKey)
  client.setDefaultRequest('baseUrl', server.url)
  const provider = sendgrid({ client: client as never })
  await provider.send(deliveryOf(), context())
  assert.equal((await server.accepted()).length, 1)
  await provider.close?.()
})

test('verify tells good keys from wrong ones, and a key that may not send', async () => {
  const server = await createSendGridServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  await provider.verify?.({})
  const wrong = providerAt(server.url, { apiKey: 'SG.other' })
  assert.deepEqual(facts(await failureOf(wrong.verify?.({}) ?? Promise.resolve())), failed('login'))
  const other = await answering({ status: 200, body: '{"scopes":["stats.read"]}' })
  disposeAfterTest(other)
  const reader = providerAt(other.url)
  assert.deepEqual(facts(await failureOf(reader.verify?.({}) ?? Promise.resolve())), failed('login'))
  for (const one of [provider, wrong, reader]) await one.close?.()
})

test('options are checked when it is made, naming the option and never its value', () => {
  const wrong: [object, RegExp][] = [
    [{}, /apiKey/],
    [{ apiKey: 'SG.CANARY with blanks' }, /apiKey/],
    [{ apiKey, region: 'CANARY' }, /region/],
    [{ apiKey, endpoint: 'CANARY' }, /endpoint/],
    [{ apiKey, domain: 'CANARY' }, /"domain"/],
    [{ client: {} }, /client/],
    [{ client: { createRequest() {} }, apiKey }, /client/],
  ]
  for (const [options, words] of wrong) {
    assert.throws(
      () => sendgrid(options),
      (error: Error) => words.test(error.message) && !error.message.includes('CANARY'),
    )
  }
})
