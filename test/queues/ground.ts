import { setTimeout as sleep } from 'node:timers/promises'
import { Queue } from 'bullmq'
import { Pool, type PoolConfig } from 'pg'
import { createClient } from 'redis'
import type { Clock, MailStore, QueueEngine } from '../../src/index.ts'
import { bullmq } from '../../src/queues/bullmq.ts'
import { pgBoss } from '../../src/queues/pg-boss.ts'
import { postgres } from '../../src/stores/postgres.ts'
import { redis } from '../../src/stores/redis.ts'

/** Where the store and the engine of a test are, as plain JSON, so that every process opens the same ones. */
export type Ground = BullmqGround | PgBossGround

export interface BullmqGround {
  readonly kind: 'bullmq'
  readonly url: string
  readonly prefix: string
  /** Default: the store's server. */
  readonly engineUrl?: string
}

export interface PgBossGround {
  readonly kind: 'pg-boss'
  readonly config: PoolConfig
  readonly schema: string
  readonly bossSchema: string
  readonly engineConfig?: PoolConfig
}

export interface Open {
  readonly store: MailStore
  readonly engine: QueueEngine
  /** Closes what store and engine were given; they are their mailer's to close. */
  free(): Promise<void>
}

export async function open(ground: Ground, clock?: Clock): Promise<Open> {
  const time = clock ? { clock } : {}
  if (ground.kind === 'bullmq') {
    const client = createClient({ url: ground.url }).on('error', () => {})
    await client.connect()
    return {
      store: redis({ client, prefix: ground.prefix, ...time }),
      engine: engineOf(ground),
      free: async () => client.destroy(),
    }
  }
  const pool = new Pool({ ...ground.config, connectionTimeoutMillis: 1_000 }).on('error', () => {})
  return {
    store: postgres({ pool, schema: ground.schema, ...time }),
    engine: engineOf(ground),
    free: () => pool.end(),
  }
}

export const engineOf = (ground: Ground): QueueEngine =>
  ground.kind === 'bullmq'
    ? bullmq({ connection: { url: ground.engineUrl ?? ground.url }, prefix: bullPrefix(ground), lockDuration: 1_000 })
    : pgBoss({ connectionString: urlOf(ground.engineConfig ?? ground.config), schema: ground.bossSchema, max: 4 })

/** Takes every job out of the engine that has not begun. */
export async function loseJobs(ground: Ground): Promise<void> {
  if (ground.kind === 'bullmq') {
    const queue = new Queue('sendwright', { connection: { url: ground.url }, prefix: bullPrefix(ground) })
    await queue.drain(true)
    await queue.close()
    return
  }
  const pool = new Pool({ ...ground.config, max: 1 })
  await pool.query(`DELETE FROM ${ground.bossSchema}.job WHERE state < 'active'`)
  await pool.end()
}

export const bullPrefix = ({ prefix }: BullmqGround): string => `{${prefix}}:bull`

export function urlOf({ connectionString, host, port, user, password, database }: PoolConfig): string {
  if (connectionString) return connectionString
  const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE } = process.env
  const url = new URL('postgres://localhost')
  url.hostname = host ?? PGHOST ?? 'localhost'
  url.port = String(port ?? PGPORT ?? 5432)
  url.username = user ?? PGUSER ?? 'postgres'
  url.password = typeof password === 'string' ? password : (PGPASSWORD ?? '')
  url.pathname = database ?? PGDATABASE ?? 'postgres'
  return url.href
}

const patience = 20_000

export async function until(what: string, holds: () => Promise<boolean> | boolean, ms = patience): Promise<void> {
  for (const endsAt = performance.now() + ms; !(await holds()); await sleep(10)) {
    if (performance.now() > endsAt) throw new Error(`not after ${ms} ms: ${what}`)
  }
}
