import { configurationError, MailError } from '../errors.ts'
import type { Entries, NewEntry } from './entries.ts'

/**
 * What Keyv 5.6 and 6.1 call on a storage adapter, for an application's other data: `new Keyv({ store })`.
 *
 * There is no `deleteMany` on purpose: Keyv 5 expects one boolean of it and Keyv 6 an array, and both count right without.
 * For want of it Keyv 6 also keeps namespaces apart itself, in the keys, so that two Keyvs may share one store.
 */
export interface KeyvAdapter {
  /** Keyv 5 iterates only over adapters with a dialect it knows. */
  readonly opts: { readonly dialect: 'sqlite' }
  /** Written by Keyv 5, which prefixes the keys with it as well. Keyv 6 leaves it alone. */
  namespace?: string | undefined
  get(key: string): Promise<string | undefined>
  getMany(keys: readonly string[]): Promise<(string | undefined)[]>
  /** `ttl` in milliseconds; Keyv 6 makes it of its moments before it calls. Without, or not a finite number: for good. */
  set(key: string, value: unknown, ttl?: number): Promise<boolean>
  setMany(entries: readonly KeyvEntry[]): Promise<boolean[]>
  /** Whether it was there. */
  delete(key: string): Promise<boolean>
  has(key: string): Promise<boolean>
  hasMany(keys: readonly string[]): Promise<boolean[]>
  /** Everything of the namespace and nothing else. */
  clear(): Promise<void>
  iterator(namespace?: string): AsyncGenerator<[string, string], void>
  /** There are no events: every failure is thrown. Each Keyv calls it once, before it sets its namespace. */
  on(event: string, listener: (...args: never[]) => void): this
  /** Leaves the store open: it is the mailer's too. */
  disconnect(): Promise<void>
}

export interface KeyvEntry {
  readonly key: string
  readonly value: unknown
  readonly ttl?: number | undefined
}

const scanned = 100
const mostNamespaces = 1_000
const longestLife = 100 * 365 * 86_400_000

/**
 * The entries of an engine as a Keyv adapter. Its methods work on `this`, so that `Object.assign` can give them to a store.
 *
 * Values are the texts that Keyv's serializer makes. What Keyv 5 wrote is not found by Keyv 6, whose keys are others.
 * Several Keyvs with namespaces of their own may share one adapter. Keyv 6 then clears a namespace entry by entry, which
 * takes long for many; without namespace it clears all at once. Keyv 5 does not say who of several calls `clear` or
 * iterates: those throw `UNSUPPORTED_FEATURE`.
 */
export function keyvAdapter(entries: Entries): KeyvAdapter {
  const namespaces = new Namespaces()
  return {
    opts: { dialect: 'sqlite' },

    async get(key) {
      const [value] = await entries.get(namespaces.of(key, this.namespace), [key])
      return value
    },

    async getMany(keys) {
      const found = new Map<string, string | undefined>()
      for (const [namespace, own] of Map.groupBy(keys, (key) => namespaces.of(key, this.namespace))) {
        const values = await entries.get(namespace, own)
        for (const [i, key] of own.entries()) found.set(key, values[i])
      }
      return keys.map((key) => found.get(key))
    },

    async set(key, value, ttl) {
      const namespace = namespaces.of(key, this.namespace)
      const entry = newEntry({ key, value, ttl })
      if (entry) await entries.set(namespace, [entry])
      else await entries.delete(namespace, [key])
      return true
    },

    async setMany(given) {
      // The last one of a key counts, as if they had been set one after the other.
      const unique = [...new Map(given.map((entry) => [entry.key, entry])).values()]
      for (const [namespace, own] of Map.groupBy(unique, ({ key }) => namespaces.of(key, this.namespace))) {
        const living = own.map(newEntry)
        const over = own.flatMap(({ key }, i) => (living[i] ? [] : [key]))
        const kept = living.filter((entry) => entry !== undefined)
        if (kept.length > 0) await entries.set(namespace, kept)
        if (over.length > 0) await entries.delete(namespace, over)
      }
      return given.map(() => true)
    },

    async delete(key) {
      const [existed = false] = await entries.delete(namespaces.of(key, this.namespace), [key])
      return existed
    },

    async has(key) {
      return (await this.get(key)) !== undefined
    },

    async hasMany(keys) {
      return (await this.getMany(keys)).map((value) => value !== undefined)
    },

    async clear() {
      await entries.clear(namespaces.only(this.namespace))
    },

    async *iterator(namespace) {
      // Keyv 5 asks with the namespace it has set; the one Keyv 6 asks with is in its keys.
      if (namespace === this.namespace) yield* scan(entries, namespaces.only(namespace), '')
      else yield* scan(entries, '', namespace ?? '')
    },

    on() {
      namespaces.join(this.namespace)
      return this
    },

    async disconnect() {},
  }
}

