import type { Clock } from '../clock.ts'
import { configurationError } from '../errors.ts'
import { clientOf } from './keyv-client.ts'
import { keyvClientStore } from './keyv-client-store.ts'
import { checkKeyv } from './keyv-like.ts'
import type { KeyvLike } from './keyv-records.ts'
import { KeyvStore } from './keyv-store.ts'
import type { MailStore } from './store.ts'

export { isKeyv } from './keyv-like.ts'
export type { KeyvLike } from './keyv-records.ts'

export interface KeyvStoreOptions {
  /** Messages that may wait in the queue; over it `QUEUE_FULL`. Default 200,000; over a client, as its store has it. */
  readonly maxQueued?: number
  /** False keeps everything in the Keyv, in one process, even where its adapter's client can be reached. Default true. */
  readonly client?: boolean
  readonly clock?: Clock
}

/**
 * A Keyv 5.6 or 6.1 as a store.
 *
 * Over `@keyv/redis`, `@keyv/valkey`, `@keyv/postgres`, or a `sqlite`, `redis` or `postgres` store of ours, that server or
 * file is used directly, with claims that hold between processes: as by `redis({ client, prefix: 'sendwright' })` or
 * `postgres({ pool, schema: 'sendwright' })`, where a namespace of the Keyv makes the name `sendwright_<namespace>`; a store
 * of ours is taken as it is. To PostgreSQL it opens a pool of its own with the adapter's settings, by the package `pg`, and
 * ends it on `close`. What the Keyv does to values and keys does not concern this data.
 *
 * Over any other: rows, idempotency keys, suppressions and limits are kept in the Keyv, for one process, so a repeat after a
 * restart is answered and nobody suppressed is mailed. What works on a row, and what is queued, is known to this process
 * only: after a crash a queued message is dispatched when a call repeats its key, else not at all. Keyv has no atomic
 * operation, so claims are exclusive between the mailers of this process and no others. `list` and `suppress.list` throw
 * `UNSUPPORTED_FEATURE`: a Keyv cannot be searched. Give it a Keyv of its own. Keys begin with `sendwright-v1-`. Do not use
 * an adapter that evicts, nor memcached, which ends at once what should live longer than 30 days; nor take rows written
 * through Keyv 5 to 6, whose adapters look for them elsewhere.
 *
 * The Keyv is the application's, so it is not closed, but it gets an `error` listener until `close`: over many failures
 * Keyv answers as if there were nothing and only reports them (only so is a full Redis noticed), and Keyv 6 throws where
 * nobody listens.
 *
 * @throws MailError `CONFIGURATION_ERROR` for what is no Keyv, and for one that hides its failures.
 */
export function keyvStore(keyv: KeyvLike, options: KeyvStoreOptions = {}): MailStore {
  checkKeyv(keyv)
  const { maxQueued, client: direct = true } = options
  if (maxQueued !== undefined && !(typeof maxQueued === 'number' && maxQueued > 0)) {
    throw configurationError('keyvStore(keyv, { maxQueued }) must be a positive number.')
  }
  if (typeof direct !== 'boolean') {
    throw configurationError(
      'keyvStore(keyv, { client }) must be true or false; give a client itself to redis({ client }).',
    )
  }
  const client = direct ? clientOf(keyv) : undefined
  return client ? keyvClientStore(keyv, client, options) : new KeyvStore(keyv, options)
}
