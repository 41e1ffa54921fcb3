import type { Entries, NewEntry } from '../entries.ts'
import type { Database } from './database.ts'
import { type GivenTime, Statement, wholeMs } from './statement.ts'
import { indexed, storable, textOf } from './text.ts'

const clearedAtOnce = 1_000

/** The application's own data, for Keyv. */
export class PostgresEntries implements Entries {
  readonly #database: Database
  readonly #time: () => GivenTime
  readonly #statements: ReturnType<typeof statementsIn>

  constructor(database: Database, schema: string, time: () => GivenTime) {
    this.#database = database
    this.#time = time
    this.#statements = statementsIn(schema)
  }

  async get(namespace: string, keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    if (keys.length === 0) return []
    const answers = await this.#database.call((query) =>
      this.#statements.get.run(query, this.#place(namespace, keys.map(nameOf))),
    )
    return answers.map(({ value }) => (typeof value === 'string' ? textOf(value) : undefined))
  }

  async set(namespace: string, entries: readonly NewEntry[]): Promise<void> {
    if (entries.length === 0) return
    const unique = new Map(entries.map((entry) => [nameOf(entry.key), entry]))
    const sorted = [...unique].sort(([a], [b]) => (a < b ? -1 : 1))
    await this.#database.call((query) =>
      this.#statements.set.run(query, {
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
    const names = keys.map(nameOf)
    const answers = await this.#database.call((query) =>
      this.#statements.delete.run(query, this.#place(namespace, [...new Set(names)].sort())),
    )
    const gone = new Set(answers.map(({ name }) => name))
    return names.map((name) => gone.has(name))
  }

  async clear(namespace: string): Promise<void> {
    for (let after: unknown = ''; after !== null; ) {
      const [answer] = await this.#database.call((query) =>
        this.#statements.clear.run(query, { namespace: indexed(namespace), after, most: clearedAtOnce }),
      )
      after = answer!.last
    }
  }

  async scan(
    namespace: string,
    after: string | undefined,
    limit: number,
  ): Promise<readonly (readonly [string, string])[]> {
    const answers = await this.#database.call((query) =>
      this.#statements.scan.run(query, {
        now: this.#time().now,
        namespace: indexed(namespace),
        after: after === undefined ? '' : nameOf(after),
        most: Math.max(0, Math.trunc(limit)),
      }),
    )
    return answers.map(({ key, value }) => [textOf(key as string), textOf(value as string)] as const)
  }

  #place(namespace: string, names: readonly string[]) {
    return { now: this.#time().now, namespace: indexed(namespace), names }
  }
}

/** Never empty, so that every name comes after the empty one. Texts from outside have no character of this kind left. */
const nameOf = (key: string): string => (key === '' ? '\u001be' : indexed(key))

function statementsIn(schema: string) {
  const place = { now: 'bigint', namespace: 'text', names: 'text[]' }
  return {
    get: new Statement(schema, 'entries_of', place),
    set: new Statement(schema, 'set_entries', { ...place, keys: 'text[]', values: 'text[]', lives: 'bigint[]' }),
    delete: new Statement(schema, 'delete_entries', place),
    clear: new Statement(schema, 'clear_entries', { namespace: 'text', after: 'text', most: 'integer' }),
    scan: new Statement(schema, 'scan_entries', { now: 'bigint', namespace: 'text', after: 'text', most: 'integer' }),
  }
}
