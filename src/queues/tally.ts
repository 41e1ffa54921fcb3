/** How many there are of each, and in all. */
export class Tally<K> {
  readonly #counts = new Map<K, number>()
  all = 0

  of(key: K): number {
    return this.#counts.get(key) ?? 0
  }

  add(key: K, change: number): void {
    const count = this.of(key) + change
    this.all += change
    if (count > 0) this.#counts.set(key, count)
    else this.#counts.delete(key)
  }

  [Symbol.iterator](): Iterator<[K, number]> {
    return this.#counts.entries()
  }
}
