import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import KeyvPostgres from '@keyv/postgres'
import KeyvRedis from '@keyv/redis'
import { Pool, type PoolConfig } from 'pg'
import { memory as provider } from '../../providers/memory.ts'
import { createMailer } from '../../src/create-mailer.ts'
import { MailError } from '../../src/errors.ts'
import { keyvStore } from '../../src/stores/keyv.ts'
import { dataName } from '../../src/stores/keyv-client-store.ts'
import { postgres } from '../../src/stores/postgres.ts'
import { redis } from '../../src/stores/redis.ts'
import type { Awaitable } from '../../src/stores/store.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rowOf } from '../../src/testing/stores/samples.ts'
import {
  type AdapterName,
  type AnyKeyv,
  adapters,
  keyvTable,
  type VersionName,
  versions,
} from '../support/keyv-adapters.ts'
import { emptyStore, findPostgres, query, reasonNotToStart, startPostgres } from '../support/postgres-server.ts'
import { start } from '../support/program.ts'
import { findRedis, hasRedisServer, removeKeys, startRedis } from '../support/redis-server.ts'

/** Namespaces of this run: nobody else on the server has them. */
const run = `test_${process.pid}_${Math.random().toString(36).slice(2, 8)}`
let count = 0
const nextNamespace = () => `${run}_${++count}`
const lease = { owner: 'test', ms: 40_000 }

/** Where a kind of adapter finds its server. */
interface Ground {
  readonly names: readonly AdapterName[]
  address(): string
  /** A namespace with nothing in it. */
  namespace(): Promise<string>
  readonly guarantees: object
}

const grounds: Ground[] = []

const folder = mkdtempSync(join(tmpdir(), 'sendwright-keyv-'))
after(() => rmSync(folder, { recursive: true }))
grounds.push({
  names: ['sqlite'],
  address: () => join(folder, `${count}.db`),
  namespace: async () => nextNamespace(),
  guarantees: { scope: 'host', durability: 'power-loss', list: true },
})

const redisServer = await findRedis()
if ('skip' in redisServer) it('over @keyv/redis and @keyv/valkey', { skip: redisServer.skip }, () => {})
else {
  after(async () => {
    await removeKeys(redisServer.url, dataName(run))
    await redisServer.stop()
  })
  grounds.push({
    names: ['@keyv/redis', '@keyv/valkey'],
    address: () => redisServer.url,
    namespace: async () => nextNamespace(),
    guarantees: redis({ client: { isOpen: true, sendCommand: async () => null } }).guarantees,
  })
}

const postgresServer = await findPostgres()
if ('skip' in postgresServer) it('over @keyv/postgres', { skip: postgresServer.skip }, () => {})
else {
  const { config } = postgresServer
  const namespace = nextNamespace()
  let pool: Pool | undefined
  after(async () => {
    await pool?.end()
    const schemas = await query(config, 'SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)', [
      dataName(run),
    ])
    for (const { nspname } of schemas) await query(config, `DROP SCHEMA "${nspname}" CASCADE`)
    await query(config, `DROP TABLE IF EXISTS ${keyvTable}`)
    await postgresServer.stop()
  })
  grounds.push({
    names: ['@keyv/postgres'],
    address: () => uriOf(config),
    // Emptying a schema is faster than making one.
    async namespace() {
      pool ??= new Pool(config)
      const schema = dataName(namespace)
      const { rowCount } = await pool.query('SELECT 1 FROM pg_namespace WHERE nspname = $1', [schema])
      if (rowCount === 1) await emptyStore(pool, schema)
      return namespace
    },
    guarantees: postgres({ pool: { query: async () => ({ rows: [] }) } }).guarantees,
  })
}

const uriOf = ({ connectionString, user, host, port, database }: PoolConfig): string =>
  connectionString ?? `postgres://${user ?? ''}@${host ?? ''}:${port ?? ''}/${database ?? ''}`

const isUnavailable = (error: unknown) => error instanceof MailError && error.code === 'STORE_UNAVAILABLE'

/** Asks until there is an answer. */
async function answered<T>(ask: () => Awaitable<T>): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      assert.ok(isUnavailable(error), String(error))
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

async function closing<T>(keyv: AnyKeyv, body: () => Promise<T>): Promise<T> {
  try {
    return await body()
  } finally {
    await keyv.disconnect()
  }
}

