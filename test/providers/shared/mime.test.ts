import assert from 'node:assert/strict'
import { test } from 'node:test'
import MailComposer from 'nodemailer/lib/mail-composer'
import PostalMime from 'postal-mime'
import { compose } from '../../../providers/shared/mime.ts'
import { base64Length, encodingOf, quotedPrintable, writeBase64 } from '../../../providers/shared/transfer.ts'
import type { MessageSnapshot } from '../../../src/message/message.ts'
import { deliveryOf } from '../../support/delivery.ts'

const png = { filename: 'logo.png', contentType: 'image/png', content: Buffer.from('89504e47', 'hex') }
const messages: readonly Partial<MessageSnapshot>[] = [
  { text: 'plain' },
  { html: '<p>only html</p>' },
  { text: 'both\n', html: '<p>Grüße – 你好</p>' },
  { text: 'inline', html: '<img src="cid:logo@acme">', attachments: [{ ...png, contentId: 'logo@acme' }, png] },
  { text: '', attachments: [{ ...png, filename: 'Prüfung, "final".png', content: Buffer.alloc(0) }] },
  { text: '.\n..\nFrom me\ntrailing \t\n', cc: [{ name: 'Doe, "J."', address: 'j@example.com' }] },
  { text: 'x'.repeat(5_000), subject: 'long '.repeat(60).trim(), replyTo: [{ name: 'Ünï', address: 'u@example.com' }] },
]

for (const [index, message] of messages.entries()) {
  test(`reads the same as what nodemailer composes, message ${index + 1}`, async () => {
    const delivery = deliveryOf({ message })
    const { from, to, cc, replyTo, subject, text, html, attachments } = delivery.message
    const named = (list: typeof to) => list.map(({ name = '', address }) => ({ name, address }))
    const theirs = await new MailComposer({
      from: { name: from.name ?? '', address: from.address },
      to: named(to),
      cc: named(cc),
      replyTo: named(replyTo),
      messageId: delivery.messageId,
      date: new Date(delivery.createdAt),
      subject,
      text,
      html,
      attachments: attachments.map(({ contentId, content, ...rest }) => ({
        ...rest,
        content: Buffer.from(content),
        ...(contentId === undefined ? {} : { cid: contentId, contentDisposition: 'inline' as const }),
      })),
    })
      .compile()
      .build()
    const read = async (bytes: Buffer) => {
      const mail = await PostalMime.parse(bytes)
      const { from, to, cc, replyTo, subject, messageId, date } = mail
      return {
        ...{ from, to, cc, replyTo, subject, messageId, date },
        // Whether an empty or last line break is there differs, and nobody sees it.
        text: mail.text?.trimEnd() ?? '',
        html: mail.html?.trimEnd() ?? '',
        attachments: mail.attachments.map(({ content, ...rest }) => ({
          ...rest,
          content: Buffer.from(content as ArrayBuffer).toString('hex'),
        })),
      }
    }
    assert.deepEqual(await read(compose(delivery)), await read(theirs))
  })
}

test('the same delivery always gives the same bytes', () => {
  const delivery = deliveryOf({ message: { text: 'ü', html: 'ü', attachments: [png] } })
  assert.ok(compose(delivery).equals(compose(structuredClone(delivery))))
})

test('H1 what would end a header line early never does', () => {
  const raw = compose(
    deliveryOf({
      message: {
        subject: 'a\r\nBcc: spy@example.com',
        headers: [{ name: 'X-A\r\nBcc', value: 'b\r\n\r\nbody' }],
        attachments: [
          { ...png, contentType: 'image/png\r\nX-B: c', filename: 'a\r\nX-C: d', contentId: 'x>\r\nX-D: e' },
        ],
      },
    }),
  ).toString()
  assert.doesNotMatch(raw, /^(?:bcc|x-[bcd]):/im)
})

test('base64 is written in lines of 76 and takes exactly the room it said, at every length', () => {
  for (const length of [0, 1, 2, 3, 56, 57, 58, 113, 114, 115, 57 * 1024 - 1, 57 * 1024, 57 * 1024 + 1, 200_000]) {
    const bytes = Buffer.alloc(length, 'sendwright')
    const target = Buffer.alloc(base64Length(length))
    assert.equal(writeBase64(bytes, target, 0), target.length, `${length}`)
    const lines = target.toString().split('\r\n')
    assert.ok(lines.every((line) => line.length <= 76))
    assert.ok(Buffer.from(lines.join(''), 'base64').equals(bytes))
  }
})

test('quoted-printable: lines of 76 at most, no bare space at an end, no dot at a beginning, and reversible', () => {
  const texts = [
    '',
    ' ',
    '\t',
    '.',
    'F',
    '=',
    'ü',
    ' \r\n',
    `${'a'.repeat(75)} \r\n`,
    `${'a'.repeat(74)} `,
    '.a\r\n.b',
    '\r\n',
  ]
  for (let length = 70; length < 80; length++) texts.push('a'.repeat(length), 'ü'.repeat(length), ' '.repeat(length))
  for (const text of texts) {
    const encoded = quotedPrintable(Buffer.from(text)).toString('latin1')
    for (const line of encoded.split('\r\n')) {
      assert.ok(line.length <= 76, text)
      assert.doesNotMatch(line, /[ \t]$|^\./, text)
    }
    const bytes = encoded
      .replace(/=\r\n/g, '')
      .replace(/=([0-9A-F]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    assert.equal(Buffer.from(bytes, 'latin1').toString(), text)
  }
})

test('text goes as it is only where nothing on the way can harm it', () => {
  assert.equal(encodingOf(Buffer.from('plain\r\ntext')), '7bit')
  for (const text of ['From me', '.dot', '--=_boundary', 'end \r\n', 'x'.repeat(901), 'mostly ascii ü']) {
    assert.equal(encodingOf(Buffer.from(text)), 'quoted-printable', text.slice(0, 20))
  }
  assert.equal(encodingOf(Buffer.from('你好世界')), 'base64')
})
