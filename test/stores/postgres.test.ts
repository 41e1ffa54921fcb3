import { before, describe, it } from 'node:test'
import { postgres } from '../../src/stores/postgres.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { emptyStore, overPostgres } from '../support/postgres-server.ts'

await overPostgres('postgres, the suite of every store', (server) => {
  const schema = server.schema()
  const pool = server.pool()
  before(async () => {
    await postgres({ pool, schema }).read('msg_none')
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
})
