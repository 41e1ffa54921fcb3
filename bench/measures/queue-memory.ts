/** Bytes this process grows by for each message that waits in its queue: `queue-memory.ts <engine> [count]`. */
import { createMailer } from 'sendwright'
import { memory } from 'sendwright/providers/memory'
import { type EngineName, openEngine } from './engines.ts'
import { all, heap, report } from './measure.ts'
import * as messages from './messages.ts'

const [engine, times = '10000'] = process.argv.slice(2)
const count = Number(times)
const warmUp = Math.ceil(count / 5)

const opened = await openEngine(engine as EngineName)
const mailer = createMailer({
  providers: { outbox: memory({ limit: 0 }) },
  from: messages.from,
  store: opened.store,
  queue: { work: false },
})
// Each with a text of its own: what callers share costs nothing to keep.
const enqueue = (n: number) =>
  mailer.enqueue({ ...messages.small, text: `${n}${messages.small.text}`.slice(), to: messages.recipient(n) })

await all(0, warmUp, 64, enqueue)
const before = heap()
await all(warmUp, warmUp + count, 64, enqueue)
report({ bytes: (heap() - before) / count })
await mailer.close({ deadline: 1_000 })
await opened.close()
process.exit()
