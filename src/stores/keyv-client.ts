import { layersOf } from './keyv-like.ts'
import type { KeyvLike } from './keyv-records.ts'
import type { IoredisClient } from './redis/client.ts'
import type { Guarantees, MailStore } from './store.ts'

/** What a Keyv stands on, where we know it better than Keyv does. */
export type KeyvClient =
  | { readonly kind: 'store'; readonly store: MailStore }
  | { readonly kind: 'redis'; readonly adapter: RedisAdapter | ValkeyAdapter }
  | { readonly kind: 'postgres'; readonly adapter: PostgresAdapter }

/** `@keyv/redis`, which connects its client of node-redis when it is first asked for it. */
export interface RedisAdapter {
  readonly client: { readonly isOpen: boolean }
  getClient(): Promise<unknown>
}

/** `@keyv/valkey`, with a client of iovalkey or ioredis. */
export interface ValkeyAdapter {
  readonly redis: IoredisClient
}

/** `@keyv/postgres`: statements over a pool that it shows to nobody, which `uri` and other options were given to. */
export interface PostgresAdapter {
  readonly opts: { readonly uri?: unknown }
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[] | undefined>
}

/** The first layer of a Keyv that the atomic port can run on; undefined for a Map and for adapters we do not know. */
export function clientOf(keyv: object): KeyvClient | undefined {
  for (const layer of layersOf(keyv)) {
    const found = clientIn(layer)
    if (found) return found
  }
  return undefined
}

function clientIn(layer: object): KeyvClient | undefined {
  const { claim, client, getClient, redis, query, opts } = layer as Readonly<Record<string, unknown>>
  if (isFunction(claim)) return { kind: 'store', store: layer as MailStore }
  if (isFunction(getClient) && isObject(client) && isFunction(client.sendCommand)) {
    return { kind: 'redis', adapter: layer as RedisAdapter }
  }
  if (isObject(redis) && isFunction(redis.call) && typeof redis.status === 'string') {
    return { kind: 'redis', adapter: layer as ValkeyAdapter }
  }
  if (isFunction(query) && isObject(opts) && opts.dialect === 'postgres') {
    return { kind: 'postgres', adapter: layer as PostgresAdapter }
  }
  return undefined
}

/** What the atomic store over `client` promises, without its engine being loaded. */
export function guaranteesOn(client: KeyvClient): Guarantees {
  return client.kind === 'store' ? client.store.guarantees : ofEngines[client.kind]
}

/** As the engines have it when they are told nothing else. */
const ofEngines = {
  redis: { scope: 'cluster', durability: 'process-crash', list: true },
  postgres: { scope: 'cluster', durability: 'power-loss', list: true },
} as const

/**
 * The name that keeps the data of this Keyv apart from that of others on the same server; undefined for the namespace that a
 * Keyv has when nobody names one, which is `keyv` in Keyv 5 and none in Keyv 6.
 */
export function namespaceOf(keyv: KeyvLike): string | undefined {
  const { namespace } = keyv as { namespace?: unknown }
  if (typeof namespace !== 'string' || namespace === '' || namespace === 'keyv') return undefined
  return namespace
}

const isFunction = (value: unknown): value is (...args: never[]) => unknown => typeof value === 'function'
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null
