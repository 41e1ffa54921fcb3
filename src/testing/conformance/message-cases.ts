import assert from 'node:assert/strict'
import type { Mailbox, MessageSnapshot } from '../../message/message.ts'
import type { AcceptedAddress, AcceptedMail } from '../scripted-server.ts'
import type { Case } from './case.ts'
import { awkwardBytes, deliveryOf } from './delivery.ts'

const rich: Partial<MessageSnapshot> = {
  from: { name: 'Acme Shop', address: 'hello@acme.example' },
  to: [
    { name: 'Ada', address: 'ada@example.com' },
    { name: 'Grace', address: 'Grace.Hopper@example.org' },
  ],
  cc: [{ address: 'cc@example.com' }],
  subject: 'Größe ✓ "quoted", and long enough to be folded once or twice on its way to the reader: 東京 – done',
  text: 'Plain – text\n.\n..dots at the start\nFrom here\n\nlast line',
  html: '<p title="a=b">Rich – text &amp; more = signs</p>',
  importance: 'high',
  inReplyTo: '<first@acme.example>',
  references: ['<zero@acme.example>', '<first@acme.example>'],
}

const customHeaders = [
  { name: 'List-Unsubscribe', value: '<https://acme.example/u?t=1>, <mailto:u@acme.example>' },
  { name: 'X-Place', value: 'Köln, 東京' },
  { name: 'X-Long', value: Array.from({ length: 40 }, (_, index) => `word${index}`).join(' ') },
]

const oddNames = [
  'Lovelace, Ada',
  'The "Countess"',
  'back\\slash',
  'a;b:c(d)e[f]g',
  "O'Brien & Søn",
  'Łukasz Żółć 🎉',
  'Müller; Support, "Ltd"',
  '東京タワー株式会社の長い名前はどこかで折り返される',
  'looks =?UTF-8?Q?encoded?=',
  'ada@example.com',
]

