import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, type Pool } from 'pg'
import { MailError } from '../../src/errors.ts'
import { type PostgresPool, postgres } from '../../src/stores/postgres.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { claimed, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { flakyProxy } from '../support/flaky-proxy.ts'
import { checkPostgresData } from '../support/postgres-data.ts'
import { type OwnPostgres, overPostgres, reasonNotToStart, startPostgres } from '../support/postgres-server.ts'

const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000

/** Fails as a store fails, and tells nothing of what it was asked, nor what the driver said. */
async function unavailable(ask: Promise<unknown> | unknown, message = /./): Promise<void> {
  await assert.rejects(
    async () => ask,
    (error) => {
      assert.ok(error instanceof MailError && error.code === 'STORE_UNAVAILABLE', String(error))
      assert.match(error.message, message)
      assert.doesNotMatch(JSON.stringify(error), /ada@|acme|terminat|ECONN|socket|select/i)
      assert.equal(error.cause, undefined)
      return true
    },
  )
}

await overPostgres('postgres with faults', (server) => {
  const schema = server.schema()
  const pool = server.pool()
  const straight = postgres({ pool, schema })
  before(async () => {
    await straight.read('msg_none')
  })

  /** A session that holds what it locks until it is ended. */
  async function locking(test: TestContext, text: string): Promise<Client> {
    const client = new Client(server.config)
    client.on('error', () => {})
    await client.connect()
    test.after(() => client.end())
    await client.query(`BEGIN; ${text.replaceAll('s.', `"${schema}".`)}`)
    return client
  }

  async function overProxy(test: TestContext) {
    const { host, port } = new Client(server.config)
    const proxy = await flakyProxy(port, host)
    const through = server.pool({ host: proxy.host, port: proxy.port, max: 4 })
    test.after(() => proxy.close())
    const store = postgres({ pool: through, schema })
    await store.read('msg_none')
    return { proxy, store, through }
  }

  /** Ends the sessions of `over` that stand at a statement like `text`. */
  const terminate = (text: string) =>
    pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE query LIKE $1 AND pid <> pg_backend_pid() AND query LIKE $2`,
      [`%${text}%`, `%${schema}%`],
    )

  describe('a small pool', () => {
    it('of one connection serves all', async () => {
      const one = server.pool({ max: 1 })
      const store = postgres({ pool: one, schema })
      const rows = Array.from({ length: 50 }, () => rowOf())
      await Promise.all(rows.map((row) => claimed(store, row)))
      assert.equal(one.totalCount, 1)
    })

    it('P9 P10: that is used up fails its calls in time, does nothing for them later, and is not flooded', async () => {
      const one = server.pool({ max: 1 })
      const store = postgres({ pool: one, schema })
      await store.read('msg_none')
      const taken = await one.connect()
      const rows = Array.from({ length: 200 }, () => rowOf())
      const claims = rows.map((row) => unavailable(store.claim(row, { lease }), /pool/))
      await sleep(100)
      assert.ok(one.waitingCount <= 64, `${one.waitingCount} wait`)
      await Promise.all(claims)
      taken.release()
      await claimed(store, rowOf())
      await sleep(50)
      assert.deepEqual([one.waitingCount, one.idleCount], [0, 1])
      for (const { id } of rows) assert.equal(await straight.read(id), undefined)
    })

    it('P10: lending none, and used up: what its turn comes too late for is not done', async () => {
      const one = server.pool({ max: 1 })
      const store = postgres({ pool: { query: (text, values) => one.query(text, values) }, schema })
      await store.read('msg_none')
      const taken = await one.connect()
      const rows = Array.from({ length: 10 }, () => rowOf())
      await Promise.all(rows.map((row) => unavailable(store.claim(row, { lease }))))
      taken.release()
      await claimed(store, rowOf())
      for (const { id } of rows) assert.equal(await straight.read(id), undefined)
    })

    it('a connection that comes late serves who waits by then', async () => {
      const one = server.pool({ max: 1 })
      const store = postgres({ pool: one, schema })
      await store.read('msg_none')
      const taken = await one.connect()
      await unavailable(store.claim(rowOf(), { lease }))
      const row = rowOf()
      const claim = store.claim(row, { lease })
      taken.release()
      assert.equal((await claim).state, 'claimed')
      assert.equal(one.idleCount, 1)
    })
  })

  it('what is no pool after all is a CONFIGURATION_ERROR', async (test) => {
    const client = new Client(server.config)
    test.after(() => client.end())
    const store = postgres({ pool: client as unknown as PostgresPool, schema })
    await assert.rejects(async () => store.read('msg_none'), { code: 'CONFIGURATION_ERROR' })
  })

  describe('a network', () => {
    it('P9: that goes silent fails the call, and what arrives too late is not done', async (test) => {
      const { proxy, store } = await overProxy(test)
      const row = rowOf({ key: 'silent' })
      const fence = await claimed(store, row)
      proxy.pause()
      const late = rowOf()
      const calls = [
        store.claim(late, { lease }),
        store.settle({ ...row, status: 'sent' }, fence),
        store.limits.take('silent', [{ limit: 5, per: day }], 1),
        store.once('silent', day),
        store.suppress.add([suppression({ key: 'silent@x.example' })]),
        store.counters.add('silent', 1),
      ]
      await Promise.all(calls.map((call) => unavailable(call)))
      proxy.resume()
      await sleep(300)
      assert.equal(await straight.read(late.id), undefined)
      assert.deepEqual(await straight.read(row.id), row)
      assert.deepEqual(await straight.limits.usage('silent', [{ limit: 5, per: day }]), [0])
      assert.deepEqual(await straight.counters.read(['silent']), [0])
      assert.deepEqual(await straight.suppress.get(undefined, 'silent@x.example'), [])
      assert.equal(await straight.once('silent', day), true)
      assert.equal(await store.settle({ ...row, status: 'sent' }, fence), true)
    })

    it('P1 P7: cut at any byte of the answer leaves a claim that was made or was not, and one effect', async (test) => {
      const { proxy, store } = await overProxy(test)
      for (let bytes = 0; bytes < 400; bytes += 16) {
        const row = rowOf({ key: `cut ${bytes}`, work: work() })
        proxy.cutAfter(bytes)
        await claimed(store, row).catch((error) => assert.equal(error.code, 'STORE_UNAVAILABLE'))
        proxy.cut()
        await sleep(1)
        const again = await straight.claim(rowOf({ key: `cut ${bytes}` }), { lease })
        const there = await straight.read(row.id)
        assert.equal(again.state, there ? 'held' : 'claimed')
        if (there) assert.deepEqual(there, row)
      }
      await checkPostgresData(pool, schema)
      await claimed(store, rowOf())
    })

    it('P9: that refuses connections fails, and works when it does not', async (test) => {
      const { proxy, store } = await overProxy(test)
      proxy.refuse()
      await unavailable(store.claim(rowOf(), { lease }))
      await unavailable(store.claim(rowOf(), { lease }))
      proxy.resume()
      await claimed(store, rowOf())
    })
  })

  describe('a server', () => {
    it('P9: that ends the session in the middle of a call', async (test) => {
      const store = postgres({ pool: server.pool({ max: 2 }), schema })
      const row = rowOf()
      const fence = await claimed(store, row)
      await locking(test, `SELECT FROM s.messages WHERE id = '${row.id}' FOR UPDATE`)
      const settling = unavailable(store.settle({ ...row, status: 'sent' }, fence), /57P01/)
      for (let ended = 0; ended === 0; ) ended = (await terminate('.settle(')).rowCount ?? 0
      await settling
      assert.deepEqual(await store.read(row.id), row)
    })

    it('P9: that ends idle sessions', async () => {
      const own = server.pool({ max: 2 })
      const store = postgres({ pool: own, schema })
      await Promise.all([store.once('a', 1), store.once('b', 1)])
      await terminate('.once(')
      await sleep(50)
      await claimed(store, rowOf())
    })

    it('P9: where others hold a lock for long: the call fails, and does not happen when they let go', async (test) => {
      const row = rowOf()
      const fence = await claimed(straight, row)
      const other = await locking(test, `SELECT FROM s.messages WHERE id = '${row.id}' FOR UPDATE`)
      await unavailable(straight.settle({ ...row, status: 'sent' }, fence), /55P03/)
      await other.query('ROLLBACK')
      await sleep(50)
      assert.deepEqual(await straight.read(row.id), row)
      assert.equal(await straight.settle({ ...row, status: 'sent' }, fence), true)
    })

    it('rolls back what a lock has delayed beyond its deadline; there may be time to ask again', async (test) => {
      const row = rowOf()
      const fence = await claimed(straight, row)
      const other = await locking(test, `SELECT FROM s.messages WHERE id = '${row.id}' FOR UPDATE`)
      const errors: unknown[] = []
      let release: Promise<unknown> | undefined
      const hurried: PostgresPool = {
        async query(text, values = []) {
          if (!text.includes('.settle(') || errors.length > 0) return pool.query(text, values)
          const { rows } = await pool.query(
            'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS time',
          )
          release = sleep(300).then(() => other.query('ROLLBACK'))
          const answer = pool.query(text, [Number(rows[0].time) + 100, ...values.slice(1)])
          return answer.catch(async (error) => {
            errors.push(error.code)
            assert.deepEqual(await straight.read(row.id), row)
            throw error
          })
        },
      }
      const store = postgres({ pool: hurried, schema })
      assert.equal(await store.settle({ ...row, status: 'sent' }, fence), true)
      assert.deepEqual(errors, ['SW001'])
      await release
    })

    it('whose clock was set forward is asked again, once', async () => {
      const calls: unknown[] = []
      const behind: PostgresPool = {
        query(text, values = []) {
          const [deadline, ...rest] = values
          const isCall = /\.claim\(/.test(text)
          if (isCall) calls.push(deadline)
          // The first deadline is of an hour ago on the server's clock.
          return pool.query(text, isCall && calls.length === 1 ? [Number(deadline) - 3_600_000, ...rest] : values)
        },
      }
      const store = postgres({ pool: behind, schema })
      await claimed(store, rowOf())
      assert.equal(calls.length, 2)
    })
  })

  describe('a server of its own', { skip: reasonNotToStart() ?? false }, () => {
    let own: OwnPostgres
    before(async () => {
      own = await startPostgres({ settings: ['max_connections=10', 'superuser_reserved_connections=0'] })
    })
    after(() => own.stop())
    const open = (max: number): { store: MailStore; pool: Pool } => {
      const mine = server.pool({ ...own.config, max })
      return { store: postgres({ pool: mine }), pool: mine }
    }

    it('D1: killed, it is unavailable; started again it has everything it had confirmed', async () => {
      const { store } = open(4)
      const rows = Array.from({ length: 50 }, () => rowOf({ key: `k${Math.random()}`, work: work() }))
      const confirmed: typeof rows = []
      const writing = Promise.allSettled(
        rows.map(async (row) => {
          await claimed(store, row)
          confirmed.push(row)
        }),
      )
      while (confirmed.length < 10) await sleep(1)
      await own.kill()
      await writing
      await unavailable(store.read('msg_none'))
      await own.start()
      for (const row of confirmed) assert.deepEqual(await store.read(row.id), row)
      await claimed(store, rowOf())
    })

    it('P9: with too many connections', async () => {
      const { store, pool: mine } = open(20)
      await store.read('msg_none')
      const all = await Promise.allSettled(Array.from({ length: 200 }, async () => store.once(`${Math.random()}`, day)))
      const failed = all.filter((one) => one.status === 'rejected')
      for (const { reason } of failed) assert.equal(reason.code, 'STORE_UNAVAILABLE')
      assert.ok(mine.totalCount <= 10)
      await claimed(store, rowOf())
    })
  })
})
