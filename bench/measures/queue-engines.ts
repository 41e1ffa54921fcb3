import { bullmq } from 'sendwright/queues/bullmq'
import { pgBoss } from 'sendwright/queues/pg-boss'
import type { QueueEngine } from '../../src/queues/engine.ts'
import { findPostgres, ownSchema } from '../../test/support/postgres-server.ts'
import { findRedis, removeKeys, runPrefix } from '../../test/support/redis-server.ts'

/** One of our engines over a place of its own in a server; the mailer closes it. */
export interface OpenQueueEngine {
  readonly engine: QueueEngine
  /** Removes what it wrote, once it is closed. */
  remove(): Promise<void>
}

export async function openQueueEngine(name: string): Promise<OpenQueueEngine> {
  if (name === 'bullmq') return openBullmq()
  if (name === 'pg-boss') return openPgBoss()
  throw new RangeError(`there is no queue engine ${name}`)
}

async function openBullmq(): Promise<OpenQueueEngine> {
  const found = await findRedis()
  if ('skip' in found) throw new Error(found.skip)
  const prefix = `${runPrefix}-jobs`
  return {
    engine: bullmq({ connection: { url: found.url, maxRetriesPerRequest: null }, prefix: `{${prefix}}` }),
    async remove() {
      await removeKeys(found.url, prefix)
      await found.stop()
    },
  }
}

async function openPgBoss(): Promise<OpenQueueEngine> {
  const found = await findPostgres()
  if ('skip' in found) throw new Error(found.skip)
  const { schema, drop } = ownSchema(found.config)
  const { connectionString, host = '127.0.0.1', port = 5432, user = 'postgres', database = 'test' } = found.config
  const url = connectionString ?? `postgres://${user}@${host}:${port}/${database}`
  return {
    engine: pgBoss({ connectionString: url, schema }),
    async remove() {
      await drop()
      await found.stop()
    },
  }
}
