import { Heap } from './heap.ts'

interface Place {
  readonly id: string
  readonly tenant: string | undefined
  readonly priority: number
  readonly dueAt: number
  readonly sequence: number
}

/**
 * Rows waiting for their turn: those whose time has come leave by priority, then in the order they came, one tenant after
 * the other, so that a tenant's million messages do not delay another's one.
 */
export class DueList {
  readonly #waiting = new Heap<Place>((a, b) => a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.sequence < b.sequence))
  readonly #ready = new Map<string | undefined, Heap<Place>>()
  /** The one valid place of each row; what a heap holds besides is stale and skipped. */
  readonly #places = new Map<string, Place>()
  #sequence = 0

  get size(): number {
    return this.#places.size
  }

  put(id: string, tenant: string | undefined, priority: number, dueAt: number): void {
    const place = { id, tenant, priority, dueAt, sequence: this.#sequence++ }
    this.#places.set(id, place)
    this.#waiting.push(place)
  }

  remove(id: string): void {
    this.#places.delete(id)
  }

  /** Up to `count` ids whose time has come; they leave the list. */
  take(count: number, now: number): string[] {
    this.#ripen(now)
    const taken: string[] = []
    while (taken.length < count && this.#ready.size > 0) {
      for (const [tenant, heap] of this.#ready) {
        const place = this.#next(heap)
        this.#ready.delete(tenant)
        if (place) {
          taken.push(place.id)
          this.#places.delete(place.id)
          this.#ready.set(tenant, heap)
        }
        if (taken.length === count) break
      }
    }
    return taken
  }

  /** When the next row comes due; undefined when none waits. */
  nextDue(): number | undefined {
    for (const heap of this.#ready.values()) {
      if (heap.size > 0) return 0
    }
    for (let place = this.#waiting.peek(); place; place = this.#waiting.peek()) {
      if (this.#places.get(place.id) === place) return place.dueAt
      this.#waiting.pop()
    }
    return undefined
  }

  #ripen(now: number): void {
    for (let place = this.#waiting.peek(); place && place.dueAt <= now; place = this.#waiting.peek()) {
      this.#waiting.pop()
      if (this.#places.get(place.id) !== place) continue
      let heap = this.#ready.get(place.tenant)
      if (!heap) {
        heap = new Heap<Place>(
          (a, b) => a.priority > b.priority || (a.priority === b.priority && a.sequence < b.sequence),
        )
        this.#ready.set(place.tenant, heap)
      }
      heap.push(place)
    }
  }

  #next(heap: Heap<Place>): Place | undefined {
    for (let place = heap.pop(); place; place = heap.pop()) {
      if (this.#places.get(place.id) === place) return place
    }
    return undefined
  }
}
