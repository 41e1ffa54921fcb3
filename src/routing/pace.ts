import type { Clock } from '../clock.ts'

/** Milliseconds between two hand-overs, once a provider has throttled us. */
const first = 100
const slowest = 10_000
/** However long it asks to be left alone. */
const longestRest = 300_000
/** Below this nobody is slowed any more. */
const unnoticed = 10
/** Each hand-over it takes brings back a little of the speed. */
const recovery = 0.8

export type PaceChange = 'slowed' | 'steady' | undefined

/**
 * How fast a provider account may be used: as fast as limits allow, until it throttles us. Then half as fast each time it
 * does it again, and faster with each message it takes.
 */
export class Pace {
  readonly #clock: Clock
  #interval = 0
  #next = Number.NEGATIVE_INFINITY
  #slowedAt = Number.NEGATIVE_INFINITY

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Milliseconds until the next place. */
  get wait(): number {
    return Math.max(0, this.#next - this.#clock.monotonic())
  }

  /** Takes the next place. */
  take(): void {
    if (this.#interval > 0) this.#next = Math.max(this.#next, this.#clock.monotonic()) + this.#interval
  }

  throttled(retryAfter = 0): PaceChange {
    const now = this.#clock.monotonic()
    this.#next = Math.max(this.#next, now + Math.min(retryAfter, longestRest))
    // Those that were under way together are one piece of news.
    if (this.#interval > 0 && now - this.#slowedAt < this.#interval) return undefined
    const began = this.#interval === 0
    this.#slowedAt = now
    this.#interval = Math.min(Math.max(2 * this.#interval, first), slowest)
    return began ? 'slowed' : undefined
  }

  passed(): PaceChange {
    if (this.#interval === 0) return undefined
    this.#interval *= recovery
    if (this.#interval >= unnoticed) return undefined
    this.#interval = 0
    return 'steady'
  }
}
