import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { functions } from '../../src/stores/postgres/functions.ts'
import { type PostgresPool, type PostgresStoreOptions, postgres } from '../../src/stores/postgres.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { claimed, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { overPostgres } from '../support/postgres-server.ts'
import { freshStore, inTransaction } from '../support/postgres-store.ts'

const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000
const queued = { status: 'queued', kind: 'queue' } as const
const windows = [{ limit: 5, per: day }]

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected

/** Every verb, most with something to do. */
async function everyVerb(store: MailStore): Promise<void> {
  const look = { keys: ['ada@example.com', 'b@x.example'], scopes: ['all'] }
  await store.suppress.add([suppression({ key: 'b@x.example' }), suppression({ key: 'c@x.example', expiresAt: 1 })])
  const row = rowOf({ key: 'k', tags: ['x'], work: work(), providerMessageId: 'p' })
  const fence = await claimed(store, row)
  await store.claim(rowOf({ key: 'k' }), { lease, look })
  await store.renew({ ...row, accepted: true }, fence, lease.ms, look)
  await store.settle({ ...row, status: 'unknown', providerMessageId: 'q' }, fence)
  const held = await store.takeover(row.id, ['unknown'], lease)
  await store.settle({ ...row, status: 'sent' }, held!.fence, { release: true })
  await store.read(row.id)
  await store.find({ messageId: row.messageId })
  await store.find({ providerMessageId: 'p' })
  for (const index of [undefined, { status: 'sent' }, { status: 'dispatching' }, { tag: 'x' }] as const) {
    await store.list(index ? { index } : {})
  }
  await store.claim(rowOf({ ...queued, tenant: 't' }), {})
  await store.claim(rowOf({ kind: 'queue', status: 'scheduled', dueAt: 1 }), {})
  const { held: due } = await store.due(10, lease)
  for (const one of due) await store.settle(one.row, one.fence, { delay: 1 })
  await store.due(10, lease, { lost: true })
  await store.suppress.hasMany(undefined, look.keys, look.scopes)
  await store.suppress.get(undefined, 'b@x.example')
  await store.suppress.list(undefined, {})
  await store.suppress.remove(undefined, 'b@x.example')
  const take = await store.limits.take('k', windows, 2)
  await store.limits.refund('k', windows, 1, (take as { at: number }).at)
  await store.limits.take('k', windows, 9)
  await store.limits.usage('k', windows)
  await store.counters.add('c', 1)
  await store.counters.read(['c'])
  await store.once('e', 1)
}

/** A pool that counts the statements it is given. */
function counting(pool: Pool) {
  const counted = {
    statements: 0,
    async connect() {
      const client = await pool.connect()
      return {
        query(text: string, values?: unknown[]) {
          counted.statements++
          return client.query(text, values)
        },
        release: (destroy?: boolean | Error) => client.release(destroy),
      }
    },
    query: () => assert.fail('every call takes a connection'),
  } satisfies PostgresPool & { statements: number }
  return counted
}

