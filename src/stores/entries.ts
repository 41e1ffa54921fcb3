import type { Awaitable } from './store.ts'

/** One entry of an application's Keyv. */
export interface NewEntry {
  readonly key: string
  readonly value: string
  /** Milliseconds from now, by the store's clock; absent for good. */
  readonly ttl?: number
}

/**
 * What an engine offers for the application's other data, beside the mailer's: texts by key, in namespaces that never meet.
 * An entry whose time is over is not there, whether it was swept or not.
 */
export interface Entries {
  /** One answer per key, in order. */
  get(namespace: string, keys: readonly string[]): Awaitable<readonly (string | undefined)[]>
  /** All of them or none. */
  set(namespace: string, entries: readonly NewEntry[]): Awaitable<void>
  /** For each key, whether it was there. */
  delete(namespace: string, keys: readonly string[]): Awaitable<readonly boolean[]>
  /** Everything of this namespace and nothing else, in bounded steps. */
  clear(namespace: string): Awaitable<void>
  /** Up to `limit` entries in the order of their keys, after `after`; each once, also while others come and go. */
  scan(namespace: string, after: string | undefined, limit: number): Awaitable<readonly (readonly [string, string])[]>
}
