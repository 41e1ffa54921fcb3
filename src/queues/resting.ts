import type { Clock } from '../clock.ts'

/** At least this long, so that room for several has come when they are asked again. */
const shortest = 50
/** The first rest; each that follows in vain, for a message that had to wait before, is twice as long. */
const first = 1_000
const longest = 60_000
const most = 10_000

interface Rest {
  readonly until: number
  /** Whoever rests again before this has rested in vain. */
  readonly inVainUntil: number
  readonly pause: number
}

/**
 * Tenants whose limits are used up: their queued messages stay where they are until there is room again. What stopped one
 * message need not stop the tenant's next, which may be smaller or take another provider, so the first rests are short.
 */
export class Resting {
  readonly #clock: Clock
  readonly #byTenant = new Map<string | undefined, Rest>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A message of the tenant has to wait for a limit, `ms` from now, and perhaps not for the first time. */
  add(tenant: string | undefined, ms: number, again: boolean): void {
    const now = this.#clock.monotonic()
    const before = this.#byTenant.get(tenant)
    if (before && before.until > now) return
    if (!before && this.#byTenant.size >= most) return
    const pause =
      !before || before.inVainUntil <= now ? first : again ? Math.min(2 * before.pause, longest) : before.pause
    const until = now + Math.max(shortest, Math.min(ms, pause))
    this.#byTenant.set(tenant, { until, inVainUntil: until + pause, pause })
  }

  /** A message of the tenant passed. */
  forget(tenant: string | undefined): void {
    this.#byTenant.delete(tenant)
  }

  has(tenant: string | undefined): boolean {
    return (this.#byTenant.get(tenant)?.until ?? 0) > this.#clock.monotonic()
  }

  tenants(): ReadonlySet<string | undefined> {
    const now = this.#clock.monotonic()
    const resting = new Set<string | undefined>()
    for (const [tenant, { until, inVainUntil }] of this.#byTenant) {
      if (until > now) resting.add(tenant)
      else if (inVainUntil <= now) this.#byTenant.delete(tenant)
    }
    return resting
  }

  /** Milliseconds until the first of them may go on; undefined when none rests. */
  next(): number | undefined {
    const now = this.#clock.monotonic()
    let soonest: number | undefined
    for (const { until } of this.#byTenant.values()) {
      if (until > now && (soonest === undefined || until < soonest)) soonest = until
    }
    return soonest === undefined ? undefined : soonest - now
  }
}