/** The namespaces that the Keyvs over one adapter have set. Keyv 5 sets them all on the same property; the last one stays. */
class Namespaces {
  readonly #earlier = new Set<string>()
  #keyvs = 0

  /** A Keyv joins; `before` is what the ones before it have set. */
  join(before: string | undefined): void {
    if (this.#keyvs > 0) this.#earlier.add(before ?? '')
    this.#keyvs++
    if (this.#earlier.size > mostNamespaces) {
      throw configurationError(
        `More than ${mostNamespaces} namespaces of Keyv 5 over one store; use few Keyvs with longer keys.`,
      )
    }
  }

  /** Where `key` belongs: with several Keyvs, to the one whose namespace stands before it. */
  of(key: unknown, last: string | undefined): string {
    if (typeof key !== 'string') throw invalid('key', 'A key over this store is a text.')
    if (!this.#areSeveral(last)) return last ?? ''
    const isSet = (namespace: string) => this.#earlier.has(namespace) || namespace === (last ?? '')
    const fitting: string[] = []
    for (let colon = key.indexOf(':', 1); colon !== -1; colon = key.indexOf(':', colon + 1)) {
      if (isSet(key.slice(0, colon))) fitting.push(key.slice(0, colon))
    }
    if (fitting.length === 0 && isSet('')) return ''
    if (fitting.length === 1) return fitting[0]!
    throw new MailError(
      'UNSUPPORTED_FEATURE',
      'Which of several Keyvs over one store this key belongs to cannot be told; give each its own store, keep useKeyPrefix on, and begin no namespace with another and a colon.',
    )
  }

  /** The one namespace there is. */
  only(last: string | undefined): string {
    if (!this.#areSeveral(last)) return last ?? ''
    throw new MailError(
      'UNSUPPORTED_FEATURE',
      'Keyv 5 does not tell which of several namespaces over one store to clear or iterate; give this Keyv a store of its own, or use Keyv 6.',
    )
  }

  #areSeveral(last: string | undefined): boolean {
    return this.#earlier.size > 1 || (this.#earlier.size === 1 && !this.#earlier.has(last ?? ''))
  }
}

/** Undefined when its time is over already. */
function newEntry({ key, value, ttl }: KeyvEntry): NewEntry | undefined {
  if (typeof value !== 'string') {
    throw invalid('value', 'A value over this store is a text; leave the serialization of the Keyv on.')
  }
  if (typeof ttl !== 'number' || Number.isNaN(ttl) || ttl > longestLife) return { key, value }
  return ttl > 0 ? { key, value, ttl: Math.ceil(ttl) } : undefined
}

/** In pages, so that memory does not grow with the entries. Keys that begin alike stand together in every order of texts. */
async function* scan(entries: Entries, namespace: string, prefix: string): AsyncGenerator<[string, string], void> {
  for (let after = prefix === '' ? undefined : prefix; ; ) {
    const page = await entries.scan(namespace, after, scanned)
    for (const [key, value] of page) {
      if (!key.startsWith(prefix)) return
      yield [key, value]
    }
    if (page.length === 0) return
    after = page.at(-1)![0]
  }
}

const invalid = (path: string, message: string) =>
  new MailError('VALIDATION_ERROR', message, { issues: [{ path, code: 'invalid_option', message }] })
