import type { PoolConfig } from 'pg'
import type { MailStore } from '../../src/index.ts'

/** Where a store is, as plain JSON, so that every process of a test opens the same one. */
export type Ground =
  | { readonly engine: 'served'; readonly port: number }
  | { readonly engine: 'sqlite'; readonly path: string }
  | { readonly engine: 'redis'; readonly url: string; readonly prefix: string }
  | { readonly engine: 'postgres'; readonly config: PoolConfig; readonly schema: string }

export interface OpenStore {
  readonly store: MailStore
  /** Closes the connections the store was given; the store itself is its mailer's to close. */
  free(): Promise<void>
}

/** Opens the store, in whatever process. Only its own engine is loaded: what dies soon should not take long to begin. */
export async function open(ground: Ground): Promise<OpenStore> {
  const nothing = async () => undefined
  switch (ground.engine) {
    case 'served': {
      const { served } = await import('./served-store.ts')
      return { store: await served(ground.port), free: nothing }
    }
    case 'sqlite': {
      const { sqlite } = await import('../../src/stores/sqlite.ts')
      return { store: sqlite(ground.path), free: nothing }
    }
    case 'redis': {
      const { createClient } = await import('redis')
      const { redis } = await import('../../src/stores/redis.ts')
      const client = createClient({ url: ground.url, socket: { reconnectStrategy: 50 } }).on('error', () => {})
      await client.connect()
      const store = redis({ client, prefix: ground.prefix, durability: 'power-loss' })
      return { store, free: async () => client.destroy() }
    }
    case 'postgres': {
      const { Pool } = await import('pg')
      const { postgres } = await import('../../src/stores/postgres.ts')
      const pool = new Pool({ ...ground.config, max: 4, connectionTimeoutMillis: 1_500 }).on('error', () => {})
      return { store: postgres({ pool, schema: ground.schema }), free: () => pool.end() }
    }
  }
}

/** What an engine does once for a store, such as making its tables, is no part of what is tried on it. */
export async function prepare(ground: Ground): Promise<void> {
  const { store, free } = await open(ground)
  await store.list({ limit: 1 })
  await store.close()
  await free()
}
