import assert from 'node:assert/strict'
import type { Delivery } from '../../delivery.ts'
import type { Case } from './case.ts'
import { deliveryOf } from './delivery.ts'
import { overall, type Stage } from './stage.ts'

/** Of one content, each to one reader, with facts of its own. */
function merge({ capabilities }: Stage, count: number): Delivery[] {
  const length = Math.min(count, capabilities.bulk)
  return Array.from({ length }, (_, index) =>
    deliveryOf({
      to: [{ name: `Reader ${index}`, address: `reader${index}@example.com` }],
      ...(capabilities.metadata ? { metadata: { seat: `${index}` } } : {}),
      ...(capabilities.headers > 0 ? { headers: [{ name: 'X-Seat', value: `${index}` }] } : {}),
    }),
  )
}

/** A provider without a bulk call takes the same deliveries one by one. */
const handAll = (stage: Stage, deliveries: readonly Delivery[]) =>
  stage.provider.sendMany ? stage.handMany(deliveries) : Promise.all(deliveries.map((delivery) => stage.hand(delivery)))

export const bulkCases: readonly Case[] = [
  {
    feature: 'bulk',
    name: 'P13 each reader of a bulk call gets one mail, sees nobody else, and has own facts',
    async run(stage) {
      const deliveries = merge(stage, 5)
      const endings = await handAll(stage, deliveries)
      const mails = await stage.server.accepted()
      assert.equal(mails.length, deliveries.length)
      for (const [index, delivery] of deliveries.entries()) {
        assert.equal(overall(endings[index]!), 'sent')
        const own = mails.filter(({ recipients }) => recipients.includes(`reader${index}@example.com`))
        assert.equal(own.length, 1)
        const [mail] = own
        assert.deepEqual(mail?.recipients, [`reader${index}@example.com`])
        const others = JSON.stringify([mail.to, mail.cc, mail.headers]).match(/reader\d+@/g) ?? []
        assert.deepEqual(others, [`reader${index}@`], 'a reader sees who else got it')
        assert.equal(mail.sendwrightId, delivery.id)
        if (stage.capabilities.metadata) assert.equal(mail.metadata.seat, `${index}`)
        if (stage.capabilities.headers > 0) assert.deepEqual(mail.headers['x-seat'], [`${index}`])
        await stage.judge(delivery, endings[index]!)
      }
    },
  },
  {
    feature: 'bulk',
    name: 'deliveries of other content, or to several readers, are not merged into what they are not',
    async run(stage) {
      const deliveries = [
        ...merge(stage, 2),
        deliveryOf({ subject: 'Another subject', to: [{ address: 'x@example.com' }] }),
        deliveryOf({ to: [{ address: 'y@example.com' }, { address: 'z@example.com' }] }),
      ].slice(0, Math.max(2, stage.capabilities.bulk))
      const endings = await handAll(stage, deliveries)
      for (const [index, delivery] of deliveries.entries()) {
        assert.equal(overall(endings[index]!), 'sent')
        await stage.judge(delivery, endings[index]!)
        const [mail] = await stage.mails(delivery)
        assert.equal(mail?.subject, delivery.message.subject)
        assert.equal(mail.to.length, delivery.message.to.length)
      }
    },
  },
  ...(['refuse', 'reset', '5xx', 'throttle'] as const).map(
    (kind): Case => ({
      feature: 'bulk',
      name: `P13 O4 ${kind} after the body of a bulk call is told of each delivery as it is, and repeated for none`,
      async run(stage) {
        const deliveries = merge(stage, 4)
        stage.server.fail({ at: 'afterBody', kind })
        const endings = await handAll(stage, deliveries)
        assert.ok(
          endings.some((ending) => overall(ending) !== 'sent'),
          'nothing told of the fault',
        )
        assert.ok(stage.server.bodies <= deliveries.length, 'something was handed over twice')
        for (const [index, delivery] of deliveries.entries()) await stage.judge(delivery, endings[index]!)
      },
    }),
  ),
  {
    feature: 'bulk',
    name: 'an aborted signal sends none of a bulk call',
    async run(stage) {
      const deliveries = merge(stage, 3)
      const signal = AbortSignal.abort()
      const endings = stage.provider.sendMany
        ? await stage.handMany(deliveries, { signal })
        : await Promise.all(deliveries.map((delivery) => stage.hand(delivery, { signal })))
      for (const [index, delivery] of deliveries.entries()) {
        assert.equal(endings[index]?.error?.outcome, 'failed')
        assert.equal(endings[index].error.kind, 'aborted')
        await stage.judge(delivery, endings[index])
      }
    },
  },
]
