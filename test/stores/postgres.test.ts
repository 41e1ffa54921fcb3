import { before, describe, it } from 'node:test'
import PQueue from 'p-queue'
import { postgres } from '../../src/stores/postgres.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { checkPostgresData } from '../support/postgres-data.ts'
import { emptyStore, overPostgres } from '../support/postgres-server.ts'

await overPostgres('postgres, the suite of every store', (server) => {
  const schema = server.schema()
  const pool = server.pool({ max: 8 })
  before(async () => {
    await postgres({ pool, schema }).read('msg_none')
  })

  describeStore(
    'postgres',
    async () => {
      await emptyStore(pool, schema)
      const clock = fakeClock()
      const store = gated(postgres({ pool, schema, clock }), 100)
      return { store, now: clock.now, advance: clock.advance, step: clock.step }
    },
    { describe, it },
  )

  it('leaves tables that agree', () => checkPostgresData(pool, schema))
})

/**
 * The same, but of a thousand calls at once most wait outside: on a busy machine they would not all find one of a few
 * connections within the time that a call may take.
 */
function gated<T extends object>(part: T, concurrency: number, queue = new PQueue({ concurrency })): T {
  return new Proxy(part, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown
      if (typeof value === 'function') return (...args: unknown[]) => queue.add(() => value.apply(target, args))
      return typeof value === 'object' && value !== null ? gated(value, concurrency, queue) : value
    },
  })
}
