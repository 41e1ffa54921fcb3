import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Pool } from 'pg'
import { memory } from '../../src/stores/memory.ts'
import { postgres } from '../../src/stores/postgres.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { randomFrom } from '../../src/testing/stores/samples.ts'
import { PairedStores } from '../support/paired-stores.ts'
import { checkPostgresData } from '../support/postgres-data.ts'
import { emptyStore, findPostgres, ownSchema } from '../support/postgres-server.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000
const rounds = Number(process.env.ROUNDS) || 6
const steps = 250
const day = 86_400_000
const lease = { owner: 'model', ms: 40_000 }
const found = await findPostgres()

if ('skip' in found) it('postgres against a model', { skip: found.skip }, () => {})
else {
  const { schema, drop } = ownSchema(found.config)
  const pool = new Pool(found.config)
  before(async () => {
    await postgres({ pool, schema }).read('msg_none')
  })
  after(async () => {
    await pool.end()
    await drop()
    await found.stop()
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
}
