/** The whole `mailer.send` with the memory provider over one store, 64 at a time: `store-sends.ts <engine> [ms]`. */
import { createMailer } from 'sendwright'
import { memory } from 'sendwright/providers/memory'
import { type EngineName, openEngine } from './engines.ts'
import { measureFor, report } from './measure.ts'
import * as messages from './messages.ts'

const [engine, ms = '1000'] = process.argv.slice(2)
const opened = await openEngine(engine as EngineName)
const mailer = createMailer({
  providers: { outbox: memory({ limit: 0 }) },
  from: messages.from,
  store: opened.store,
  queue: { work: false },
})
const send = (n: number) => mailer.send({ ...messages.small, to: messages.recipient(n) })
const { rate, cpu } = await measureFor(Number(ms), 64, send)
report({ rate, cpu })
await mailer.close()
await opened.close()
