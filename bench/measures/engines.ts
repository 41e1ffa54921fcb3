import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { MailStore } from '../../src/stores/store.ts'
import { heap } from './measure.ts'

export type EngineName = 'memory' | 'sqlite' | 'redis' | 'postgres'

/** Connections of a pool to PostgreSQL, ours and the contestant's: what `pg` has by default. */
export const poolSize = 10

/** One of our stores, opened in a place of its own, and what can be known of it from outside. */
export interface OpenEngine {
  readonly store: MailStore
  /** So far: commands to Redis, statements to PostgreSQL, write transactions of SQLite. */
  trips(): number
  /** What the store takes on disk, or in the memory of the server or of this process. */
  bytes(): Promise<number>
  /** Closes it and removes what it wrote. */
  close(): Promise<void>
}

export function openEngine(name: EngineName): Promise<OpenEngine> {
  return { memory: openMemory, sqlite: openSqlite, redis: openRedis, postgres: openPostgres }[name]()
}

async function openMemory(): Promise<OpenEngine> {
  const { memory } = await import('sendwright/stores/memory')
  const store = memory()
  return { store, trips: () => 0, bytes: async () => heap(), close: async () => store.close() }
}

async function openSqlite(): Promise<OpenEngine> {
  const { sqlite } = await import('sendwright/stores/sqlite')
  const folder = await temporaryFolder()
  const path = join(folder, 'mail.db')
  const commits = countCommits()
  const store = sqlite(path)
  return {
    store,
    trips: () => commits.count,
    async bytes() {
      const database = new DatabaseSync(path)
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
      database.close()
      return (await stat(path)).size
    },
    async close() {
      await store.close()
      await rm(folder, { recursive: true })
    },
  }
}

async function openRedis(): Promise<OpenEngine> {
  const { redis } = await import('sendwright/stores/redis')
  const { removeKeys, runPrefix } = await import('../../test/support/redis-server.ts')
  const { client, stop, url } = await connectRedis()
  const prefix = `${runPrefix}-bench`
  let trips = 0
  const counting = {
    isOpen: true,
    sendCommand(command: string[]) {
      trips++
      return client.sendCommand(command)
    },
  }
  const store = redis({ client: counting, prefix })
  return {
    store,
    trips: () => trips,
    async bytes() {
      let bytes = 0
      for await (const keys of client.scanIterator({ MATCH: `{${prefix}}*`, COUNT: 1_000 })) {
        const sizes = await Promise.all(keys.map((key) => client.sendCommand(['MEMORY', 'USAGE', key, 'SAMPLES', '0'])))
        for (const size of sizes) bytes += Number(size)
      }
      return bytes
    },
    async close() {
      await store.close()
      client.destroy()
      await removeKeys(url, prefix)
      await stop()
    },
  }
}

async function openPostgres(): Promise<OpenEngine> {
  const { postgres } = await import('sendwright/stores/postgres')
  const { ownSchema, query } = await import('../../test/support/postgres-server.ts')
  const { pool, config, stop } = await connectPostgres()
  const { schema, drop } = ownSchema(config)
  let trips = 0
  pool.on('connect', (client) => {
    const ask = client.query
    client.query = ((...args: Parameters<typeof ask>) => {
      trips++
      return Reflect.apply(ask, client, args)
    }) as typeof ask
  })
  const store = postgres({ pool, schema })
  return {
    store,
    trips: () => trips,
    async bytes() {
      const tables = `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = $1`
      for (const { name } of await query(config, tables, [schema])) await query(config, `VACUUM ${name}`)
      const [sum] = await query(
        config,
        `SELECT sum(pg_total_relation_size(format('%I.%I', schemaname, tablename)::regclass)) AS bytes
          FROM pg_tables WHERE schemaname = $1`,
        [schema],
      )
      return Number(sum!.bytes)
    },
    async close() {
      await store.close()
      await pool.end()
      await drop()
      await stop()
    },
  }
}

export const temporaryFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'sendwright-bench-'))

export async function connectRedis() {
  const { createClient } = await import('redis')
  const { findRedis } = await import('../../test/support/redis-server.ts')
  const found = await findRedis()
  if ('skip' in found) throw new Error(found.skip)
  const client = await createClient({ url: found.url }).on('error', report).connect()
  return { ...found, client }
}

export async function connectPostgres() {
  const { Pool } = await import('pg')
  const { findPostgres } = await import('../../test/support/postgres-server.ts')
  const found = await findPostgres()
  if ('skip' in found) throw new Error(found.skip)
  const pool = new Pool({ ...found.config, max: poolSize })
  pool.on('error', report)
  return { ...found, pool }
}

const report = (error: Error): void => console.error(error.message)

/** Counts the write transactions of databases that are opened from now on: with `synchronous=FULL` each is one fsync. */
export function countCommits(): { readonly count: number } {
  const commits = { count: 0 }
  const prepare = DatabaseSync.prototype.prepare
  DatabaseSync.prototype.prepare = function (...args) {
    const statement = Reflect.apply(prepare, this, args)
    if (args[0] === 'BEGIN IMMEDIATE') {
      const run = statement.run.bind(statement)
      statement.run = () => {
        commits.count++
        return run()
      }
    }
    return statement
  }
  return commits
}
