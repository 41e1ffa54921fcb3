import { findPostgres } from '../test/support/postgres-server.ts'
import { findRedis } from '../test/support/redis-server.ts'
import type { EngineName } from './measures/engines.ts'

/** The engines that can be measured here; the measuring processes find their servers by the environment. */
export interface Servers {
  readonly engines: readonly EngineName[]
  stop(): Promise<void>
}

/** Says in one line what is left out for want of a server. */
export async function findServers(): Promise<Servers> {
  const engines: EngineName[] = ['memory', 'sqlite']
  const [redis, postgres] = await Promise.all([findRedis(), findPostgres()])
  if ('skip' in redis) console.log(`  ${redis.skip}`)
  else {
    engines.push('redis')
    process.env.REDIS_URL = redis.url
  }
  if ('skip' in postgres) console.log(`  ${postgres.skip}`)
  else {
    engines.push('postgres')
    const { connectionString, host, port, user, database } = postgres.config
    if (connectionString !== undefined) process.env.DATABASE_URL = connectionString
    else if (host !== undefined) process.env.DATABASE_URL = `postgres://${user}@${host}:${port}/${database}`
  }
  return {
    engines,
    async stop() {
      for (const found of [redis, postgres]) if (!('skip' in found)) await found.stop()
    },
  }
}
