import { type Clock, systemClock } from '../clock.ts'
import { configurationError } from '../errors.ts'
import { hashKey } from '../message/fingerprint.ts'
import { borrowedStore } from './borrowed.ts'
import { guaranteesOn, type KeyvClient, namespaceOf, type RedisAdapter, type ValkeyAdapter } from './keyv-client.ts'
import { openPool } from './keyv-postgres-pool.ts'
import type { KeyvLike } from './keyv-records.ts'
import type { RedisClient } from './redis/client.ts'
import type { MailStore } from './store.ts'

export interface KeyvClientStoreOptions {
  readonly clock?: Clock
  readonly maxQueued?: number
}

/**
 * The atomic store over the client of a Keyv's adapter. The engine is loaded when it is made; neither the client nor the
 * store of another is closed. What the adapter reports as an `error` event is listened to until `close`, since Keyv 6
 * throws without a listener, where nobody could catch it.
 */
export function keyvClientStore(keyv: KeyvLike, client: KeyvClient, options: KeyvClientStoreOptions): MailStore {
  const { clock, maxQueued } = options
  const guarantees = guaranteesOn(client)
  if (client.kind === 'store') {
    const { store } = client
    if (maxQueued !== undefined) {
      throw configurationError('This Keyv stands on a store of ours; give maxQueued to that one.')
    }
    return borrowedStore({ guarantees, transactions: store.within !== undefined, open: () => store, close() {} })
  }
  const engineOptions = {
    ...(clock === undefined || clock === systemClock ? {} : { clock }),
    ...(maxQueued === undefined ? {} : { maxQueued }),
  }
  let end: Opened['end']
  const ignore = () => {}
  keyv.on('error', ignore)
  return borrowedStore({
    guarantees,
    transactions: client.kind === 'postgres',
    ...(clock === undefined ? {} : { clock }),
    async open() {
      const opened = await openEngine(keyv, client, engineOptions)
      end = opened.end
      return opened.engine
    },
    async close(engine) {
      keyv.off('error', ignore)
      await engine?.close()
      await end?.()
    },
  })
}

interface Opened {
  readonly engine: MailStore
  /** Ends what was opened for it. */
  readonly end?: () => Promise<void>
}

async function openEngine(
  keyv: KeyvLike,
  client: Exclude<KeyvClient, { kind: 'store' }>,
  options: KeyvClientStoreOptions,
): Promise<Opened> {
  const name = dataName(namespaceOf(keyv))
  if (client.kind === 'redis') {
    const { redis } = await import('./redis.ts')
    return { engine: redis({ ...options, client: redisClient(client.adapter), prefix: name }) }
  }
  const { postgres } = await import('./postgres.ts')
  const { pool, end } = await openPool(client.adapter)
  return { engine: postgres({ ...options, pool, schema: name }), end }
}

/** The client of iovalkey as it is. That of node-redis is connected by its adapter when it has to be, within the verb's time. */
function redisClient(adapter: RedisAdapter | ValkeyAdapter): RedisClient {
  if ('redis' in adapter) return adapter.redis
  const { client } = adapter
  return {
    isOpen: true,
    // What cluster and sentinel clients are known by; each takes arguments of its own.
    ...('slots' in client ? { slots: true } : {}),
    ...('getMasterNode' in client ? { getMasterNode: true } : {}),
    async sendCommand(...args: unknown[]) {
      const connected = (await adapter.getClient()) as { sendCommand(...args: unknown[]): Promise<unknown> }
      return connected.sendCommand(...args)
    },
  }
}

/**
 * What the data of a namespace is called on the server: `sendwright`, or `sendwright_shop` for a namespace of lower case
 * letters, digits and single underscores; a hash stands for any other.
 */
export function dataName(namespace: string | undefined): string {
  if (namespace === undefined) return 'sendwright'
  if (/^[a-z0-9]+(_[a-z0-9]+)*$/.test(namespace) && namespace.length <= longestName) return `sendwright_${namespace}`
  // As JSON, which keeps lone surrogates apart.
  const hash = Buffer.from(hashKey('namespace', JSON.stringify(namespace)), 'base64url').toString('hex')
  return `sendwright__${hash.slice(0, longestName)}`
}

/** PostgreSQL cuts names at 63 bytes. */
const longestName = 40
