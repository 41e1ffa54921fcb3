import type { PostgresAdapter } from './keyv-client.ts'
import type { PostgresPool } from './postgres/pool.ts'

export interface OpenedPool {
  readonly pool: PostgresPool
  end(): Promise<void>
}

/**
 * A pool to the database of `@keyv/postgres`, with its settings. Not the adapter's own: that one is out of reach, is ended
 * when any adapter of the process disconnects, and has no listener for errors, so that a server that restarts would end
 * the process. Where `pg` cannot be loaded, or an adapter does not say where its database is, its queries are used after all.
 */
export async function openPool(adapter: PostgresAdapter): Promise<OpenedPool> {
  const { uri, ...options } = adapter.opts
  const pg = typeof uri === 'string' ? await import('pg').catch(() => undefined) : undefined
  if (!pg) return { pool: queriesOf(adapter), end: async () => {} }
  const pool = new pg.default.Pool({
    connectionTimeoutMillis: 1_500,
    allowExitOnIdle: true,
    connectionString: uri as string,
    ...options,
  })
  // An idle connection broke; the next call makes another.
  pool.on('error', () => {})
  return { pool, end: () => pool.end() }
}

/** A pool that lends no connections. */
const queriesOf = (adapter: PostgresAdapter): PostgresPool => ({
  // It answers rows alone, and nothing for several statements at a time.
  query: async (text, values) => ({ rows: (await adapter.query(text, values)) ?? [] }),
})
