import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { memory } from '../../src/stores/memory.ts'
import { postgres } from '../../src/stores/postgres.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { randomFrom } from '../../src/testing/stores/samples.ts'
import { PairedStores } from '../support/paired-stores.ts'
import { checkPostgresData } from '../support/postgres-data.ts'
import { emptyStore, overPostgres } from '../support/postgres-server.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000
const rounds = Number(process.env.ROUNDS) || 6
const steps = 250
const day = 86_400_000
const lease = { owner: 'model', ms: 40_000 }

await overPostgres('postgres against a model', (server) => {
  const schema = server.schema()
  const pool = server.pool()
  before(async () => {
    await postgres({ pool, schema }).read('msg_none')
  })

  describe(`postgres, whatever is called, in whatever order (SEED=${seed})`, () => {
    for (let round = 0; round < rounds; round++) {
      it(`P1 P7 D4: the store answers as the one in memory does, and its tables agree (round ${round})`, async () => {
        await emptyStore(pool, schema)
        const clock = fakeClock()
        const pair = new PairedStores(
          memory({ clock }),
          postgres({ pool, schema, clock }),
          clock,
          randomFrom(seed + round),
        )
        for (let step = 0; step < steps; step++) {
          await pair.step()
          if (step % 25 === 0) await checkPostgresData(pool, schema)
        }
        await pair.compareAll()
        await checkPostgresData(pool, schema)
        await pair.close()
      })
    }

    it('P4 P10: windows hold what those in memory hold, whichever are asked together', async () => {
      const clock = fakeClock(Date.UTC(2026, 0, 1))
      const [model, store] = [memory({ clock }), postgres({ pool, schema, clock })]
      const random = randomFrom(seed)
      const lengths = [1, 7, 1_000, 61_000, 3_600_000, day]
      for (const key of ['k0', 'k1', 'k2']) {
        // From here on both count in all of them: the one in memory also notes what it was refused.
        const windows = lengths.map((per) => ({ per, limit: 1 }))
        assert.deepEqual(await store.limits.take(key, windows, 1), await model.limits.take(key, windows, 1))
      }
      for (let step = 0; step < 400; step++) {
        await clock.advance(random(4) === 0 ? random(lengths[random(5)]! * 2) : random(50))
        const key = `k${random(3)}`
        const windows = lengths.filter(() => random(3) === 0).map((per) => ({ per, limit: random(40) }))
        const cost = random(6)
        const take = await model.limits.take(key, windows, cost)
        assert.deepEqual(await store.limits.take(key, windows, cost), take)
        if (!take.ok || random(3) > 0) continue
        await clock.advance(random(5_000))
        const moves = [{ cost, from: take.at, to: take.at + random(10_000) }]
        const kind = random(2)
        for (const { limits } of [model, store]) {
          await (kind === 0 ? limits.refund(key, windows, cost, take.at) : limits.move(key, windows, moves))
        }
        const asked = lengths.map((per) => ({ per, limit: 1 }))
        assert.deepEqual(await store.limits.usage(key, asked), await model.limits.usage(key, asked))
      }
    })

    it('P10: once everything has ended, nothing is left', async () => {
      await emptyStore(pool, schema)
      const clock = fakeClock()
      const store = postgres({ pool, schema, clock })
      const pair = new PairedStores(memory({ clock }), store, clock, randomFrom(seed))
      for (let step = 0; step < steps; step++) await pair.step()
      await clock.advance(40 * day)
      const { rows } = await pool.query(`SELECT id FROM "${schema}".messages WHERE phase < 2`)
      for (const { id } of rows) {
        const held = await store.takeover(id, ['queued', 'scheduled', 'dispatching', 'unknown'], lease)
        if (held) await store.settle({ ...held.row, status: 'sent' }, held.fence)
      }
      await store.suppress.remove(undefined, 'ada@example.com')
      // Those whose holder vanished are let go, and kept for their time from then.
      await store.due(1_000, lease)
      await clock.advance(40 * day)
      for (let i = 0; i < 50; i++) await store.due(1, lease)
      for (const table of ['messages', 'contents', 'labels', 'work', 'expiries', 'suppressions']) {
        assert.deepEqual((await pool.query(`SELECT * FROM "${schema}".${table}`)).rows, [], table)
      }
      await pair.close()
    })
  })
})
