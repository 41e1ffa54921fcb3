import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { memory } from '../../src/stores/memory.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { randomFrom } from '../../src/testing/stores/samples.ts'
import { PairedStores } from '../support/paired-stores.ts'
import { checkSqliteData, onFile, tableSizes } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000
const rounds = Number(process.env.ROUNDS) || 6
const steps = 250
const day = 86_400_000
const lease = { owner: 'model', ms: 40_000 }

describe(`sqlite, whatever is called, in whatever order (SEED=${seed})`, () => {
  for (let round = 0; round < rounds; round++) {
    it(`P1 P7 D4: the store answers as the one in memory does, and its tables agree (round ${round})`, async () => {
      const clock = fakeClock()
      const path = newDatabase()
      const pair = new PairedStores(memory({ clock }), sqlite(path, { clock }), clock, randomFrom(seed + round))
      for (let step = 0; step < steps; step++) {
        await pair.step()
        if (step % 50 === 49) checkSqliteData(path)
      }
      await pair.compareAll()
      checkSqliteData(path)
      await pair.close()
    })
  }

  it('P4: windows hold what those in memory hold, whichever are asked together', async () => {
    const clock = fakeClock()
    const [model, store] = [memory({ clock }), sqlite(newDatabase(), { clock })]
    // Steady time in the file begins at wall time, and buckets are counted from 0.
    const shift = clock.now()
    const random = randomFrom(seed)
    const lengths = [6_000, 60_000, 3_600_000, day].filter((length) => shift % length === 0)
    for (const key of ['k0', 'k1', 'k2']) {
      // From here on both count in all of them: the one in memory also notes what it was refused.
      const windows = lengths.map((per) => ({ per, limit: 1 }))
      for (const one of [model, store]) assert.ok((await one.limits.take(key, windows, 1)).ok)
    }
    for (let step = 0; step < 400; step++) {
      await clock.advance(random(4) === 0 ? random(lengths[random(lengths.length)]! * 2) : random(50))
      const windows = lengths.map((per) => ({ per, limit: 1 + random(40) }))
      const [key, cost] = [`k${random(3)}`, random(6)]
      const [one, other] = [await model.limits.take(key, windows, cost), await store.limits.take(key, windows, cost)]
      if (one.ok && other.ok) assert.deepEqual({ ...other, at: 0 }, { ...one, at: 0 })
      else assert.deepEqual(other, one)
      if (one.ok && other.ok && random(3) === 0) {
        await clock.advance(random(20_000))
        // By whole buckets of every window: both clocks stand at the start of one.
        const later = random(30_000)
        await model.limits.move(key, windows, [{ cost, from: one.at, to: one.at + later }])
        await store.limits.move(key, windows, [{ cost, from: other.at, to: other.at + later }])
      } else if (one.ok && other.ok && random(5) === 0) {
        await model.limits.refund(key, windows, cost, one.at)
        await store.limits.refund(key, windows, cost, other.at)
      }
      assert.deepEqual(await store.limits.usage(key, windows), await model.limits.usage(key, windows))
    }
    await Promise.all([model.close(), store.close()])
  })

  it('P10: once everything has ended, nothing is left of it', async () => {
    const clock = fakeClock()
    const path = newDatabase()
    const store = sqlite(path, { clock })
    const pair = new PairedStores(memory({ clock }), store, clock, randomFrom(seed))
    for (let step = 0; step < steps; step++) await pair.step()
    await store.once('event', day)
    await store.limits.take('k', [{ limit: 5, per: day }], 1)
    await store.set('entry', 'value', day)
    await clock.advance(40 * day)
    await settleAll(store, path)
    await clock.advance(40 * day)
    for (let i = 0; i < 50; i++) await Promise.all(Array.from({ length: 16 }, () => store.due(1, lease)))
    const { store: _, ...left } = tableSizes(path)
    assert.deepEqual(
      Object.entries(left).filter(([, rows]) => rows > 0),
      [],
    )
    await pair.close()
  })
})

async function settleAll(store: MailStore, path: string): Promise<void> {
  for (let held = 1; held > 0; ) {
    const { held: rows } = await store.due(100, lease)
    for (const { row, fence } of rows) await store.settle({ ...row, status: 'sent' }, fence)
    held = rows.length
  }
  const left = onFile(path, (database) => database.prepare('SELECT id FROM sendwright_messages').all())
  for (const { id } of left as { id: string }[]) {
    const one = await store.takeover(id, ['unknown', 'dispatching'], lease)
    if (one) await store.settle({ ...one.row, status: 'sent' }, one.fence)
  }
}
