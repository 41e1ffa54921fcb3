import assert from 'node:assert/strict'
import { test } from 'node:test'
import Mailgun from 'mailgun.js'
import { type MailgunOptions, mailgun } from '../../providers/mailgun.ts'
import type { Answer, MailError } from '../../src/provider.ts'
import { createMailgunServer } from '../../src/testing/mailgun-server.ts'
import type { AcceptedAttachment } from '../../src/testing/scripted-server.ts'
import { formOf, messages, mimeMessages } from '../support/contracts/mailgun.ts'
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

const apiKey = 'CANARY-mailgun-key'
const domain = 'mg.example.com'
const messageOf = ({ message = [] }: Record<string, unknown[]>) => message[0] as File
const providerAt = (endpoint: string, options: Partial<MailgunOptions> = {}) =>
  mailgun({ apiKey, domain, endpoint, ...options })

test('everything in the message model arrives, and the form keeps to the contract', async () => {
  const server = await createMailgunServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const delivery = fullDelivery({ message: { metadata: { order: '1048', note: 'grün & "blau"', empty: '' } } })
  const { message } = delivery
  const answer = await provider.send(delivery, context())
  const [mail] = await server.accepted()
  assert.ok(mail)
  const form = await formOf(mail.raw)
  assert.deepEqual(messages(form, 'form'), [])
  assert.deepEqual(form['h:Message-Id'], [delivery.messageId])
  assert.equal(answer.providerMessageId, delivery.messageId.slice(1, -1), 'as events spell it')
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
  assert.equal(mail.text?.replaceAll('\r\n', '\n'), message.text)
  assert.equal(mail.html, message.html)
  for (const { name, value } of message.headers) assert.deepEqual(mail.headers[name.toLowerCase()], [value])
  assert.deepEqual(mail.headers.importance, ['high'])
  assert.deepEqual(mail.headers.references, [message.references.join(' ')])
  for (const [index, file] of message.attachments.entries()) {
    const accepted = mail.attachments[index] as AcceptedAttachment
    assert.deepEqual(new Uint8Array(accepted.content), file.content)
    assert.deepEqual(
      [accepted.filename, accepted.contentType, accepted.contentId, accepted.inline],
      [file.filename, file.contentType, file.contentId, file.contentId !== undefined],
    )
  }
  assert.deepEqual(mail.tags, message.tags)
  assert.deepEqual(mail.metadata, message.metadata)
  assert.match(String(form['o:suppress-headers']), /X-Mailgun-Variables/)
  await provider.close?.()
})

test('P6 what form fields cannot carry goes as MIME, without Bcc and without tags or metadata in it', async () => {
  const server = await createMailgunServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const whole = fullDelivery()
  const png = {
    filename: 'Logo ü.png',
    content: Uint8Array.of(1, 2, 3),
    contentType: 'image/png',
    contentId: 'logo@acme',
  }
  const deliveries = [
    fullDelivery({ message: { calendar } }),
    fullDelivery({ message: { attachments: [png] } }),
    fullDelivery({ message: { headers: ['a', 'b'].map((value) => ({ name: 'X-Same', value })) } }),
    fullDelivery({ message: { headers: [{ name: 'X-Long', value: 'word '.repeat(4000).trim() }] } }),
    { ...whole, envelope: { ...whole.envelope, recipients: whole.envelope.recipients.slice(1) } },
  ]
  for (const delivery of deliveries) await provider.send(delivery, context())
  const mails = await server.accepted()
  assert.equal(mails.length, deliveries.length)
  for (const [index, mail] of mails.entries()) {
    const delivery = deliveries[index] as (typeof deliveries)[number]
    const form = await formOf(mail.raw)
    assert.deepEqual(mimeMessages(form, 'form'), [])
    const mime = await messageOf(form).text()
    assert.doesNotMatch(mime, /hidden|bcc|1048|X-Sendwright-Tag/i)
    assert.deepEqual(
      mail.recipients,
      delivery.envelope.recipients.map(({ address }) => address),
    )
    assert.deepEqual(mail.to, delivery.message.to)
    assert.equal(mail.providerMessageId, delivery.messageId.slice(1, -1))
    assert.equal(mail.sendwrightId, delivery.id)
    assert.deepEqual(mail.tags, ['welcome', 'v2_a-b'])
    assert.deepEqual(mail.metadata, { order: '1048', note: 'grün & "blau"' })
  }
  assert.equal(mails[0]?.calendar?.method, 'REQUEST')
  assert.equal(mails[1]?.attachments[0]?.contentId, 'logo@acme')
  assert.equal(mails[1]?.attachments[0]?.filename, 'Logo ü.png')
  assert.deepEqual(mails[2]?.headers['x-same'], ['a', 'b'])
  await provider.close?.()
})

