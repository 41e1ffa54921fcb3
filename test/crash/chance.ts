/** Choices that a seed fixes. Texts and numbers make seeds of their own, so that each part of a run has its own row. */
export class Chance {
  #state: number

  constructor(...seed: readonly (string | number)[]) {
    this.#state = 0x811c9dc5
    for (const char of JSON.stringify(seed)) {
      this.#state = Math.imul(this.#state ^ char.codePointAt(0)!, 0x01000193)
    }
  }

  /** In [0, 1) (mulberry32). */
  readonly next = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits
    return ((bits ^ (bits >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from `least` below `below`. */
  between(least: number, below: number): number {
    return least + Math.floor(this.next() * (below - least))
  }

  /** True with this probability. */
  is(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(list: readonly T[]): T {
    return list[this.between(0, list.length)]!
  }

  /** The same elements in another order. */
  shuffled<T>(list: readonly T[]): T[] {
    const left = [...list]
    return list.map(() => left.splice(this.between(0, left.length), 1)[0]!)
  }

  /** A UUIDv7-like id of Sendwright's form. */
  id(now: number): string {
    const hex = Array.from({ length: 20 }, () => this.between(0, 16).toString(16)).join('')
    const time = Math.floor(now).toString(16).padStart(12, '0')
    return `msg_${time.slice(0, 8)}-${time.slice(8)}-7${hex.slice(0, 3)}-8${hex.slice(3, 6)}-${hex.slice(6, 18)}`
  }
}

/** Where a random test begins: `SEED`, or else a new one each time. */
export const seedOf = (): number => Number(process.env.SEED) || 1 + Math.floor(Math.random() * 1e9)