export const messageCases: readonly Case[] = [
  {
    feature: 'message',
    name: 'P6 from, to, cc, subject, text, html, importance and thread arrive as they were',
    async run(stage) {
      const delivery = deliveryOf(rich)
      const mail = await stage.deliver(delivery)
      const { message } = delivery
      assert.deepEqual(mail.from, shown(message.from))
      assert.deepEqual(mail.to, message.to.map(shown))
      assert.deepEqual(mail.cc, message.cc.map(shown))
      assert.equal(mail.subject, message.subject)
      assert.equal(lines(mail.text), lines(message.text))
      assert.equal(lines(mail.html), lines(message.html))
      assert.deepEqual(mail.headers['in-reply-to'], [message.inReplyTo])
      assert.deepEqual(mail.headers.references, [message.references.join(' ')])
      assert.match(String(mail.headers.importance), /high/i)
      assert.deepEqual(mail.attachments, [])
      assert.equal(mail.calendar, undefined)
    },
  },
  ...(['text', 'html'] as const).map(
    (part): Case => ({
      feature: 'message',
      name: `a message of ${part} alone gains no other body`,
      async run(stage) {
        const mail = await stage.deliver(deliveryOf({ text: undefined, html: undefined, [part]: 'only this' }))
        assert.equal(lines(mail[part]), 'only this')
        assert.equal(mail[part === 'text' ? 'html' : 'text'], undefined)
      },
    }),
  ),
  {
    feature: 'message',
    name: 'custom headers arrive once each, decoded, and reply-to addresses in their order, or are refused',
    async run(stage) {
      const replyTo = [
        { name: 'Support', address: 'support@acme.example' },
        { name: 'Müller', address: 'other@acme.example' },
      ]
      const { headers, replyTo: most } = stage.capabilities
      if (headers < customHeaders.length) stage.refuses(deliveryOf({ headers: customHeaders }), /^headers/)
      if (most < replyTo.length) stage.refuses(deliveryOf({ replyTo }), /^replyTo/)
      const delivery = deliveryOf({ headers: customHeaders.slice(0, headers), replyTo: replyTo.slice(0, most) })
      const mail = await stage.deliver(delivery)
      for (const { name, value } of delivery.message.headers) {
        assert.deepEqual(mail.headers[name.toLowerCase()], [value], name)
      }
      assert.deepEqual(mail.replyTo, delivery.message.replyTo.map(shown))
    },
  },
  {
    feature: 'message',
    name: 'one header name with several values arrives whole, or is refused',
    async run(stage) {
      const headers = [1, 2, 3].map((n) => ({ name: 'X-Same', value: `${n}` }))
      const delivery = deliveryOf({ headers })
      if (!stage.carries(delivery)) return stage.refuses(delivery, /^headers/)
      const mail = await stage.deliver(delivery)
      assert.deepEqual(mail.headers['x-same'], ['1', '2', '3'])
    },
  },
  {
    feature: 'names',
    name: 'quoted, comma’d, escaped, non-ASCII and deceptive display names arrive, each with its own mailbox',
    async run(stage) {
      const mailboxes = oddNames.map((name, index) => ({ name, address: `n${index}@example.com` }))
      const [from, ...others] = mailboxes as [Mailbox, ...Mailbox[]]
      const to = others.slice(0, Math.min(others.length, stage.capabilities.recipients))
      const mail = await stage.deliver(deliveryOf({ from, to }))
      assert.deepEqual(mail.to, to.map(shown))
      assert.deepEqual(mail.from, shown(from))
      const again = await stage.deliver(deliveryOf({ from: { ...from, name: 'Ünal & Söhne, "Ltd".' }, to }))
      assert.equal(again.from.name, 'Ünal & Söhne, "Ltd".')
    },
  },
  {
    feature: 'names',
    name: 'O9 a mailbox with a non-ASCII local part is mailed as it is, or refused',
    async run(stage) {
      const delivery = deliveryOf({ to: [{ address: 'grüße@example.com' }] })
      if (stage.capabilities.nonAsciiLocalPart === 'never') return stage.refuses(delivery, /^to/)
      const mail = await stage.deliver(delivery)
      assert.deepEqual(mail.recipients, ['grüße@example.com'])
    },
  },
  {
    feature: 'attachments',
    name: 'attachments arrive byte by byte with name and type, or are refused',
    async run(stage) {
      const attachments = [
        { filename: 'report, "final" (ü).pdf', content: awkwardBytes(3_000), contentType: 'application/pdf' },
        { filename: 'notes.txt', content: Buffer.from('a\nb\r\nc\r\n'), contentType: 'text/plain' },
        { filename: 'large.bin', content: awkwardBytes(300_001), contentType: 'application/octet-stream' },
      ]
      const delivery = deliveryOf({ attachments })
      if (!stage.capabilities.attachments) return stage.refuses(delivery, /^attachments/)
      arrives(await stage.deliver(delivery), delivery.message)
    },
  },
  {
    feature: 'attachments',
    name: 'an empty attachment arrives, or is refused',
    async run(stage) {
      const delivery = deliveryOf({
        attachments: [{ filename: 'empty.bin', content: new Uint8Array(), contentType: 'application/octet-stream' }],
      })
      if (!stage.carries(delivery)) return stage.refuses(delivery, /^attachments/)
      arrives(await stage.deliver(delivery), delivery.message)
    },
  },
  {
    feature: 'attachments',
    name: 'inline images arrive byte by byte under their content id, beside attachments, or are refused',
    async run(stage) {
      const image = { filename: 'logo.png', content: awkwardBytes(500), contentType: 'image/png', contentId: 'logo.1' }
      const file = { filename: 'a.bin', content: awkwardBytes(50), contentType: 'application/octet-stream' }
      const { inline, attachments } = stage.capabilities
      const delivery = deliveryOf({
        html: '<img src="cid:logo.1">',
        attachments: attachments ? [file, image] : [image],
      })
      if (!inline) return stage.refuses(delivery, /^attachments/)
      const mail = await stage.deliver(delivery)
      arrives(mail, delivery.message)
      assert.equal(mail.attachments.find(({ contentId }) => contentId === 'logo.1')?.inline, true)
    },
  },
  {
    feature: 'calendar',
    name: 'an invitation arrives with its method, or is refused',
    async run(stage) {
      const content = 'BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nSUMMARY:Grüße\r\nEND:VCALENDAR\r\n'
      const delivery = deliveryOf({ calendar: { method: 'REQUEST', content, filename: 'invite.ics' } })
      if (!stage.capabilities.calendar) return stage.refuses(delivery, /^calendar/)
      const mail = await stage.deliver(delivery)
      assert.equal(mail.calendar?.method, 'REQUEST')
      assert.equal(lines(mail.calendar?.content), lines(content))
    },
  },
  {
    feature: 'labels',
    name: 'the accepted mail carries our id, and the answer names the mail the server took',
    async run(stage) {
      const deliveries = [deliveryOf(), deliveryOf()]
      for (const delivery of deliveries) {
        const { answer } = await stage.hand(delivery)
        const mail = (await stage.server.accepted()).find(({ sendwrightId }) => sendwrightId === delivery.id)
        assert.ok(mail, 'the mail carries no id, so no event could be told to be about it')
        if (answer?.providerMessageId !== undefined) assert.equal(answer.providerMessageId, mail.providerMessageId)
      }
    },
  },
  {
    feature: 'labels',
    name: 'tags come back in their order, or are refused',
    async run(stage) {
      const tags = ['welcome', 'v2_a-b', 'Third'].slice(0, Math.max(1, Number(stage.capabilities.tags)))
      if (!stage.capabilities.tags) return stage.refuses(deliveryOf({ tags }), /^tags/)
      const mail = await stage.deliver(deliveryOf({ tags }))
      assert.deepEqual(mail.tags, tags)
    },
  },
  {
    feature: 'labels',
    name: 'metadata comes back as it was, or is refused',
    async run(stage) {
      const metadata = { order: '1048', note: 'grün & "blau"; =?x?=', empty: '', long: 'abc-'.repeat(30) }
      if (!stage.capabilities.metadata) return stage.refuses(deliveryOf({ metadata }), /^metadata/)
      const mail = await stage.deliver(deliveryOf({ metadata }))
      assert.deepEqual({ ...mail.metadata }, metadata)
    },
  },
]

const shown = ({ name = '', address }: Mailbox): AcceptedAddress => ({ name, address })

/** Line ends are the transport's, and so is whether the last line has one. */
const lines = (text: string | undefined) => text?.replaceAll('\r\n', '\n').replace(/\n+$/, '')

function arrives(mail: AcceptedMail, { attachments }: MessageSnapshot): void {
  assert.equal(mail.attachments.length, attachments.length)
  for (const { filename, content, contentType, contentId } of attachments) {
    const found = mail.attachments.find((one) => one.filename === filename)
    assert.ok(found, `${filename} did not arrive under its name`)
    assert.ok(Buffer.from(found.content).equals(content), `${filename} arrived with other bytes`)
    assert.equal(found.contentType.split(';', 1)[0], contentType)
    assert.equal(found.contentId, contentId)
  }
}
