import type { Entries, NewEntry } from '../entries.ts'
import type { Database } from './database.ts'
import type { Functions } from './functions.ts'
import { indexed, storable, textOf } from './text.ts'
import { type GivenTime, wholeMs } from './time.ts'

const clearedAtOnce = 1_000

/** The application's own data, for Keyv. */
export class PostgresEntries implements Entries {
  readonly #database: Database
  readonly #time: () => GivenTime
  readonly #functions: Functions

  constructor(database: Database, functions: Functions, time: () => GivenTime) {
    this.#database = database
    this.#time = time
    this.#functions = functions
  }

  async get(namespace: string, keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    if (keys.length === 0) return []
    const answers = await this.#database.call((call) =>
      this.#functions.run(call, 'entries_of', this.#place(namespace, keys.map(indexed))),
    )
    return answers.map(({ value }) => (typeof value === 'string' ? textOf(value) : undefined))
  }

  async set(namespace: string, entries: readonly NewEntry[]): Promise<void> {
    if (entries.length === 0) return
    const unique = new Map(entries.map((entry) => [indexed(entry.key), entry]))
    const sorted = [...unique].sort(([a], [b]) => (a < b ? -1 : 1))
    await this.#database.call((call) =>
      this.#functions.run(call, 'set_entries', {
        ...this.#place(
          namespace,
          sorted.map(([name]) => name),
        ),
        keys: sorted.map(([name, { key }]) => (storable(key) === name ? null : storable(key))),
        values: sorted.map(([, { value }]) => storable(value)),
        lives: sorted.map(([, { ttl }]) => (ttl === undefined ? null : wholeMs(ttl))),
      }),
    )
  }

  async delete(namespace: string, keys: readonly string[]): Promise<readonly boolean[]> {
    if (keys.length === 0) return []
    const names = keys.map(indexed)
    const answers = await this.#database.call((call) =>
      this.#functions.run(call, 'delete_entries', this.#place(namespace, [...new Set(names)].sort())),
    )
    const gone = new Set(answers.map(({ name }) => name))
    return names.map((name) => gone.has(name))
  }

  async clear(namespace: string): Promise<void> {
    for (let after: unknown = ''; after !== null; ) {
      const [answer] = await this.#database.call((call) =>
        this.#functions.run(call, 'clear_entries', { namespace: indexed(namespace), after, most: clearedAtOnce }),
      )
      after = answer!.last
    }
  }

  async scan(
    namespace: string,
    after: string | undefined,
    limit: number,
  ): Promise<readonly (readonly [string, string])[]> {
    const answers = await this.#database.call((call) =>
      this.#functions.run(call, 'scan_entries', {
        now: this.#time().now,
        namespace: indexed(namespace),
        after: after === undefined ? '' : indexed(after),
        most: Math.max(0, Math.trunc(limit)),
      }),
    )
    return answers.map(({ key, value }) => [textOf(key as string), textOf(value as string)] as const)
  }

  #place(namespace: string, names: readonly string[]) {
    return { now: this.#time().now, namespace: indexed(namespace), names }
  }
}
