import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { tagLabel } from '../../src/stores/postgres/rows.ts'
import { type PostgresStoreOptions, postgres } from '../../src/stores/postgres.ts'
import type { MailStore, Row } from '../../src/stores/store.ts'
import { claimed, rowOf } from '../../src/testing/stores/samples.ts'
import { overPostgres } from '../support/postgres-server.ts'
import { freshStore, inTransaction } from '../support/postgres-store.ts'

const lease = { owner: 'test', ms: 40_000 }
const queued = { status: 'queued', kind: 'queue' } as const

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected

await overPostgres('the queue in postgres', (server) => {
  const pool = server.pool()
  const open = (options: Partial<PostgresStoreOptions>) => postgres({ pool, ...options })
  const fresh = (options: Partial<PostgresStoreOptions> = {}) => freshStore(server, pool, options)

  describe('P10: maxQueued', () => {
    it('bounds what waits; what is in the queue goes on, and repeats are answered', async () => {
      const { store } = await fresh({ maxQueued: 3 })
      const first = rowOf({ ...queued, key: 'first' })
      await store.claim(first, {})
      for (let i = 0; i < 2; i++) await store.claim(rowOf(queued), {})
      await assert.rejects(async () => store.claim(rowOf(queued), {}), code('QUEUE_FULL'))
      const keyed = rowOf({ key: 'k', accepted: false })
      const fence = await claimed(store, keyed)
      await assert.rejects(async () => store.settle({ ...keyed, ...queued, accepted: true }, fence), code('QUEUE_FULL'))
      assert.deepEqual(await store.read(keyed.id), keyed, 'nothing changed')
      assert.equal((await store.claim(rowOf({ ...queued, key: 'first' }), {})).state, 'held')
      const { held } = await store.due(3, lease)
      for (const one of held) assert.equal(await store.settle(one.row, one.fence), true)
      for (const one of (await store.due(3, lease)).held) await store.settle({ ...one.row, status: 'sent' }, one.fence)
      await sleep(1_100)
      assert.equal(await store.settle({ ...keyed, ...queued, accepted: true }, fence), true)
    })

    it('holds between processes, about', async () => {
      const { store, schema: own } = await fresh({ maxQueued: 20 })
      const other = postgres({ pool, schema: own, maxQueued: 20 })
      const claims = await Promise.allSettled(
        Array.from({ length: 60 }, async (_, i) => (i % 2 ? store : other).claim(rowOf(queued), {})),
      )
      const accepted = claims.filter(({ status }) => status === 'fulfilled').length
      assert.ok(accepted >= 20 && accepted <= 40, `${accepted}`)
      await assert.rejects(
        async () => open({ schema: own, maxQueued: 20 }).claim(rowOf(queued), {}),
        code('QUEUE_FULL'),
      )
    })
  })

  describe('many tenants', () => {
    /** Writes `count` queued rows at once, past the store. */
    async function flood(own: string, rows: readonly Row[], state: 0 | 1 | 2, moment: number): Promise<void> {
      const store = open({ schema: own })
      const template = rowOf(queued)
      await store.claim(template, {})
      await pool.query(
        `WITH new AS (
          INSERT INTO "${own}".messages (place, created_at, phase, accepted, id, tenant, status, body)
          SELECT nextval('"${own}".numbers'), given.at, 0, true, given.id, '=big', $3, 'torn'
          FROM unnest($1::text[]) WITH ORDINALITY AS given (id, at) RETURNING place
        )
        , labelled AS (INSERT INTO "${own}".labels (label, created_at, place) SELECT $5, place, place FROM new)
        INSERT INTO "${own}".work (place, moment, priority, state, tenant, line)
        SELECT place, $4, 0, $2, '=big', place FROM new`,
        [rows.map(({ id }) => id), state, state === 2 ? 'scheduled' : 'queued', moment, tagLabel('big', 'x')],
      )
    }

    /** Rows of tables and indexes that one call reads. */
    async function reads(own: string, ask: (store: MailStore) => Promise<unknown>): Promise<number> {
      let read = 0
      await inTransaction(pool, async (inside, client) => {
        const count = async () => {
          const { rows } = await client.query(
            'SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS read FROM pg_stat_xact_user_tables WHERE schemaname = $1',
            [own],
          )
          return Number(rows[0].read)
        }
        const before = await count()
        await ask(postgres({ pool: inside, schema: own }))
        read = (await count()) - before
      })
      return read
    }

    for (const [name, state] of Object.entries({ ready: 0, 'put off': 1, scheduled: 2 } as const)) {
      it(`a tenant with thousands of messages ${name} neither delays nor slows down another's one`, async () => {
        const counts: number[] = []
        for (const n of [1_000, 8_000]) {
          const { schema: own } = await fresh()
          const rows = Array.from({ length: n }, () => rowOf())
          await flood(own, rows, state, Date.now() - 100_000)
          const small = rowOf({ ...queued, tenant: 'small' })
          const store = open({ schema: own })
          if (state === 0) await store.claim(small, {})
          else if (state === 2) await store.claim({ ...small, status: 'scheduled', dueAt: Date.now() - 1_000 }, {})
          else await store.settle(small, await claimed(store, { ...small, status: 'dispatching' }), { delay: 1 })
          await sleep(5)
          counts.push(await reads(own, async (inside) => inside.due(5, lease)))
          let calls = 0
          for (let seen = false; !seen; calls++) {
            assert.ok(calls < 4, 'its turn comes')
            seen = (await store.due(5, lease)).held.some(({ row }) => row.id === small.id)
          }
        }
        assert.ok(counts[1]! < counts[0]! * 1.5 + 50, `${counts[0]} reads with 1,000 waiting, ${counts[1]} with 8,000`)
      })
    }

    /** One queued row of each tenant, past the store. */
    async function fill(own: string, tenants: number): Promise<ReadonlySet<string>> {
      await pool.query(
        `INSERT INTO "${own}".work (place, moment, priority, state, tenant, line)
         SELECT -i, 0, 0, 0, '=t' || i, -i FROM generate_series(1, $1::int) AS of (i)`,
        [tenants],
      )
      return new Set(Array.from({ length: tenants }, (_, i) => `t${i + 1}`))
    }

    it('P10: thousands of tenants left out hide nothing, and cost one look each', async () => {
      const { store, schema: own } = await fresh()
      const without = await fill(own, 5_000)
      assert.deepEqual(await store.due(10, lease, { without }), { held: [] })
      const asked = Array.from({ length: 40 }, (_, i) => rowOf({ ...queued, ...(i % 2 ? { tenant: 'z' } : {}) }))
      for (const row of asked) await store.claim(row, {})
      const began = performance.now()
      const { held, next } = await store.due(30, lease, { without })
      assert.equal(held.length, 30)
      assert.equal(next, 0)
      const rest = await store.due(30, lease, { without })
      assert.ok(performance.now() - began < 2_000)
      assert.equal(rest.next, undefined)
      const ids = [...held, ...rest.held].map(({ row }) => row.id)
      assert.deepEqual(ids.toSorted(), asked.map(({ id }) => id).toSorted())
    })

    it('P10: more of them than one call looks at hide nothing for good', async () => {
      const { store, schema: own } = await fresh()
      const without = await fill(own, 12_000)
      for (let i = 0; i < 20; i++) await store.claim(rowOf({ ...queued, tenant: 'a' }), {})
      await store.claim(rowOf({ ...queued, tenant: 'z' }), {})
      const seen: (string | undefined)[] = []
      for (let call = 0; call < 4; call++) {
        const { held, next } = await store.due(5, lease, { without })
        assert.ok(next !== undefined && next <= 100)
        seen.push(...held.map(({ row }) => row.tenant))
      }
      assert.ok(seen.includes('z'))
      assert.ok(seen.includes('a'))
    })

    it('turns go around all tenants, from call to call', async () => {
      const { store } = await fresh()
      const tenants = ['a', 'b', 'c', 'd', 'e']
      for (let i = 0; i < 4; i++) for (const tenant of tenants) await store.claim(rowOf({ ...queued, tenant }), {})
      const seen: (string | undefined)[] = []
      for (let i = 0; i < 10; i++) seen.push(...(await store.due(2, lease)).held.map(({ row }) => row.tenant))
      for (let i = 0; i < seen.length; i += 5) assert.deepEqual(seen.slice(i, i + 5).toSorted(), tenants)
    })

    for (const [name, index] of Object.entries({ 'by time': undefined, 'by a tag': { tag: 'x' } } as const))
      it(`P10: a page of a list ${name} costs the same however much there is`, async () => {
        const counts: number[] = []
        for (const n of [1_000, 8_000]) {
          const { schema: own } = await fresh()
          await flood(
            own,
            Array.from({ length: n }, () => rowOf()),
            0,
            0,
          )
          counts.push(
            await reads(own, async (inside) => {
              const { unreadable } = await inside.list({ limit: 10, tenant: 'big', ...(index ? { index } : {}) })
              assert.equal(unreadable?.length, 10)
            }),
          )
        }
        assert.ok(counts[1]! < counts[0]! * 1.5 + 50, `${counts}`)
      })
  })
})