test('provider options reach the wire; unknown and ill-fitting ones are refused by name', async () => {
  const server = await createMailgunServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const options = {
    template: { name: 'welcome', version: 'v2', variables: { who: 'Ada' }, text: true },
    tracking: { opens: false, clicks: 'htmlonly' as const },
    sendAt: 1_800_000_000,
    ip: '192.0.2.1',
    ipPool: 'pool-1',
    dkim: true,
    requireTls: true,
    testMode: true as const,
  }
  const delivery = deliveryOf()
  assert.deepEqual(refusedPaths(provider, delivery, options), [])
  await provider.send(delivery, { ...context(), options })
  const form = await formOf((await server.accepted())[0]?.raw ?? new Uint8Array())
  assert.deepEqual(messages(form, 'form'), [])
  assert.deepEqual(form.template, ['welcome'])
  assert.deepEqual(form.text, undefined)
  assert.deepEqual(form['t:variables'], ['{"who":"Ada"}'])
  assert.deepEqual(form['o:tracking-opens'], ['no'])
  assert.deepEqual(form['o:tracking-clicks'], ['htmlonly'])
  assert.deepEqual(form['o:deliverytime'], ['Fri, 15 Jan 2027 08:00:00 +0000'])
  assert.deepEqual(form['o:testmode'], ['yes'])

  const wrong = { to: 'x@example.com', 'v:sendwright_id': 'x', testMode: false, tracking: { clicks: 'no' } }
  assert.deepEqual(refusedPaths(provider, delivery, wrong), [
    'providerOptions.mailgun.to',
    'providerOptions.mailgun.v:sendwright_id',
    'providerOptions.mailgun.testMode',
    'providerOptions.mailgun.tracking',
  ])
  const template = { template: { name: 'a' } }
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { calendar } }), template), ['calendar'])
  const metadata = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`key${index}`, 'ü'.repeat(450)]))
  assert.deepEqual(refusedPaths(provider, deliveryOf({ message: { metadata } })), ['metadata'])
  assert.deepEqual(refusedPaths(provider, fullDelivery({ message: { calendar } })), [])
  await provider.close?.()
})

test('one call for many of one content: each alone in its mail, with own facts, in order', async () => {
  const server = await createMailgunServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const one = (name: string, text = 'shared') =>
    deliveryOf({
      message: {
        to: [{ name: `${name}, ü`, address: `${name}@example.com` }],
        text,
        metadata: { who: name, same: 'x' },
        headers: [
          { name: 'X-Who', value: `${name} ü` },
          { name: 'X-Same', value: 'same' },
        ],
      },
    })
  const twice = one('a')
  const variable = one('d', 'costs 5 %recipient.id% now')
  const all = [one('a'), variable, one('b'), twice, deliveryOf(), one('c')]
  const results = (await provider.sendMany?.(all, context())) as Answer[]
  assert.equal(server.bodies, 4, 'three together, three alone')
  const mails = await server.accepted()
  assert.equal(mails.length, all.length)
  for (const [index, delivery] of all.entries()) {
    const mail = mails.find(({ sendwrightId }) => sendwrightId === delivery.id)
    assert.ok(mail)
    assert.deepEqual(messages(await formOf(mail.raw), 'form'), [])
    assert.deepEqual(mail.to, delivery.message.to)
    assert.deepEqual(mail.recipients, [delivery.message.to[0]?.address])
    assert.deepEqual(mail.metadata, delivery.message.metadata)
    assert.equal(mail.text, delivery.message.text)
    for (const { name, value } of delivery.message.headers) assert.deepEqual(mail.headers[name.toLowerCase()], [value])
    assert.equal(results[index]?.providerMessageId, mail.providerMessageId)
  }
  server.fail({ at: 'afterBody', kind: 'reset' })
  const lost = (await provider.sendMany?.([one('e'), one('f')], context())) as MailError[]
  assert.deepEqual(lost.map(facts), [unknown('connection'), unknown('connection')])
  await provider.close?.()
})

