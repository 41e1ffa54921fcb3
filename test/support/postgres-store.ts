import type { Pool, PoolClient } from 'pg'
import { type PostgresPool, type PostgresStoreOptions, postgres } from '../../src/stores/postgres.ts'
import type { PostgresTests } from './postgres-server.ts'

/** A store in a schema of its own, which is there, and a look into it: `s.` in a query stands for the schema. */
export async function freshStore(server: PostgresTests, pool: Pool, options: Partial<PostgresStoreOptions> = {}) {
  const schema = server.schema()
  const store = postgres({ pool, schema, ...options })
  await store.read('msg_none')
  const rows = async (text: string): Promise<Record<string, unknown>[]> =>
    (await pool.query(text.replaceAll('s.', `"${schema}".`))).rows
  return { store, schema, rows }
}

/** Everything `task` does stays in one transaction, so that the server can tell what it read. */
export async function inTransaction(pool: Pool, task: (inside: PostgresPool, client: PoolClient) => Promise<void>) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await task({ query: (text, values) => client.query(text, values) }, client)
  } finally {
    await client.query('ROLLBACK')
    client.release()
  }
}