await overPostgres('postgres, verb by verb', (server) => {
  const schema = server.schema()
  const pool = server.pool()
  const open = (options: Partial<PostgresStoreOptions> = {}) => postgres({ pool, schema, ...options })
  const fresh = (options: Partial<PostgresStoreOptions> = {}) => freshStore(server, pool, options)
  before(async () => {
    await open().read('msg_none')
  })

  it('every verb is one round trip', async () => {
    const counter = counting(pool)
    const { store } = await fresh({ pool: counter })
    // Whoever may add to the queue first counts it.
    await store.claim(rowOf(queued), {})
    let verbs = 0
    const count = <T extends object>(part: T): T =>
      new Proxy(part, {
        get(target, name) {
          const value = Reflect.get(target, name) as unknown
          if (typeof value === 'object' && value !== null) return count(value)
          if (typeof value !== 'function') return value
          return async (...args: unknown[]) => {
            const earlier = counter.statements
            const answer = await (value.call(target, ...args) as unknown)
            verbs++
            assert.equal(counter.statements - earlier, 1, String(name))
            return answer
          }
        },
      })
    await everyVerb(count(store))
    assert.ok(verbs > 30)
  })

  it('what is called is what is there, parameter by parameter', async () => {
    const { rows } = await pool.query(
      `SELECT proname AS name, array_to_string(proargnames[2:pronargs], ' ') AS parameters FROM pg_proc
        WHERE pronamespace = $1::regnamespace AND proargnames[1] = '_deadline' AND proname <> 'in_time'`,
      [`"${schema}"`],
    )
    const there = Object.fromEntries(rows.map(({ name, parameters }) => [name, parameters.replaceAll(/\b_/g, '')]))
    assert.deepEqual(there, { ...functions })
  })

  it('P10: no verb reads a table from end to end', async () => {
    const { store, schema: own } = await fresh()
    await everyVerb(store)
    await inTransaction(pool, async (inside, client) => {
      const within = postgres({ pool: inside, schema: own })
      await within.read('msg_none')
      const scans = async () =>
        (
          await client.query(
            'SELECT relname, seq_scan::int FROM pg_stat_xact_user_tables WHERE schemaname = $1 ORDER BY relname',
            [own],
          )
        ).rows
      const before = await scans()
      await everyVerb(within)
      assert.deepEqual(await scans(), before)
    })
  })

  it('two schemas do not meet', async () => {
    const [one, other] = [await fresh(), await fresh()]
    const row = rowOf({ key: 'k' })
    for (const { store } of [one, other]) {
      assert.equal((await store.claim(row, { lease })).state, 'claimed')
      assert.equal((await store.limits.take('k', [{ limit: 1, per: day }], 1)).ok, true)
      assert.equal(await store.once('e', day), true)
    }
    await one.store.suppress.add([suppression()])
    assert.deepEqual(await other.store.suppress.get(undefined, 'ada@example.com'), [])
  })

  it('a schema may have any plain name', async () => {
    const own = `${server.schema()}_Select`
    try {
      await everyVerb(open({ schema: own }))
    } finally {
      await pool.query(`SET client_min_messages = warning; DROP SCHEMA "${own}" CASCADE`)
    }
  })

  it('runs over a pool that lends no connections', async () => {
    const { store } = await fresh({ pool: { query: (text, values) => pool.query(text, values) } })
    await everyVerb(store)
    await Promise.all(Array.from({ length: 50 }, () => store.once('one', day)))
  })

  describe('with the clock of the server', () => {
    it('leases, delays and moments pass', async () => {
      const { store } = await fresh()
      const row = rowOf({ key: 'k' })
      await store.claim(row, { lease: { owner: 'a', ms: 300 } })
      assert.equal(await store.takeover(row.id, ['dispatching'], lease), undefined)
      const delayed = rowOf({ kind: 'queue' })
      await store.settle({ ...delayed, status: 'queued' }, await claimed(store, delayed), { delay: 300 })
      const scheduled = rowOf({ kind: 'queue', status: 'scheduled', dueAt: Date.now() + 300 })
      await store.claim(scheduled, {})
      const { held, next } = await store.due(10, lease)
      assert.deepEqual(held, [])
      assert.ok(next! > 0 && next! <= 300)
      await sleep(350)
      const due = await store.due(10, lease)
      assert.deepEqual(new Set(due.held.map((one) => one.row.id)), new Set([row.id, delayed.id, scheduled.id]))
    })

    it('windows of every length count, and say when', async () => {
      const { store } = await fresh()
      for (const per of [1, 50, 1_000, 20_000, 60_000, 3_600_000, 30 * day]) {
        const take = await store.limits.take(`${per}`, [{ limit: 1, per }], 1)
        assert.ok(take.ok && Math.abs(take.at - Date.now()) < 60_000)
        const refused = await store.limits.take(`${per}`, [{ limit: 0, per }], 0)
        assert.ok(per < 1_000 || (!refused.ok && refused.retryAfter <= (per * 62) / 60 + 1))
      }
    })
  })

  it('refuses a cursor that is none of its own', async () => {
    const store = open()
    const made = (place: unknown) => Buffer.from(JSON.stringify(place)).toString('base64url')
    for (const cursor of [
      'x',
      '',
      '-1',
      made([]),
      made([1]),
      made(['a', 1]),
      made({}),
      `${made([1, 'a'])}=`,
      made([1, 'a', 2]),
    ]) {
      await assert.rejects(async () => store.list({ cursor }), code('VALIDATION_ERROR'))
      await assert.rejects(async () => store.suppress.list(undefined, { cursor }), code('VALIDATION_ERROR'))
    }
  })

  it('refuses options it cannot work with at once', () => {
    const refused: unknown[] = [
      undefined,
      {},
      { pool: 'postgres://localhost/test' },
      { pool: {} },
      { pool: { connect() {} } },
      { pool, schema: '' },
      { pool, schema: 'a-b' },
      { pool, schema: 'a"b' },
      { pool, schema: 'pg_mail' },
      { pool, schema: 'x'.repeat(64) },
      { pool, schema: 1 },
      { pool, migrate: 'yes' },
      { pool, durability: 'none' },
      { pool, maxQueued: 0 },
      { pool, maxQueued: Number.NaN },
    ]
    for (const options of refused) {
      assert.throws(() => postgres(options as PostgresStoreOptions), code('CONFIGURATION_ERROR'))
    }
  })

  it('closed, it refuses; the pool goes on', async () => {
    const store = open()
    await store.read('msg_none')
    await store.close()
    await assert.rejects(async () => store.read('msg_none'), code('CLOSED'))
    assert.equal((await pool.query('SELECT 1 AS one')).rows[0].one, 1)
  })
})
