/**
 * Items in the order they came, each at a place that never changes: a page may start at any place, also one whose item is
 * gone, and is found in logarithmic time.
 */
export class Ordered<T> {
  /** Ascending. */
  #places: number[] = []
  #items: (T | undefined)[] = []
  #next = 1
  #gone = 0

  /** Adds an item at the end and answers its place. */
  append(item: T): number {
    this.#places.push(this.#next)
    this.#items.push(item)
    return this.#next++
  }

  remove(place: number): void {
    const index = this.#firstAfter(place - 1)
    if (this.#places[index] !== place || this.#items[index] === undefined) return
    this.#items[index] = undefined
    this.#gone++
    if (this.#gone > 64 && this.#gone * 2 > this.#items.length) this.#compact()
  }

  /** From the oldest on, without what stands at `place` or before it. */
  *after(place = 0): Generator<[place: number, item: T]> {
    for (let i = this.#firstAfter(place); i < this.#items.length; i++) {
      const item = this.#items[i]
      if (item !== undefined) yield [this.#places[i]!, item]
    }
  }

  /** From the newest back, without what stands at `place` or after it. */
  *before(place = Number.POSITIVE_INFINITY): Generator<[place: number, item: T]> {
    for (let i = this.#firstAfter(place - 1) - 1; i >= 0; i--) {
      const item = this.#items[i]
      if (item !== undefined) yield [this.#places[i]!, item]
    }
  }

  clear(): void {
    this.#places = []
    this.#items = []
    this.#gone = 0
  }

  #firstAfter(place: number): number {
    let low = 0
    let high = this.#places.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#places[middle]! > place) high = middle
      else low = middle + 1
    }
    return low
  }

  #compact(): void {
    this.#places = this.#places.filter((_, i) => this.#items[i] !== undefined)
    this.#items = this.#items.filter((item) => item !== undefined)
    this.#gone = 0
  }
}
