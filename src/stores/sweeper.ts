/**
 * Visits the entries of a map in rounds, a few at each call, so that forgetting what is over costs every caller the same
 * little and never a pause. `visit` may delete what it is shown.
 */
export class Sweeper<K, V> {
  readonly #map: Map<K, V>
  readonly #visit: (key: K, value: V) => void
  #round: MapIterator<[K, V]>

  constructor(map: Map<K, V>, visit: (key: K, value: V) => void) {
    this.#map = map
    this.#visit = visit
    this.#round = map.entries()
  }

  step(entries = 4): void {
    for (let i = 0; i < entries; i++) {
      const { value, done } = this.#round.next()
      if (done) {
        this.#round = this.#map.entries()
        return
      }
      this.#visit(value[0], value[1])
    }
  }

  all(): void {
    for (const [key, value] of this.#map) this.#visit(key, value)
  }
}
