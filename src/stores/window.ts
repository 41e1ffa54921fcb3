import type { Move, Take, Window } from './store.ts'

const buckets = 60
const slots = buckets + 1

/** What a window counted, as plain JSON: for stores that keep it outside the process. */
export interface WindowState {
  readonly per: number
  /** Number of the newest bucket since 1970, or since whatever the caller's time counts from. */
  readonly newest: number
  /** From the oldest bucket to the newest. */
  readonly counts: readonly number[]
}

/**
 * A sliding window in 60 buckets that counts every bucket it touches: never more than `limit` in any `per` milliseconds,
 * at the price of using at most 60/61 of it steadily. (STORES 2.2: token buckets and fixed windows let through up to twice
 * the limit.)
 */
export class SlidingWindow {
  readonly per: number
  readonly #width: number
  /** Ring of counts; `#newest` is the absolute number of the newest bucket. */
  readonly #counts = new Float64Array(slots)
  #newest = Number.NEGATIVE_INFINITY
  #total = 0

  constructor(per: number) {
    this.per = per
    this.#width = per / buckets
  }

  static from({ per, newest, counts }: WindowState): SlidingWindow {
    const window = new SlidingWindow(per)
    window.#newest = newest
    for (const [i, count] of counts.entries()) {
      window.#counts[slot(newest - buckets + i)] = count
      window.#total += count
    }
    return window
  }

  state(): WindowState {
    const counts = Array.from({ length: slots }, (_, i) => this.#counts[slot(this.#newest - buckets + i)]!)
    return { per: this.per, newest: this.#newest, counts }
  }

  /** Milliseconds until `cost` fits; 0 when it fits now; Infinity when it never can. */
  wait(cost: number, limit: number, now: number): number {
    if (cost > limit) return Number.POSITIVE_INFINITY
    this.#advance(now)
    let excess = this.#total + cost - limit
    if (excess <= 0) return 0
    for (let bucket = this.#newest - buckets; bucket <= this.#newest; bucket++) {
      excess -= this.#counts[slot(bucket)]!
      if (excess <= 0) return this.#untilGone(bucket, now)
    }
    return this.per
  }

  add(cost: number, now: number): void {
    this.#advance(now)
    this.#counts[slot(this.#newest)]! += cost
    this.#total += cost
  }

  refund(cost: number, at: number, now: number): void {
    this.#advance(now)
    const bucket = Math.floor(at / this.#width)
    if (bucket < this.#newest - buckets || bucket > this.#newest) return
    const returned = Math.min(cost, this.#counts[slot(bucket)]!)
    this.#counts[slot(bucket)]! -= returned
    this.#total -= returned
  }

  move({ cost, from, to }: Move, now: number): void {
    this.refund(cost, from, now)
    const bucket = Math.min(Math.floor(to / this.#width), this.#newest)
    if (bucket < this.#newest - buckets) return
    this.#counts[slot(bucket)]! += cost
    this.#total += cost
  }

  used(now: number): number {
    this.#advance(now)
    return this.#total
  }

  idle(now: number): boolean {
    return this.used(now) === 0
  }

  /** The fewest whole milliseconds after which `bucket` no longer counts. */
  #untilGone(bucket: number, now: number): number {
    // The product may be rounded to either side of the moment at which division sees the next bucket.
    let wait = Math.max(1, Math.ceil((bucket + slots) * this.#width - now) - 1)
    while (Math.floor((now + wait) / this.#width) < bucket + slots) wait++
    return wait
  }

  #advance(now: number): void {
    const bucket = Math.floor(now / this.#width)
    if (bucket <= this.#newest) return
    if (bucket - this.#newest > buckets) {
      this.#counts.fill(0)
      this.#total = 0
    } else {
      for (let passed = this.#newest + 1; passed <= bucket; passed++) {
        this.#total -= this.#counts[slot(passed)]!
        this.#counts[slot(passed)] = 0
      }
    }
    this.#newest = bucket
  }
}

const slot = (bucket: number) => ((bucket % slots) + slots) % slots

/**
 * The windows of one key, taken from all at once or not at all. What was counted belongs to the length of a window, not to
 * its limit, so that a changed limit, or two callers with different ones, start from what really passed.
 */
export class WindowSet {
  readonly #byLength = new Map<number, SlidingWindow>()

  static from(states: readonly WindowState[]): WindowSet {
    const set = new WindowSet()
    for (const state of states) set.#byLength.set(state.per, SlidingWindow.from(state))
    return set
  }

  /** Without windows that count nothing any more. */
  state(now: number): WindowState[] {
    return [...this.#byLength.values()].filter((window) => !window.idle(now)).map((window) => window.state())
  }

  take(windows: readonly Window[], cost: number, now: number): Take {
    let refused: { ok: false; window: Window; retryAfter: number } | undefined
    for (const window of windows) {
      const retryAfter = this.#open(window.per).wait(cost, window.limit, now)
      if (retryAfter > 0 && (refused === undefined || retryAfter > refused.retryAfter)) {
        refused = { ok: false, window, retryAfter }
      }
    }
    if (refused) return refused
    for (const window of this.#byLength.values()) window.add(cost, now)
    return { ok: true, at: now, used: this.usage(windows, now) }
  }

  usage(windows: readonly Window[], now: number): number[] {
    return windows.map(({ per }) => this.#byLength.get(per)?.used(now) ?? 0)
  }

  /** Only from the windows the take named: others may not have been counting yet. */
  refund(windows: readonly Window[], cost: number, at: number, now: number): void {
    for (const { per } of windows) this.#byLength.get(per)?.refund(cost, at, now)
  }

  move(windows: readonly Window[], moves: readonly Move[], now: number): void {
    for (const { per } of windows) {
      const window = this.#open(per)
      for (const move of moves) window.move(move, now)
    }
  }

  idle(now: number): boolean {
    return [...this.#byLength.values()].every((window) => window.idle(now))
  }

  #open(per: number): SlidingWindow {
    let window = this.#byLength.get(per)
    if (!window) {
      window = new SlidingWindow(per)
      this.#byLength.set(per, window)
    }
    return window
  }
}

/** Window sets by key; keys that fell idle are forgotten in passing. */
export class Windows {
  readonly #byKey = new Map<string, WindowSet>()
  #sweepAt = 1_000

  get size(): number {
    return this.#byKey.size
  }

  take(key: string, windows: readonly Window[], cost: number, now: number): Take {
    return this.#open(key, now).take(windows, cost, now)
  }

  refund(key: string, windows: readonly Window[], cost: number, at: number, now: number): void {
    this.#byKey.get(key)?.refund(windows, cost, at, now)
  }

  move(key: string, windows: readonly Window[], moves: readonly Move[], now: number): void {
    this.#open(key, now).move(windows, moves, now)
  }

  usage(key: string, windows: readonly Window[], now: number): number[] {
    return this.#byKey.get(key)?.usage(windows, now) ?? windows.map(() => 0)
  }

  clear(): void {
    this.#byKey.clear()
  }

  #open(key: string, now: number): WindowSet {
    let set = this.#byKey.get(key)
    if (!set) {
      if (this.#byKey.size >= this.#sweepAt) this.#sweep(now)
      set = new WindowSet()
      this.#byKey.set(key, set)
    }
    return set
  }

  #sweep(now: number): void {
    for (const [key, set] of this.#byKey) {
      if (set.idle(now)) this.#byKey.delete(key)
    }
    this.#sweepAt = Math.max(1_000, this.#byKey.size * 2)
  }
}
