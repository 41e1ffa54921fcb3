/**
 * 100,000 messages through `streamBatch` with every policy, as from a database cursor. Memory is what the process grew by
 * after everything was loaded and warm: at its highest, and at the end after a garbage collection (run with --expose-gc).
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { createMailer } from 'sendwright'
import { memory } from 'sendwright/providers/memory'
import { report } from './measure.ts'
import * as messages from './messages.ts'

const count = Number(process.argv[2] ?? 100_000)
const mailer = createMailer({
  providers: { outbox: memory({ limit: 0 }) },
  from: messages.from,
  senders: ['acme.example'],
  limits: {
    quota: { limit: 10_000_000, per: 86_400_000 },
    providers: { outbox: { limit: 10_000_000, per: 86_400_000 } },
  },
})

function* rows(from: number, to: number) {
  for (let n = from; n < to; n++) {
    yield { message: { ...messages.small, to: messages.recipient(n) }, options: { idempotencyKey: `letter-${n}` } }
  }
}

async function send(from: number, to: number): Promise<number> {
  let sent = 0
  for await (const { receipt } of mailer.streamBatch(rows(from, to), { concurrency: 50 })) {
    if (receipt?.status === 'sent') sent++
  }
  return sent
}

const resident = () => process.memoryUsage.rss()
await send(0, 1_000)
globalThis.gc?.()
const before = process.memoryUsage()
let highest = before.rss
const watch = setInterval(() => {
  highest = Math.max(highest, resident())
}, 50)
const delay = monitorEventLoopDelay({ resolution: 5 })
delay.enable()
const cpu = process.cpuUsage()
const start = performance.now()
const sent = await send(1_000, 1_000 + count)
const seconds = (performance.now() - start) / 1000
const { user, system } = process.cpuUsage(cpu)
delay.disable()
clearInterval(watch)
highest = Math.max(highest, resident())
globalThis.gc?.()
const after = process.memoryUsage()
if (sent !== count) throw new Error(`${sent} of ${count} were sent`)
report({
  rate: count / seconds,
  cpu: (user + system) / count,
  peakGrowth: (highest - before.rss) / 1e6,
  heapGrowth: (after.heapUsed + after.external - before.heapUsed - before.external) / 1e6,
  // The histogram counts from the timer's start, so its own resolution is part of every value.
  delayP99: delay.percentile(99) / 1e6 - 5,
  delayMax: delay.max / 1e6 - 5,
})
