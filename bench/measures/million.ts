/**
 * Very many messages through `streamBatch` into the memory provider, with the memory store as it is by default:
 * `million.ts [count]`. Memory is what the process grew by, in MB: kept after each quarter, and at the highest.
 */
import { createMailer } from 'sendwright'
import { memory } from 'sendwright/providers/memory'
import { begin, heap, report } from './measure.ts'
import * as messages from './messages.ts'

const count = Number(process.argv[2] ?? 1_000_000)
const warmUp = 1_000
const mailer = createMailer({ providers: { outbox: memory({ limit: 0 }) }, from: messages.from })

function* rows(from: number, to: number) {
  for (let n = from; n < to; n++) yield { ...messages.small, to: messages.recipient(n) }
}

async function send(from: number, to: number): Promise<void> {
  let sent = 0
  for await (const { receipt } of mailer.streamBatch(rows(from, to), { concurrency: 50 })) {
    if (receipt?.status === 'sent') sent++
  }
  if (sent !== to - from) throw new Error(`${sent} of ${to - from} were sent`)
}

await send(0, warmUp)
const before = heap()
const resident = process.memoryUsage.rss()
let highest = resident
const watch = setInterval(() => {
  highest = Math.max(highest, process.memoryUsage.rss())
}, 50)
const kept: number[] = []
const started = begin()
for (let quarter = 0; quarter < 4; quarter++) {
  const [from, to] = [quarter, quarter + 1].map((part) => warmUp + Math.floor((count * part) / 4)) as [number, number]
  await send(from, to)
  kept.push((heap() - before) / 1e6)
}
const { rate, cpu } = started.cost(count)
clearInterval(watch)
const [first, second, third, last] = kept
report({ rate, cpu, first, second, third, last, peak: (highest - resident) / 1e6 })
