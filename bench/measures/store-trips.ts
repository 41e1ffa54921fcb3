/**
 * How often a store goes to its server for one message, counted where the driver is asked; of SQLite how often it commits:
 * `store-trips.ts <engine> <bare|key|limits|queue> [count]`. One message at a time, but in the queue, which works on fifty.
 * `limits` is a key, a quota and a limit of the provider.
 */
import { createMailer, type Mailer } from 'sendwright'
import { memory } from 'sendwright/providers/memory'
import { type EngineName, type OpenEngine, openEngine } from './engines.ts'
import { all, report } from './measure.ts'
import * as messages from './messages.ts'

const [engine, kind, times = '200'] = process.argv.slice(2)
const count = Number(times)
const warmUp = 20
const enough = { limit: 10_000_000, per: 86_400_000 }

const opened = await openEngine(engine as EngineName)
const mailer = createMailer({
  providers: { outbox: memory({ limit: 0 }) },
  from: messages.from,
  store: opened.store,
  queue: { work: false },
  ...(kind === 'limits' ? { limits: { quota: enough, providers: { outbox: enough } } } : {}),
})
report(kind === 'queue' ? await queued(mailer, opened) : await sent(mailer, opened))
await mailer.close()
await opened.close()

async function sent(mailer: Mailer, { trips }: OpenEngine) {
  const send = (n: number) =>
    mailer.send(
      { ...messages.small, to: messages.recipient(n) },
      kind === 'bare' ? {} : { idempotencyKey: `order-${n}` },
    )
  await all(0, warmUp, 1, send)
  const before = trips()
  await all(warmUp, warmUp + count, 1, send)
  return { trips: (trips() - before) / count }
}

async function queued(mailer: Mailer, { trips }: OpenEngine) {
  const enqueue = (n: number) => mailer.enqueue({ ...messages.small, to: messages.recipient(n) })
  await all(0, warmUp, 50, enqueue)
  const before = trips()
  await all(warmUp, warmUp + count, 50, enqueue)
  const accepted = trips()
  const done = Promise.withResolvers<void>()
  let settled = 0
  mailer.on('settled', () => {
    if (++settled === warmUp + count) done.resolve()
  })
  mailer.work({ concurrency: 50 })
  await done.promise
  return { accept: (accepted - before) / count, trips: (trips() - accepted) / (warmUp + count) }
}
