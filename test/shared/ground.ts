import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Pool, type PoolConfig } from 'pg'
import { createClient } from 'redis'
import type { Clock, MailStore } from '../../src/index.ts'
import { postgres } from '../../src/stores/postgres.ts'
import { redis } from '../../src/stores/redis.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import { findPostgres, ownSchema } from '../support/postgres-server.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'

/** Where a store is, as plain JSON, so that every process of a test opens the same one. */
export type Ground =
  | { readonly engine: 'sqlite'; readonly path: string }
  | { readonly engine: 'redis'; readonly url: string; readonly prefix: string }
  | { readonly engine: 'postgres'; readonly config: PoolConfig; readonly schema: string }

export type EngineName = Ground['engine']

export const engineNames: readonly EngineName[] = ['sqlite', 'redis', 'postgres']

export interface OpenStore {
  readonly store: MailStore
  /** Closes the connections the store was given; the store itself is its mailer's to close. */
  free(): Promise<void>
}

/** Opens it as an application is told to; `clock` replaces the engine's own. The server need not be there yet. */
export function open(ground: Ground, clock?: Clock): OpenStore {
  const time = clock === undefined ? {} : { clock }
  switch (ground.engine) {
    case 'sqlite':
      return { store: sqlite(ground.path, time), free: async () => undefined }
    case 'redis': {
      const client = createClient({ url: ground.url, socket: { reconnectStrategy: 50 } }).on('error', () => {})
      client.connect().catch(() => {})
      return { store: redis({ client, prefix: ground.prefix, ...time }), free: async () => client.destroy() }
    }
    case 'postgres': {
      const pool = new Pool({ ...ground.config, max: 4, connectionTimeoutMillis: 1_000 }).on('error', () => {})
      return { store: postgres({ pool, schema: ground.schema, ...time }), free: () => pool.end() }
    }
  }
}

/** An engine that is there, and makes places for stores. */
export interface Engine {
  readonly name: EngineName
  /** Where a new store, with nothing in it, will be. */
  newGround(): Ground
  /** Removes what was stored, and ends the server if it was started for this. */
  close(): Promise<void>
}

/** The engine, or why there is none, in one line. */
export async function findEngine(name: EngineName): Promise<Engine | { readonly skip: string }> {
  switch (name) {
    case 'sqlite':
      return sqliteEngine()
    case 'redis':
      return redisEngine()
    case 'postgres':
      return postgresEngine()
  }
}

export function sqliteEngine(): Engine {
  const folder = mkdtempSync(join(tmpdir(), 'sendwright-shared-'))
  return {
    name: 'sqlite',
    newGround: () => ({ engine: 'sqlite', path: join(mkdtempSync(join(folder, 'sqlite-')), 'mail.db') }),
    close: async () => rmSync(folder, { recursive: true }),
  }
}

async function redisEngine(): Promise<Engine | { readonly skip: string }> {
  const server = await findRedis()
  if ('skip' in server) return server
  let grounds = 0
  return {
    name: 'redis',
    newGround: () => ({ engine: 'redis', url: server.url, prefix: `${runPrefix}-shared-${++grounds}` }),
    async close() {
      await removeKeys(server.url)
      await server.stop()
    },
  }
}

async function postgresEngine(): Promise<Engine | { readonly skip: string }> {
  const server = await findPostgres()
  if ('skip' in server) return server
  const { config } = server
  const made: { drop(): Promise<void> }[] = []
  return {
    name: 'postgres',
    newGround() {
      const own = ownSchema(config)
      made.push(own)
      return { engine: 'postgres', config, schema: own.schema }
    },
    async close() {
      for (const own of made) await own.drop()
      await server.stop()
    },
  }
}