for (const { names, address, namespace, guarantees } of grounds) {
  for (const name of names) {
    for (const version of Object.keys(versions) as VersionName[]) {
      const open = (space?: string) => versions[version](adapters[name](address()), space)

      // A store of ours has a clock of its own, and its own tests. The bridge of Keyv 6 is no longer there once the client
      // is found, and with PostgreSQL the suite takes long.
      if (name !== 'sqlite' && !(name === '@keyv/postgres' && version === 'keyv 6.1')) {
        describeStore(
          `${version} over ${name}`,
          async () => {
            const clock = fakeClock()
            const keyv = open(await namespace())
            const store = keyvStore(keyv, { clock })
            const close = async () => {
              await store.close()
              await keyv.disconnect()
            }
            return { store: { ...store, close }, now: clock.now, advance: clock.advance, step: clock.step }
          },
          // A thousand calls at once over ten connections are a matter of the machine; two processes make them below.
          { describe, it: (title, test) => (/thousand/.test(title) && name === '@keyv/postgres') || it(title, test) },
        )
      }

      describe(`${version} over ${name}: the client is used directly`, () => {
        it('tells the guarantees of its engine at once, and a shared scope is taken', async () => {
          const keyv = open(await namespace())
          await closing(keyv, async () => {
            const store = keyvStore(keyv)
            assert.deepEqual(store.guarantees, guarantees)
            assert.deepEqual(await store.list({}), { items: [] })
            await store.close()
            const mailer = createMailer({ providers: { none: provider() }, store: keyv, scope: 'shared' })
            await mailer.close()
          })
        })

        it('P7: mailers over Keyvs of their own answer one key once', async () => {
          const space = await namespace()
          const keyvs = [open(space), open(space)]
          const sent = provider()
          const mailers = keyvs.map((store) =>
            createMailer({ providers: { memory: sent }, store, scope: 'shared', from: 'hello@acme.example' }),
          )
          try {
            const receipts = await Promise.all(
              [0, 1, 2, 3].map((i) =>
                mailers[i % 2]!.send(
                  { to: 'ada@example.com', subject: 'Your order', text: 'It is on its way.' },
                  { idempotencyKey: 'order-1048' },
                ),
              ),
            )
            assert.equal(new Set(receipts.map(({ id }) => id)).size, 1)
            assert.equal(receipts.filter(({ replayed }) => !replayed).length, 1)
            assert.equal(sent.sent().length, 1)
            assert.equal((await mailers[0]!.messages.list({})).items.length, 1)
          } finally {
            for (const mailer of mailers) await mailer.close()
            // Not closed by us: the application goes on with its Keyv.
            for (const keyv of keyvs) {
              assert.equal(await keyv.set('app', 1), true)
              assert.equal(await keyv.get('app'), 1)
              await keyv.delete('app')
            }
            await keyvs[0]!.disconnect()
            if (name !== '@keyv/postgres') await keyvs[1]!.disconnect()
          }
        })

        it('P7: 1000 concurrent claims of a key from two processes have one winner', async (test) => {
          const args = [name, version, address(), await namespace(), 'order-1048']
          const programs = [0, 1].map(() =>
            start(test, join(import.meta.dirname, 'programs/keyv-claims.ts'), { PG_KEYV_TABLE: keyvTable }, args),
          )
          for (const program of programs) await program.printed(/ready/)
          for (const program of programs) program.child.stdin!.write('go\n')
          // They end by themselves: nothing of ours holds them.
          for (const program of programs) assert.equal(await program.ended, 0, program.err)
          const wins = programs.map(({ out }) => Number(/won (\d+)/.exec(out)?.[1]))
          assert.deepEqual(wins.sort(), [0, 1])
        })

        if (name === '@keyv/postgres') {
          it('enqueues in a transaction of the application', async () => {
            const keyv = open(await namespace())
            const pool = new Pool({ connectionString: address() })
            const mailer = createMailer({ providers: { none: provider() }, store: keyv, from: 'hello@acme.example' })
            try {
              const client = await pool.connect()
              const ids: string[] = []
              for (const end of ['ROLLBACK', 'COMMIT']) {
                await client.query('BEGIN')
                const message = { to: 'ada@example.com', subject: 'Your order', text: end }
                ids.push((await mailer.enqueue(message, { transaction: client })).id)
                await client.query(end)
              }
              client.release()
              assert.equal(await mailer.messages.get(ids[0]!), undefined)
              assert.equal((await mailer.messages.get(ids[1]!))?.status, 'queued')
            } finally {
              await mailer.close()
              await pool.end()
              await keyv.disconnect()
            }
          })
        }

        if (name !== 'sqlite') {
          it('P8: Keyvs with namespaces of their own share nothing, and with one namespace everything', async () => {
            const space = await namespace()
            const keyvs = [space, nextNamespace(), `${nextNamespace()}:EU "1"}`, space].map(open)
            try {
              const stores = keyvs.map((keyv) => keyvStore(keyv))
              const states: string[] = []
              for (const store of stores) states.push((await store.claim(rowOf({ key: 'k' }), { lease })).state)
              assert.deepEqual(states, ['claimed', 'claimed', 'claimed', 'held'])
              for (const store of stores) await store.close()
            } finally {
              await keyvs[0]!.disconnect()
              if (name !== '@keyv/postgres') for (const keyv of keyvs.slice(1)) await keyv.disconnect()
            }
          })

          it('X7: close leaves the Keyv without our listener, before the engine was loaded as well as after', async () => {
            const keyv = open(await namespace())
            await closing(keyv, async () => {
              const before = keyv.listeners!('error').length
              await keyvStore(keyv).close()
              const store = keyvStore(keyv)
              await store.read('msg_none')
              assert.equal(keyv.listeners!('error').length, before + 1)
              await store.close()
              await store.close()
              assert.equal(keyv.listeners!('error').length, before)
            })
          })
        }
      })
    }
  }
}

