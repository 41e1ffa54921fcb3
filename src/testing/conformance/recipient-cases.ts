import assert from 'node:assert/strict'
import type { MessageSnapshot } from '../../message/message.ts'
import type { AcceptedMail } from '../scripted-server.ts'
import type { Case } from './case.ts'
import { deliveryOf, everybody } from './delivery.ts'
import { overall } from './stage.ts'

const hidden = 'hidden.reader@example.net'
const lineBreak = 'x\r\nX-Injected: 1\r\nBcc: victim@example.net\r\n\r\nbody'

export const recipientCases: readonly Case[] = [
  {
    feature: 'bcc',
    name: 'P6 a bcc recipient gets a copy, and nothing any reader sees names it',
    async run(stage) {
      const mail = await stage.deliver(
        deliveryOf({
          cc: [{ address: 'cc@example.com' }],
          bcc: [{ name: 'Hidden Reader', address: hidden }],
          html: '<p>Hello</p>',
          headers: stage.capabilities.headers > 0 ? [{ name: 'X-A', value: 'b' }] : [],
        }),
      )
      assert.ok(mail.recipients.includes(hidden), 'the bcc recipient got no copy')
      assert.ok(!/hidden[. ]reader/i.test(visible(mail)), 'readers can see the bcc recipient')
      assert.equal(mail.headers.bcc, undefined, 'readers can see a Bcc header')
      if (stage.harness.dialect === 'smtp') assert.ok(!/hidden[. ]reader/i.test(Buffer.from(mail.raw).toString()))
    },
  },
  {
    feature: 'bcc',
    name: 'several bcc recipients do not see one another',
    async run(stage) {
      const bcc = ['b1@example.net', 'b2@example.net', 'b3@example.net'].map((address) => ({ address }))
      const mail = await stage.deliver(deliveryOf({ bcc: bcc.slice(0, stage.capabilities.recipients - 1) }))
      assert.ok(!/b\d@example\.net/.test(visible(mail)))
    },
  },
  {
    feature: 'envelope',
    name: 'P3 O5 only the envelope is mailed; who is left out of it stays in To, or the repeat is refused',
    async run(stage) {
      const message: Partial<MessageSnapshot> = {
        to: [{ address: 'a@example.com' }, { address: 'b@example.com' }],
        cc: [{ address: 'c@example.com' }],
      }
      const whole = deliveryOf(message)
      const rest = deliveryOf(
        message,
        everybody(whole.message).filter(({ address }) => address !== 'a@example.com'),
      )
      if (!stage.capabilities.envelope) return stage.refuses(rest, /^to/)
      const mail = await stage.deliver(rest)
      assert.deepEqual(mail.recipients, ['b@example.com', 'c@example.com'])
      assert.deepEqual(
        mail.to.map(({ address }) => address),
        ['a@example.com', 'b@example.com'],
      )
    },
  },
  {
    feature: 'envelope',
    name: 'a local part keeps its letter case on the wire',
    async run(stage) {
      const mail = await stage.deliver(deliveryOf({ to: [{ address: 'Ada.LOVELACE+Tag@example.com' }] }))
      assert.deepEqual(mail.recipients, ['Ada.LOVELACE+Tag@example.com'])
    },
  },
  {
    feature: 'envelope',
    name: 'A6 mailboxes another reader might split or join stay what they are',
    async run(stage) {
      const to = ['"a,b"@example.com', '"a b"@example.com', 'a+b=c/d@example.com', 'x@xn--bcher-kva.example']
      const some = to.slice(0, stage.capabilities.recipients).map((address) => ({ address }))
      const delivery = deliveryOf({ to: some })
      if (!stage.carries(delivery)) return stage.refuses(delivery, /^to/)
      const mail = await stage.deliver(delivery)
      assert.equal(mail.recipients.length, some.length)
    },
  },
  ...injections().map(
    ([field, message]): Case => ({
      feature: 'injection',
      name: `H1 a line break in ${field} that got past the door adds no header, recipient or body`,
      async run(stage) {
        const delivery = deliveryOf(message)
        if (!stage.carries(delivery)) return stage.refuses(delivery, /./)
        const ending = await stage.hand(delivery)
        await stage.judge(delivery, ending)
        for (const mail of await stage.mails(delivery)) {
          assert.equal(mail.headers['x-injected'], undefined)
          assert.equal(mail.headers.bcc, undefined)
          assert.equal(mail.text?.trim(), 'It is on its way.')
        }
      },
    }),
  ),
  {
    feature: 'partial',
    dialect: 'smtp',
    name: 'O5 one refused recipient is told of by name, and the others are sent',
    async run(stage) {
      const delivery = deliveryOf({
        to: [{ address: 'a@example.com' }, { address: 'b@example.com' }, { address: 'c@example.com' }],
      })
      stage.server.fail({ at: 'envelope', kind: 'refuse', recipient: 'b@example.com' })
      stage.server.fail({ at: 'envelope', kind: '4xx', recipient: 'c@example.com' })
      const ending = await stage.hand(delivery)
      assert.deepEqual([...ending.outcomes.values()], ['sent', 'rejected', 'failed'])
      for (const { reason, code } of ending.answer?.recipients ?? []) assert.ok(reason || code, 'it says why')
      await stage.judge(delivery, ending)
    },
  },
  {
    feature: 'partial',
    dialect: 'smtp',
    name: 'O1 when every recipient is refused nothing is sent, and the outcome says it',
    async run(stage) {
      const delivery = deliveryOf({ to: [{ address: 'a@example.com' }, { address: 'b@example.com' }] })
      stage.server.fail({ at: 'envelope', kind: 'refuse', times: 2 })
      const ending = await stage.hand(delivery)
      assert.equal(overall(ending), 'rejected')
      assert.equal(stage.server.bodies, 0)
      await stage.judge(delivery, ending)
    },
  },
]

/** Everything a reader of this mail is shown. */
function visible({ from, to, cc, replyTo, subject, text, html, headers, tags, metadata }: AcceptedMail): string {
  return JSON.stringify({ from, to, cc, replyTo, subject, text, html, headers, tags, metadata })
}

function injections(): [string, Partial<MessageSnapshot>][] {
  return [
    ['a header value', { headers: [{ name: 'X-A', value: lineBreak }] }],
    ['the subject', { subject: lineBreak }],
    ['a display name', { to: [{ name: lineBreak, address: 'ada@example.com' }] }],
    ['the sender’s name', { from: { name: lineBreak, address: 'hello@acme.example' } }],
    [
      'a file name',
      { attachments: [{ filename: lineBreak, content: Buffer.from('a'), contentType: 'application/pdf' }] },
    ],
    ['metadata', { metadata: { note: lineBreak } }],
  ]
}