const answers: [number, string, object][] = [
  [400, "'to' parameter is not a valid address. please check documentation", rejected('recipient')],
  [400, "'from' parameter is not a valid address. please check documentation", failed('sender')],
  [400, 'Domain mg.example.com is not allowed to send: disabled', failed('account')],
  [403, 'Domain mg.example.com is not allowed to send: free accounts …', failed('account')],
  [400, "Need at least one of 'text', 'html' or 'template' parameters specified", rejected('content')],
  [400, 'Send options (parameters starting with o:, h:, or v:) are limited to 16KB total', rejected('content')],
  [401, 'Forbidden', failed('login')],
  [403, 'Forbidden', failed('login')],
  [402, 'Payment required', failed('account')],
  [404, 'Domain not found', failed('configuration')],
  [405, '', failed('configuration')],
  [413, '', rejected('size')],
  [429, 'too many', failed('throttled')],
  [408, '', unknown('transient')],
  [409, '', unknown('transient')],
  [500, 'Internal Server Error', unknown('transient')],
  [502, '<html>', unknown('transient')],
  [301, '', unknown('transient')],
]

test('O1 O2 each refusal has its outcome and kind', async () => {
  const server = await answering({ status: 500 })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  for (const [status, message, expected] of answers) {
    const body = status === 401 || message.startsWith('<') ? message : JSON.stringify({ message })
    server.state.answer = { status, body, headers: status === 301 ? { location: '/' } : {} }
    const error = await failureOf(provider.send(deliveryOf(), context()))
    assert.deepEqual(facts(error), expected, `${status} ${message}`)
    assert.equal(error.providerCode, `http ${status}`)
  }
  assert.equal(server.state.requests, answers.length, 'O4 one attempt, one request')
  await provider.close?.()
})

test('O2 a success without an id, or that is no JSON, is unknown', async () => {
  const server = await answering({ status: 200 })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  for (const body of ['{"message":"Queued. Thank you."}', 'Mailgun Magnificent API', '', '{"id":""}']) {
    server.state.answer = { status: 200, body }
    assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context()))), unknown('transient'))
  }
  await provider.close?.()
})

test('429 carries Retry-After, else the seconds Mailgun names in words, in milliseconds', async () => {
  const body = JSON.stringify({ message: 'requests-per-sec limit exceeded, try again after 120 seconds' })
  const server = await answering({ status: 429, body, headers: { 'retry-after': '9' } })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  assert.equal((await failureOf(provider.send(deliveryOf(), context()))).retryAfter, 9000)
  server.state.answer = { status: 429, body }
  assert.equal((await failureOf(provider.send(deliveryOf(), context()))).retryAfter, 120_000)
  await provider.close?.()
})

test('before the request nothing can be taken; a reset or an abort after it, and nobody knows', async () => {
  const nobody = providerAt(`http://127.0.0.1:${await closedPort()}`)
  assert.deepEqual(facts(await failureOf(nobody.send(deliveryOf(), context()))), failed('connection'))
  const early = { signal: AbortSignal.abort(), timeout: 5000 }
  assert.deepEqual(facts(await failureOf(nobody.send(deliveryOf(), early))), failed('aborted'))

  const server = await createMailgunServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  server.fail({ at: 'afterBody', kind: 'stall', times: 2 })
  const controller = new AbortController()
  const sending = failureOf(provider.send(deliveryOf(), { signal: controller.signal, timeout: 5000 }))
  while (server.bodies === 0) await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  assert.deepEqual(facts(await sending), unknown('aborted'))
  assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context(100)))), unknown('timeout'))
  server.fail({ at: 'afterBody', kind: 'reset' })
  assert.deepEqual(facts(await failureOf(provider.send(deliveryOf(), context()))), unknown('connection'))
  await Promise.all([nobody.close?.(), provider.close?.()])
})

