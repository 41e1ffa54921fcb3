/**
 * Bytes one more message takes in a store, settled (`send`) or waiting with 1 kB of content (`queue`), and how many of
 * them are its JSON: `store-bytes.ts <engine> <send|queue> [count]`.
 */
import { type EngineName, openEngine } from './engines.ts'
import { all, report } from './measure.ts'
import { jsonOf, keyedRow, lease, queuedRow, settledRow } from './rows.ts'

const [engine, way, times = '5000'] = process.argv.slice(2)
const count = Number(times)
const warmUp = 200

const opened = await openEngine(engine as EngineName)
const { store } = opened
let json = 0

async function write(n: number): Promise<void> {
  const row = way === 'queue' ? queuedRow(n) : keyedRow(n)
  const claim = await store.claim(row, way === 'queue' ? {} : { lease })
  if (claim.state !== 'claimed') throw new Error('not written')
  const last = way === 'queue' ? row : settledRow(row)
  if (last !== row) await store.settle(last, claim.fence)
  if (n < warmUp) return
  const { body, content } = jsonOf(last)
  json += body.length + (content?.length ?? 0)
}

await all(0, warmUp, 50, write)
const before = await opened.bytes()
await all(warmUp, warmUp + count, 50, write)
report({ bytes: ((await opened.bytes()) - before) / count, json: json / count })
await opened.close()
