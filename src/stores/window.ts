import type { Take, Window } from './store.ts'

const buckets = 60

/**
 * A sliding window in 60 buckets that counts every bucket it touches: never more than `limit` in any `per` milliseconds,
 * at the price of using at most 60/61 of it steadily. (STORES 2.2: token buckets and fixed windows let through up to twice
 * the limit.)
 */
export class SlidingWindow {
  readonly #width: number
  /** Ring of counts; `#newest` is the absolute number of the newest bucket. */
  readonly #counts = new Float64Array(buckets + 1)
  #newest = Number.NEGATIVE_INFINITY
  #total = 0
  readonly window: Window

  constructor(window: Window) {
    this.window = window
    this.#width = window.per / buckets
  }

  /** Milliseconds until `cost` fits; 0 when it fits now; Infinity when it never can. */
  wait(cost: number, now: number): number {
    if (cost > this.window.limit) return Number.POSITIVE_INFINITY
    this.#advance(now)
    let excess = this.#total + cost - this.window.limit
    if (excess <= 0) return 0
    for (let bucket = this.#newest - buckets; bucket <= this.#newest; bucket++) {
      excess -= this.#counts[slot(bucket)]!
      if (excess <= 0) return Math.max(1, Math.ceil((bucket + buckets + 1) * this.#width - now))
    }
    return this.window.per
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

  idle(now: number): boolean {
    this.#advance(now)
    return this.#total === 0
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

const slot = (bucket: number) => ((bucket % (buckets + 1)) + buckets + 1) % (buckets + 1)

/** Sliding windows by key, all of a key or none; keys that fell idle are forgotten in passing. */
export class Windows {
  readonly #byKey = new Map<string, SlidingWindow[]>()
  #sweepAt = 1_000

  take(key: string, windows: readonly Window[], cost: number, now: number): Take {
    const sliding = this.#open(key, windows, now)
    let refused: Take | undefined
    for (const window of sliding) {
      const retryAfter = window.wait(cost, now)
      if (retryAfter > 0 && (refused === undefined || refused.ok || retryAfter > refused.retryAfter)) {
        refused = { ok: false, window: window.window, retryAfter }
      }
    }
    if (refused) return refused
    for (const window of sliding) window.add(cost, now)
    return { ok: true, at: now }
  }

  refund(key: string, cost: number, at: number, now: number): void {
    for (const window of this.#byKey.get(key) ?? []) window.refund(cost, at, now)
  }

  #open(key: string, windows: readonly Window[], now: number): SlidingWindow[] {
    const known = this.#byKey.get(key)
    if (known && sameWindows(known, windows)) return known
    if (this.#byKey.size >= this.#sweepAt) this.#sweep(now)
    const opened = windows.map(
      (window) =>
        known?.find(({ window: { limit, per } }) => limit === window.limit && per === window.per) ??
        new SlidingWindow(window),
    )
    this.#byKey.set(key, opened)
    return opened
  }

  #sweep(now: number): void {
    for (const [key, windows] of this.#byKey) {
      if (windows.every((window) => window.idle(now))) this.#byKey.delete(key)
    }
    this.#sweepAt = Math.max(1_000, this.#byKey.size * 2)
  }
}

function sameWindows(known: readonly SlidingWindow[], windows: readonly Window[]): boolean {
  return (
    known.length === windows.length &&
    windows.every(({ limit, per }, i) => known[i]!.window.limit === limit && known[i]!.window.per === per)
  )
}
