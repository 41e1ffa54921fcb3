import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import type { Mailbox, MessageSnapshot } from '../../src/message/message.ts'
import type { AcceptedMail } from '../../src/testing/scripted-server.ts'
import { deliveryOf } from '../support/delivery.ts'
import { disposeAfterTest } from '../support/disposal.ts'
import { smtpPair } from '../support/smtp.ts'

const seed = Number(process.env.SEED ?? randomInt(2 ** 31))
const cycles = Number(process.env.CYCLES ?? 2_000)

/** mulberry32: small, seeded, good enough to vary messages. */
function chance(state: number) {
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (below: number) => Math.floor(next() * below)
  const pick = <T>(list: readonly T[]): T => list[int(list.length)] as T
  const many = <T>(most: number, make: () => T): T[] => Array.from({ length: int(most + 1) }, make)
  return { int, pick, many, maybe: (likely = 0.5) => next() < likely }
}

type Chance = ReturnType<typeof chance>

const scripts = [
  'plain words',
  'Ünïcödé naïve façade',
  'Привет мир',
  '你好世界',
  'こんにちは',
  'مرحبا بالعالم',
  'שלום',
  '🙂👩‍👩‍👧‍👦🏳️‍🌈',
  'e\u0301 o\u0308',
  '=?utf-8?Q?not_encoded?=',
  '=?UTF-8?B?bm90?= =?x?',
  'a, b; c: <d> (e) "f" [g] @h',
  '\\back\\slash',
  "it's = 100% _under_ ?",
  '.',
  'From the start',
  'x'.repeat(90),
  'ü'.repeat(60),
  '漢'.repeat(120),
]

const phrase = (c: Chance, most = 4) =>
  Array.from({ length: 1 + c.int(most) }, () => c.pick(scripts))
    .join(' ')
    .trim()

const lineEnds = [
  '\n',
  '\r\n',
  '\r',
  '\n\n',
  '\r\n\r\n',
  '\n\r',
  ' \n',
  '\t\r\n',
  '\n.',
  '\n..\n',
  '\r\n.\r\n',
  '\r.\r',
]

const prose = (c: Chance) =>
  Array.from({ length: 1 + c.int(12) }, () =>
    c.maybe(0.1) ? 'y'.repeat(c.int(2_500)) : c.maybe(0.1) ? '' : phrase(c, 6),
  ).reduce((text, part) => `${text}${c.pick(lineEnds)}${part}`)

const mailbox = (c: Chance): Mailbox => {
  const address =
    `${c.pick(['a', 'b.c', 'd+e', "o'x", '"q s"', '"a,b"', 'UPPER', 'x_y-z', '!#$%'])}${c.int(1e6)}`.replace(
      /^("[^"]*)"(\d+)$/,
      '$1$2"',
    )
  const domain = c.pick(['example.com', 'xn--bcher-kva.example', 'mail.acme.example'])
  return { ...(c.maybe(0.8) ? { name: phrase(c, 3) } : {}), address: `${address}@${domain}` }
}

const bytes = (c: Chance) => {
  const content = Buffer.alloc(c.int(c.maybe(0.1) ? 300_000 : 600))
  for (let at = 0; at < content.length; at++) content[at] = c.int(256)
  return content
}

function message(c: Chance): MessageSnapshot {
  const text = c.maybe(0.8) ? prose(c) : undefined
  const html = c.maybe(0.6) || text === undefined ? `<p>${prose(c)}</p>` : undefined
  return {
    from: mailbox(c),
    to: [mailbox(c), ...c.many(4, () => mailbox(c))],
    cc: c.many(2, () => mailbox(c)),
    bcc: c.many(2, () => mailbox(c)),
    replyTo: c.many(2, () => mailbox(c)),
    subject: phrase(c, 8),
    ...(text === undefined ? {} : { text }),
    ...(html === undefined ? {} : { html }),
    attachments: c.many(3, () => ({
      filename: c.pick([
        'a.txt',
        'Prüfung "1".pdf',
        '漢字.bin',
        `${'long'.repeat(30)}.dat`,
        'semi;colon=.x',
        "it's 100%.txt",
      ]),
      content: c.maybe(0.3) ? Buffer.from(prose(c)) : bytes(c),
      contentType: c.pick([
        'application/octet-stream',
        'text/plain',
        'image/png',
        'text/csv; charset=utf-8',
        'message/rfc822',
      ]),
      ...(c.maybe(0.3) ? { contentId: `cid${c.int(1e9)}@acme.example` } : {}),
    })),
    headers: c.many(6, () => ({ name: c.pick(['X-One', 'x-two', 'X-THREE-id', 'List-Help']), value: phrase(c, 6) })),
    tags: c.many(3, () => c.pick(['welcome', 'order_1', 'a.b-c'])),
    metadata: Object.fromEntries(c.many(4, () => [`key_${c.int(99)}`, phrase(c, 3)])),
    references: c.many(20, () => `<ref.${c.int(1e9)}@mail.acme.example>`),
    ...(c.maybe(0.2) ? { inReplyTo: '<first@mail.acme.example>' } : {}),
    ...(c.maybe(0.2) ? { importance: c.pick(['high', 'normal', 'low'] as const) } : {}),
    ...(c.maybe(0.1)
      ? {
          calendar: {
            method: 'REQUEST' as const,
            filename: 'invite.ics',
            content: `BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nSUMMARY:${phrase(c, 3)}\r\nEND:VCALENDAR\r\n`,
          },
        }
      : {}),
    providerOptions: {},
  }
}