describe('P9: over a server that fails', { concurrency: true }, () => {
  for (const version of Object.keys(versions) as VersionName[]) {
    for (const name of ['@keyv/redis', '@keyv/valkey'] as const) {
      it(`${version} over ${name}: one that dies is a failure, and no uncaught exception`, {
        skip: !hasRedisServer() && 'no redis-server is installed',
      }, async () => {
        const server = await startRedis({ appendonly: 'always' })
        const keyv = versions[version](adapters[name](server.url), 'shop')
        const store = keyvStore(keyv)
        try {
          assert.equal(await store.once('a', 60_000), true)
          await server.kill()
          await assert.rejects(async () => store.once('a', 60_000), isUnavailable)
          await assert.rejects(async () => store.once('b', 60_000), isUnavailable)
          await server.start()
          assert.equal(await answered(() => store.once('a', 60_000)), false)
          assert.equal(await store.once('b', 60_000), true, 'what failed was not done later')
        } finally {
          await store.close()
          keyv.on('error', () => {})
          await keyv.disconnect()
          await server.stop()
        }
      })

      it(`${version} over ${name}: one that was never there is a failure`, async () => {
        const adapter = adapters[name]('redis://127.0.0.1:1')
        const keyv = versions[version](adapter, 'shop')
        const store = keyvStore(keyv)
        try {
          for (let i = 0; i < 2; i++) {
            await assert.rejects(async () => store.once('a', 60_000), isUnavailable)
          }
        } finally {
          await store.close()
          keyv.on('error', () => {})
          // A polite end would wait for the commands that wait for the server.
          if (adapter instanceof KeyvRedis) adapter.client.destroy()
          else await keyv.disconnect()
        }
      })
    }
  }
})

// One after the other: every adapter of a process has the same pool.
describe('P9: over a PostgreSQL that dies', () => {
  for (const version of Object.keys(versions) as VersionName[]) {
    const skip = reasonNotToStart() ?? false
    it(`${version} over @keyv/postgres: a failure, and no uncaught exception`, { skip }, async () => {
      const server = await startPostgres()
      const adapter = new KeyvPostgres({ uri: uriOf(server.config), idleTimeoutMillis: 1 })
      // Its own idle connections would end the process, so it has none; ours stay idle.
      await adapter.query('SELECT 1')
      const others = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
      while ((await query(server.config, others)).length > 0) await new Promise((resolve) => setTimeout(resolve, 20))
      adapter.opts.idleTimeoutMillis = 60_000
      const keyv = versions[version](adapter)
      const store = keyvStore(keyv)
      try {
        assert.equal(await store.once('a', 60_000), true)
        await server.kill()
        await assert.rejects(async () => store.once('b', 60_000), isUnavailable)
        await server.start()
        assert.equal(await answered(() => store.once('a', 60_000)), false)
        assert.equal(await store.once('b', 60_000), true)
        // Nor does the end of the adapter's pool concern ours.
        await keyv.disconnect()
        assert.equal(await store.once('b', 60_000), false)
      } finally {
        await store.close()
        await server.stop()
      }
    })
  }
})

if (!('skip' in postgresServer)) {
  for (const version of Object.keys(versions) as VersionName[]) {
    it(`${version} over an adapter of PostgreSQL that does not say where it is: through its queries`, async () => {
      const adapter = new KeyvPostgres({ uri: uriOf(postgresServer.config), table: keyvTable })
      delete adapter.opts.uri
      const keyv = versions[version](adapter, nextNamespace())
      await closing(keyv, async () => {
        const store = keyvStore(keyv)
        const claims = await Promise.all(
          Array.from({ length: 300 }, () => store.claim(rowOf({ key: 'k', tags: ['a'] }), { lease })),
        )
        assert.equal(claims.filter(({ state }) => state === 'claimed').length, 1)
        assert.equal((await store.list({ index: { tag: 'a' } })).items.length, 1)
        await store.close()
      })
    })
  }
}
