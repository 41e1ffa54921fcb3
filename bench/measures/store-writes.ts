/**
 * What accepting and settling a message costs in a store, against the bare engine that writes the same texts as durably:
 * `store-writes.ts <engine> <ours|raw> <send|keyed|queue> <concurrency> [ms]`. `send` is a claim with a lease and a settle,
 * `keyed` the same with an idempotency key; `queue` is a claim without a lease, the look for what is due, and a settle, in
 * rounds of as many as the concurrency.
 */
import type { Held } from '../../src/stores/store.ts'
import { type EngineName, type OpenEngine, openEngine } from './engines.ts'
import { measureFor, report } from './measure.ts'
import { openRawEngine, type RawEngine } from './raw-engines.ts'
import { jsonOf, keyedRow, lease, queuedRow, sendRow, settledRow } from './rows.ts'

const [engine, contestant, way, concurrency, ms = '1000'] = process.argv.slice(2)
const width = Number(concurrency)
const directRow = way === 'keyed' ? keyedRow : sendRow

const oursSend =
  ({ store }: OpenEngine) =>
  async (n: number) => {
    const row = directRow(n)
    const claim = await store.claim(row, { lease })
    if (claim.state !== 'claimed' || !(await store.settle(settledRow(row), claim.fence))) throw new Error('not written')
  }

const oursQueue =
  ({ store }: OpenEngine) =>
  async (round: number) => {
    await Promise.all(numbersOf(round).map(async (n) => store.claim(queuedRow(n), {})))
    for (let left = width; left > 0; ) {
      const { held } = await store.due(left, lease)
      if (held.length === 0) throw new Error('what was claimed is not due')
      await Promise.all(held.map(async ({ row, fence }: Held) => store.settle(settledRow(row), fence)))
      left -= held.length
    }
  }

const rawSend = (raw: RawEngine) => async (n: number) => {
  const row = directRow(n)
  await raw.insert(row.id, jsonOf(row).body, null)
  await raw.update(row.id, jsonOf(settledRow(row)).body)
}

const rawQueue = (raw: RawEngine) => async (round: number) => {
  const rows = numbersOf(round).map(queuedRow)
  await Promise.all(rows.map((row) => raw.insert(row.id, jsonOf(row).body, jsonOf(row).content)))
  const ids = rows.map(({ id }) => id)
  await raw.take(ids, (n) => jsonOf(rows[n]!).body)
  await Promise.all(rows.map((row) => raw.update(row.id, jsonOf(settledRow(row)).body)))
}

const numbersOf = (round: number) => Array.from({ length: width }, (_, i) => round * width + i)

async function run(opened: { trips(): number; close(): Promise<void> }, one: (n: number) => Promise<void>) {
  const queued = way === 'queue'
  const before = opened.trips()
  let calls = 0
  const counted = (n: number) => {
    calls++
    return one(n)
  }
  const { rate, cpu } = await measureFor(Number(ms), queued ? 1 : width, counted, queued ? width : 1)
  report({ rate, cpu, commits: (opened.trips() - before) / (calls * (queued ? width : 1)) })
  await opened.close()
}

if (contestant === 'ours') {
  const opened = await openEngine(engine as EngineName)
  await run(opened, way === 'queue' ? oursQueue(opened) : oursSend(opened))
} else {
  const raw = await openRawEngine(engine as EngineName)
  await run(raw, way === 'queue' ? rawQueue(raw) : rawSend(raw))
}