/** Line ends become CRLF on the way; readers may show a last one. */
const lines = (text: string) => text.replace(/\r\n|\r|\n/g, '\n').replace(/\n*$/, '')

const seen = (mailboxes: readonly Mailbox[]) =>
  mailboxes.map(({ name = '', address }) => ({ name, address: address.replace(/^"(.*)"@/, '$1@') }))

const seenBy = (mailboxes: AcceptedMail['to']) =>
  mailboxes.map(({ name, address }) => ({ name, address: address.replace(/^"(.*)"@/, '$1@') }))

function assertArrived(mail: AcceptedMail, sent: MessageSnapshot, id: string): void {
  assert.equal(mail.sendwrightId, id)
  assert.deepEqual(seenBy([mail.from]), seen([sent.from]))
  assert.deepEqual(seenBy(mail.to), seen(sent.to))
  assert.deepEqual(seenBy(mail.cc), seen(sent.cc))
  assert.deepEqual(seenBy(mail.replyTo), seen(sent.replyTo))
  assert.equal(mail.subject, sent.subject)
  assert.equal(
    mail.text === undefined ? undefined : lines(mail.text),
    sent.text === undefined ? undefined : lines(sent.text),
  )
  assert.equal(
    mail.html === undefined ? undefined : lines(mail.html),
    sent.html === undefined ? undefined : lines(sent.html),
  )
  assert.deepEqual(mail.tags, sent.tags)
  assert.deepEqual(mail.metadata, sent.metadata)
  assert.equal(mail.headers.references?.[0] ?? '', sent.references.join(' '))
  assert.equal(mail.headers['in-reply-to']?.[0], sent.inReplyTo)
  for (const name of new Set(sent.headers.map(({ name }) => name.toLowerCase()))) {
    const values = sent.headers.filter((header) => header.name.toLowerCase() === name).map(({ value }) => value)
    assert.deepEqual(mail.headers[name], values, name)
  }
  const files = mail.attachments.filter(({ contentType }) => contentType !== 'application/ics')
  const inlineLast = <T extends { readonly contentId?: string }>(list: readonly T[]) =>
    [...list].sort((a, b) => (a.contentId ?? '').localeCompare(b.contentId ?? ''))
  assert.deepEqual(
    inlineLast(files).map(({ filename, contentType, contentId, content }) => ({
      filename,
      contentType,
      contentId,
      content: Buffer.from(content).toString('base64'),
    })),
    inlineLast(sent.attachments).map(({ filename, contentType, contentId, content }) => ({
      filename,
      contentType: contentType.replace(/;.*/, ''),
      contentId,
      content: Buffer.from(content).toString('base64'),
    })),
  )
  assert.equal(mail.calendar?.method, sent.calendar?.method)
  if (sent.calendar !== undefined) assert.equal(lines(mail.calendar?.content ?? ''), lines(sent.calendar.content))
}

/** H3, H4: what any message must look like on the wire. */
function assertWellFormed(raw: Uint8Array): void {
  const wire = Buffer.from(raw).toString('latin1')
  assert.doesNotMatch(wire, /(?<!\r)\n|\r(?!\n)/, 'only CRLF ends lines')
  for (const line of wire.split('\r\n')) assert.ok(line.length <= 998, 'no line over 998 octets')
  const head = wire.slice(0, wire.indexOf('\r\n\r\n'))
  assert.match(head, /^[\x20-\x7e\r\n\t]*$/, 'header bytes are ASCII')
  assert.doesNotMatch(head, /^bcc:/im)
}

test(`P6, H4 what arrives is what was sent, for ${cycles} random messages (SEED=${seed})`, async (t) => {
  t.diagnostic(`SEED=${seed}`)
  const pair = await smtpPair({}, { pool: { connections: 2 } })
  disposeAfterTest(pair)
  const { server, hand } = pair
  const batch = 200
  for (let done = 0; done < cycles; done += batch) {
    const deliveries = Array.from({ length: Math.min(batch, cycles - done) }, (_, at) =>
      deliveryOf({ message: message(chance(seed + done + at)) }),
    )
    const endings = await Promise.all(deliveries.map((delivery) => hand(delivery)))
    assert.ok(endings.every(({ outcome }) => outcome === 'sent'))
    const mails = new Map((await server.accepted()).map((mail) => [mail.sendwrightId, mail]))
    assert.equal(mails.size, deliveries.length, 'one message stays one message')
    for (const [at, { id, message, envelope }] of deliveries.entries()) {
      const mail = mails.get(id)
      try {
        assert.ok(mail, 'it arrived')
        assertWellFormed(mail.raw)
        assertArrived(mail, message, id)
        assert.deepEqual(
          mail.recipients,
          envelope.recipients.map(({ address }) => address),
        )
        for (const { address } of message.bcc) {
          assert.ok(!Buffer.from(mail.raw).includes(address), 'P6 bcc is in no byte of the message')
        }
      } catch (error) {
        throw new Error(`message ${done + at} of SEED=${seed}`, { cause: error })
      }
    }
    server.reset()
  }
})
