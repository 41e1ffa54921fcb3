import type { Clock } from '../clock.ts'
import { configurationError } from '../errors.ts'
import { type KeyvAdapter, keyvAdapter } from './keyv-adapter.ts'
import { type RedisClient, wireOf } from './redis/client.ts'
import { RedisEntries } from './redis/entries.ts'
import { RedisLimits } from './redis/limits.ts'
import { Link } from './redis/link.ts'
import { RedisRows } from './redis/rows.ts'
import { checkSettings, type Durability } from './redis/settings.ts'
import { RedisCounters } from './redis/small.ts'
import { RedisSuppressions } from './redis/suppressions.ts'
import type { MailStore } from './store.ts'

export type {
  IoredisClient,
  NodeRedisClient,
  NodeRedisCluster,
  NodeRedisSentinel,
  RedisClient,
} from './redis/client.ts'

export interface RedisStoreOptions {
  /**
   * The application's own client: node-redis 4 to 6 (also its pool, cluster and sentinel), ioredis or iovalkey. The store
   * neither connects nor closes it, nor listens to it; node-redis must be connected before the mailer is used.
   */
  readonly client: RedisClient
  /**
   * What every key begins with, in braces. Letters, digits, `_`, `.`, `-` and `:`, at most 64. Default `sendwright`.
   *
   * The braces make it the one hash tag of all keys, so that every verb is atomic on a cluster too, where a prefix lives on
   * one node; it is not one tag per tenant, since the queue takes from all tenants in one step. Several mailers with
   * prefixes of their own spread over a cluster.
   */
  readonly prefix?: string
  /**
   * What an accepted message survives, which is for the server to keep: `process-crash` (default) is the end of this
   * process, not of the server's; `power-loss` needs `appendonly yes` and `appendfsync always`, which is checked where the
   * server tells; `none` is for a server that is emptied now and then.
   */
  readonly durability?: Durability
  /** Rows that may wait in the queue; one more is refused with `QUEUE_FULL`. Default 1,000,000. */
  readonly maxQueued?: number
  /** In tests: replaces the server's clock for everything but the deadlines of calls. */
  readonly clock?: Clock
}

/**
 * The store for a fleet: every verb is one short Lua script and one round trip, atomic between all processes that use the
 * server and prefix, by the server's clock. Redis 6.2 or later, or Valkey.
 *
 * A call that has no answer after 1.6 s throws `STORE_UNAVAILABLE`, and does nothing any more when it reaches the server
 * after all. What Redis acknowledged and then lost, in a failover to a replica or without an append-only file, is lost here
 * as well. On first use the settings of the server are looked at, where it lets them be seen: one that evicts keys when it is
 * full is refused with `CONFIGURATION_ERROR`, and so are data of a newer release.
 *
 * It is also a storage adapter for `new Keyv({ store })`, for the application's other data under the same prefix.
 *
 * @throws MailError `CONFIGURATION_ERROR` for what is no client, and for options that are none.
 *
 * @example
 * const client = await createClient({ url: process.env.REDIS_URL }).on('error', console.error).connect()
 * const mailer = createMailer({ providers, store: redis({ client }) })
 */
export function redis(options: RedisStoreOptions): MailStore & KeyvAdapter {
  const { client, prefix = 'sendwright', durability = 'process-crash', maxQueued = 1_000_000, clock } = options ?? {}
  const wire = wireOf(client)
  if (typeof prefix !== 'string' || !/^[\w.:-]{1,64}$/.test(prefix)) {
    throw configurationError('redis({ prefix }) must be 1 to 64 letters, digits, _, ., - and :.')
  }
  if (!['none', 'process-crash', 'power-loss'].includes(durability)) {
    throw configurationError("redis({ durability }) must be 'none', 'process-crash' or 'power-loss'.")
  }
  if (typeof maxQueued !== 'number' || !(maxQueued > 0)) {
    throw configurationError('redis({ maxQueued }) must be a positive number.')
  }
  const link = new Link(wire, prefix, clock, (send) => checkSettings(durability, send))
  return Object.assign(new RedisStore(link, durability, Math.min(maxQueued, 1e15)), keyvAdapter(new RedisEntries(link)))
}

class RedisStore extends RedisRows implements MailStore {
  readonly guarantees: MailStore['guarantees']
  readonly suppress: RedisSuppressions
  readonly limits: RedisLimits
  readonly counters: RedisCounters
  readonly #link: Link

  constructor(link: Link, durability: Durability, maxQueued: number) {
    super(link, maxQueued)
    this.#link = link
    this.guarantees = { scope: 'cluster', durability, list: true }
    this.suppress = new RedisSuppressions(link)
    this.limits = new RedisLimits(link)
    this.counters = new RedisCounters(link)
  }

  once(id: string, ttl: number): Promise<boolean> {
    return this.counters.once(id, ttl)
  }

  close(): Promise<void> {
    return this.#link.close()
  }
}
