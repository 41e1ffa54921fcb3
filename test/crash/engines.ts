import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MailStore } from '../../src/index.ts'
import { findPostgres, ownSchema, reasonNotToStart, startPostgres } from '../support/postgres-server.ts'
import { findRedis, hasRedisServer, removeKeys, runPrefix, startRedis } from '../support/redis-server.ts'
import type { Chance } from './chance.ts'
import type { Ground } from './ground.ts'
import { serve } from './served-store.ts'

/** A place for stores of one engine. */
export interface Engine {
  readonly name: string
  /** How many of its stores may be open at once. */
  readonly places: number
  /** Where a new store, with nothing in it, will be. */
  newGround(): Promise<Ground>
  /** Makes the engine itself fail for a moment: its server is killed and started again, or connections are cut. */
  readonly disturb?: (chance: Chance) => Promise<void>
  close(): Promise<void>
}

export type EngineName = 'sqlite' | 'redis' | 'postgres'

export const engineNames: readonly EngineName[] = ['sqlite', 'redis', 'postgres']

/**
 * Stores under `folder`, or on a server of their own that can be killed, or else on one that runs; or why there are none, in
 * one line.
 */
export async function engine(name: EngineName, folder: string): Promise<Engine | { readonly skip: string }> {
  switch (name) {
    case 'sqlite':
      return {
        name,
        places: 100,
        newGround: async () => ({ engine: 'sqlite', path: join(mkdtempSync(join(folder, 'sqlite-')), 'mail.db') }),
        close: async () => undefined,
      }
    case 'redis':
      return hasRedisServer() ? ownRedis() : foundRedis()
    case 'postgres':
      return reasonNotToStart() === undefined ? ownPostgres() : foundPostgres()
  }
}

/** Every write is on disk before it is answered, so that the server can be killed as well. */
async function ownRedis(): Promise<Engine> {
  const server = await startRedis({ appendonly: 'always' })
  return {
    name: 'redis',
    places: 100,
    newGround: redisGrounds(server.url),
    disturb: restarting(server),
    close: server.stop,
  }
}

async function foundRedis(): Promise<Engine | { readonly skip: string }> {
  const server = await findRedis()
  if ('skip' in server) return server
  const { url } = server
  const close = async () => {
    await removeKeys(url)
    await server.stop()
  }
  return { name: 'redis', places: 100, newGround: redisGrounds(url), close }
}

const redisGrounds = (url: string): Engine['newGround'] => {
  let grounds = 0
  return async () => ({ engine: 'redis', url, prefix: `${runPrefix}-crash-${++grounds}` })
}

async function ownPostgres(): Promise<Engine> {
  const server = await startPostgres({ settings: ['max_connections=400'] })
  const { config } = server
  const newGround = async () => ({ engine: 'postgres', config, schema: ownSchema(config).schema }) as const
  return { name: 'postgres', places: 100, newGround, disturb: restarting(server), close: server.stop }
}

async function foundPostgres(): Promise<Engine | { readonly skip: string }> {
  const server = await findPostgres()
  if ('skip' in server) return server
  const { config } = server
  const made: { drop(): Promise<void> }[] = []
  return {
    name: 'postgres',
    places: 10,
    async newGround() {
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

const restarting =
  (server: { kill(): Promise<void>; start(): Promise<void> }): Engine['disturb'] =>
  async (chance) => {
    await server.kill()
    await sleep(chance.between(0, 200))
    await server.start()
  }

/** Stores that this process serves to the others. */
export function servedEngine(name: string, make: () => MailStore): Engine {
  const open: { close(): Promise<void> }[] = []
  return {
    name,
    places: 100,
    async newGround() {
      const serving = await serve(make())
      open.push(serving)
      return { engine: 'served', port: serving.port }
    },
    async close() {
      await Promise.all(open.map((serving) => serving.close()))
    },
  }
}
