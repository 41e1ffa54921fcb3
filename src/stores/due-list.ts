import { Heap } from './heap.ts'

/** A moment on the wall clock, or on the one that never steps back. */
export type Moment = { readonly wall: number } | { readonly elapsed: number }

/** Both clocks, in milliseconds. */
export interface Times {
  readonly wall: number
  readonly elapsed: number
}

/** What the list must know of a row. */
export interface Waiting {
  readonly id: string
  readonly tenant?: string
  readonly priority: number
}

/** Where a row stands in the list. */
export interface Place {
  readonly id: string
  readonly tenant: string | undefined
  readonly priority: number
  readonly clock: keyof Times
  /** On that clock. */
  readonly dueAt: number
  readonly sequence: number
}

const fewStale = 1_000

/**
 * Rows waiting for their turn: those whose time has come leave by priority, then in the order they first came, one tenant
 * after the other, so that a tenant's million messages do not delay another's one.
 */
export class DueList {
  #waiting = waitingHeaps()
  readonly #ready = new Map<string | undefined, Heap<Place>>()
  /** The one valid place of each row; what a heap holds besides is stale and skipped. */
  readonly #places = new Map<string, Place>()
  /** How many of the heaps' places are stale. */
  #stale = 0
  #sequence = 0

  get size(): number {
    return this.#places.size
  }

  ids(): readonly string[] {
    return [...this.#places.keys()]
  }

  /** Places in memory: those of the list, and at most as many stale ones, or a thousand. */
  get held(): number {
    return [...Object.values(this.#waiting), ...this.#ready.values()].reduce((sum, heap) => sum + heap.size, 0)
  }

  /**
   * Answers where among its equals the row stands from now on. One that stood there before comes back to it with the
   * `sequence` it was given then.
   */
  put({ id, tenant, priority }: Waiting, due: Moment, sequence = this.#sequence++): number {
    const [clock, dueAt] = 'wall' in due ? (['wall', due.wall] as const) : (['elapsed', due.elapsed] as const)
    this.restore({ id, tenant, priority, clock, dueAt, sequence })
    return sequence
  }

  /** Puts back what `take` answered, in its old place. */
  restore(place: Place): void {
    this.remove(place.id)
    this.#places.set(place.id, place)
    this.#waiting[place.clock].push(place)
  }

  has(id: string): boolean {
    return this.#places.has(id)
  }

  /** Answers the sequence the row had. */
  remove(id: string): number | undefined {
    const place = this.#places.get(id)
    if (!place) return undefined
    this.#places.delete(id)
    this.#stale++
    if (this.#stale > fewStale && this.#stale > this.#places.size) this.#rebuild()
    return place.sequence
  }

  /** Up to `count` places whose time has come; they leave the list. */
  take(count: number, now: Times, without?: ReadonlySet<string | undefined>): Place[] {
    this.#ripen(now)
    const taken: Place[] = []
    for (let before = -1; taken.length < count && taken.length > before; ) {
      before = taken.length
      // A tenant that had its turn goes to the end of the map, where this loop meets it again.
      for (const [tenant, heap] of this.#ready) {
        if (without?.has(tenant)) continue
        const place = this.#first(heap)
        this.#ready.delete(tenant)
        if (place) {
          heap.pop()
          taken.push(place)
          this.#places.delete(place.id)
          this.#ready.set(tenant, heap)
        }
        if (taken.length === count) break
      }
    }
    return taken
  }

  /** Milliseconds until the next row comes due, 0 for one that is; undefined when none waits. */
  next(now: Times, without?: ReadonlySet<string | undefined>): number | undefined {
    for (const [tenant, heap] of this.#ready) {
      if (without?.has(tenant)) continue
      if (this.#first(heap)) return 0
      this.#ready.delete(tenant)
    }
    let next: number | undefined
    for (const clock of clocks) {
      const first = this.#first(this.#waiting[clock])
      if (first) next = Math.min(next ?? Number.POSITIVE_INFINITY, Math.max(0, first.dueAt - now[clock]))
    }
    return next
  }

  clear(): void {
    this.#places.clear()
    this.#rebuild()
  }

  #ripen(now: Times): void {
    for (const clock of clocks) {
      const waiting = this.#waiting[clock]
      for (let place = this.#first(waiting); place && place.dueAt <= now[clock]; place = this.#first(waiting)) {
        waiting.pop()
        let heap = this.#ready.get(place.tenant)
        if (!heap) {
          heap = new Heap<Place>(higher)
          this.#ready.set(place.tenant, heap)
        }
        heap.push(place)
      }
    }
  }

  /** The first valid place of a heap, which stays in it; stale ones before it are dropped. */
  #first(heap: Heap<Place>): Place | undefined {
    for (let place = heap.peek(); place; place = heap.peek()) {
      if (this.#places.get(place.id) === place) return place
      heap.pop()
      this.#stale--
    }
    return undefined
  }

  /** Without this, rows put off and cancelled again and again would stay in the heaps until their time. */
  #rebuild(): void {
    this.#ready.clear()
    this.#waiting = waitingHeaps()
    for (const place of this.#places.values()) this.#waiting[place.clock].push(place)
    this.#stale = 0
  }
}

const clocks = ['wall', 'elapsed'] as const

const waitingHeaps = () => ({ wall: new Heap<Place>(sooner), elapsed: new Heap<Place>(sooner) })

const sooner = (a: Place, b: Place) => a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.sequence < b.sequence)

const higher = (a: Place, b: Place) => a.priority > b.priority || (a.priority === b.priority && a.sequence < b.sequence)
