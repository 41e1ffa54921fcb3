import { after, before, describe, it } from 'node:test'
import { Pool } from 'pg'
import { postgres } from '../../src/stores/postgres.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { emptyStore, findPostgres, ownSchema } from '../support/postgres-server.ts'

const found = await findPostgres()

if ('skip' in found) {
  it('postgres', { skip: found.skip }, () => {})
} else {
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

  describeStore(
    'postgres',
    async () => {
      await emptyStore(pool, schema)
      const clock = fakeClock()
      return { store: postgres({ pool, schema, clock }), now: clock.now, advance: clock.advance, step: clock.step }
    },
    { describe, it },
  )
}
