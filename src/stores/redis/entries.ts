import type { Entries, NewEntry } from '../entries.ts'
import { clear, get, remove, scan, set } from './entry-scripts.ts'
import type { Link } from './link.ts'
import { escaped, nameFor, unescaped } from './names.ts'

/** The application's other data, beside the mailer's under the same prefix. */
export class RedisEntries implements Entries {
  readonly #link: Link

  constructor(link: Link) {
    this.#link = link
  }

  async get(namespace: string, keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    const { values } = await this.#link.run(get, [nameFor(namespace), keys.map(escaped)])
    return (values[0] as readonly (string | null)[]).map((value) => (value === null ? undefined : unescaped(value)))
  }

  async set(namespace: string, entries: readonly NewEntry[]): Promise<void> {
    const each = entries.flatMap(({ key, value, ttl }) => [escaped(key), escaped(value), ttl])
    await this.#link.run(set, [nameFor(namespace), entries.length, ...each])
  }

  async delete(namespace: string, keys: readonly string[]): Promise<readonly boolean[]> {
    const { values } = await this.#link.run(remove, [nameFor(namespace), keys.map(escaped)])
    return (values[0] as readonly string[]).map((there) => there === '1')
  }

  async clear(namespace: string): Promise<void> {
    let after: unknown = ''
    do {
      const { values } = await this.#link.run(clear, [nameFor(namespace), after as string])
      after = values[0]
    } while (after !== '')
  }

  async scan(
    namespace: string,
    after: string | undefined,
    limit: number,
  ): Promise<readonly (readonly [string, string])[]> {
    let from = after === undefined ? '' : `=${escaped(after)}`
    for (;;) {
      const { values } = await this.#link.run(scan, [nameFor(namespace), from, limit])
      const [next, found] = values as readonly [string, readonly (readonly [string, string])[]]
      if (found.length > 0 || next === '') return found.map(([key, value]) => [unescaped(key), unescaped(value)])
      from = next
    }
  }
}
