import type { Link } from './link.ts'
import { nameFor } from './names.ts'
import { count, once, readCounts } from './small-scripts.ts'

/** Counters, and what happens once. */
export class RedisCounters {
  readonly #link: Link

  constructor(link: Link) {
    this.#link = link
  }

  async add(key: string, amount: number): Promise<void> {
    await this.#link.run(count, [nameFor(key), amount])
  }

  async read(keys: readonly string[]): Promise<readonly number[]> {
    if (keys.length === 0) return []
    const { values } = await this.#link.run(readCounts, [keys.map((key) => nameFor(key))])
    return (values[0] as readonly (string | null)[]).map(Number)
  }

  async once(id: string, ttl: number): Promise<boolean> {
    const { state } = await this.#link.run(once, [nameFor(id), Math.min(Math.max(Math.ceil(ttl) || 1, 1), 1e13)])
    return state === 'first'
  }
}