test('P11 L2 no secret in any error, in the provider, in inspection or JSON, even if Mailgun echoes it', async () => {
  const login = Buffer.from(`api:${apiKey}`).toString('base64')
  const server = await answering({ status: 401, body: `${apiKey} ${login} for ada@example.com` })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  const message = { text: 'CANARY-text' }
  const echoed = await failureOf(provider.send(deliveryOf({ message }), context()))
  assert.match(echoed.message, /^<secret> <secret> for <address>$/)
  const nobody = providerAt(`http://127.0.0.1:${await closedPort()}`)
  const lost = await failureOf(nobody.send(deliveryOf({ message }), context()))
  assertSilent([apiKey, login, 'CANARY-text', 'ada@example.com'], echoed, lost, provider, nobody)
  await Promise.all([nobody.close?.(), provider.close?.()])
})

test('P8 each instance calls with its own key and subaccount, also over one client', async () => {
  const server = await answering({ status: 200, body: '{"id":"<a@b>"}' })
  disposeAfterTest(server)
  const client = new Mailgun(FormData).client({ username: 'api', key: 'shared', url: server.url })
  const before = JSON.stringify(client)
  const first = mailgun({ client, domain, subaccount: 'first' })
  const second = mailgun({ client, domain })
  const third = providerAt(server.url)
  const calls = [
    [first, 'shared', 'first'],
    [second, 'shared', undefined],
    [third, apiKey, undefined],
    [first, 'shared', 'first'],
  ] as const
  for (const [provider, key, subaccount] of calls) {
    await provider.send(deliveryOf(), context())
    const { authorization, 'x-mailgun-on-behalf-of': onBehalfOf } = server.state.headers
    assert.deepEqual([authorization, onBehalfOf], [`Basic ${Buffer.from(`api:${key}`).toString('base64')}`, subaccount])
  }
  assert.equal(JSON.stringify(client), before, 'the client was not changed')
  await Promise.all([first, second, third].map((provider) => provider.close?.()))
})

test('verify tells good keys from wrong ones, and an unknown domain', async () => {
  const server = await createMailgunServer({ apiKey })
  disposeAfterTest(server)
  const provider = providerAt(server.url)
  await provider.verify?.({})
  const wrong = providerAt(server.url, { apiKey: 'key-other' })
  assert.deepEqual(facts(await failureOf(wrong.verify?.({}) ?? Promise.resolve())), failed('login'))
  const elsewhere = providerAt(server.url, { domain: 'other.example.com' })
  assert.deepEqual(facts(await failureOf(elsewhere.verify?.({}) ?? Promise.resolve())), failed('configuration'))
  for (const one of [provider, wrong, elsewhere]) await one.close?.()
})

test('options are checked when it is made, naming the option and never its value', () => {
  const client = new Mailgun(FormData).client({ username: 'api', key: 'k' })
  const wrong: [object, RegExp][] = [
    [{ domain }, /apiKey/],
    [{ apiKey }, /domain/],
    [{ apiKey, domain: '../CANARY' }, /domain/],
    [{ apiKey, domain: 'a..b.example' }, /domain/],
    [{ apiKey, domain, region: 'CANARY' }, /region/],
    [{ apiKey, domain, endpoint: 'file:///CANARY' }, /endpoint/],
    [{ apiKey, domain, key: 'CANARY' }, /"key"/],
    [{ apiKey, domain, client }, /client/],
    [{ domain, client: {} }, /client/],
  ]
  for (const [options, words] of wrong) {
    assert.throws(
      () => mailgun(options as MailgunOptions),
      (error: Error) => words.test(error.message) && !error.message.includes('CANARY'),
    )
  }
})
