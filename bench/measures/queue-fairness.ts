/**
 * How long a tenant's single messages wait, from `enqueue` to their hand-over, in milliseconds:
 * `queue-fairness.ts <engine> <alone|crowded> [waiting] [samples]`. `crowded` is while the messages of another tenant, so many
 * of them, are worked off.
 */
import { createMailer } from 'sendwright'
import { memory } from 'sendwright/providers/memory'
import { type EngineName, openEngine } from './engines.ts'
import { all, percentile, report } from './measure.ts'
import * as messages from './messages.ts'

const [engine, situation, waiting = '100000', samples = '100'] = process.argv.slice(2)
const crowd = situation === 'crowded' ? Number(waiting) : 0
const warmUp = 10
/** Milliseconds between the single messages, at most: as they come, and in no step with anything. */
const longestPause = 20

const handedOver = new Map<string, (at: number) => void>()
const outbox = memory({ limit: 0 })
const opened = await openEngine(engine as EngineName)
const mailer = createMailer({
  providers: {
    outbox: {
      ...outbox,
      async send(delivery, options) {
        handedOver.get(delivery.message.subject)?.(performance.now())
        return outbox.send(delivery, options)
      },
    },
  },
  store: opened.store,
  tenants: { crowd: { route: 'outbox', from: messages.from }, single: { route: 'outbox', from: messages.from } },
  queue: { work: false },
})

async function wait(n: number): Promise<number> {
  const subject = `single-${n}`
  const over = Promise.withResolvers<number>()
  handedOver.set(subject, over.resolve)
  const start = performance.now()
  await mailer.enqueue({ ...messages.small, subject, to: messages.recipient(n) }, { tenant: 'single' })
  return (await over.promise) - start
}

await all(0, crowd, 64, (n) =>
  mailer.enqueue({ ...messages.small, to: messages.recipient(n) }, { tenant: 'crowd', priority: n % 3 }),
)
let left = crowd
mailer.on('settled', ({ tenant }) => {
  if (tenant === 'crowd') left--
})
mailer.work({ concurrency: 50 })
const waits: number[] = []
const last = warmUp + Number(samples)
while (waits.length < last && (left > 0 || crowd === 0)) {
  await new Promise((resolve) => setTimeout(resolve, Math.random() * longestPause))
  waits.push(await wait(waits.length))
}
const measured = waits.slice(warmUp)
report({ p50: percentile(measured, 0.5), p95: percentile(measured, 0.95), samples: measured.length })
await mailer.close({ deadline: 1_000 })
await opened.close()
process.exit()
