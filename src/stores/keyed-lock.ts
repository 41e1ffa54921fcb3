/** One task at a time for each key, in the order they came. A key nobody uses leaves nothing behind. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>()

  /** Keys that are held or waited for. */
  get size(): number {
    return this.#tails.size
  }

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key)
    const own = Promise.withResolvers<void>()
    this.#tails.set(key, own.promise)
    try {
      await before
      return await task()
    } finally {
      if (this.#tails.get(key) === own.promise) this.#tails.delete(key)
      own.resolve()
    }
  }
}
