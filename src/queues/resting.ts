import type { Clock } from '../clock.ts'

/** At least this long, so that room for several has come when they are asked again. */
const shortest = 50
const most = 10_000

/** Tenants whose limits are used up: their queued messages stay where they are until there is room again. */
export class Resting {
  readonly #clock: Clock
  readonly #until = new Map<string | undefined, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** `ms` from now. */
  add(tenant: string | undefined, ms: number): void {
    if (this.#until.size >= most) this.tenants()
    if (this.#until.size < most) this.#until.set(tenant, this.#clock.monotonic() + Math.max(ms, shortest))
  }

  tenants(): ReadonlySet<string | undefined> {
    const now = this.#clock.monotonic()
    for (const [tenant, until] of this.#until) if (until <= now) this.#until.delete(tenant)
    return new Set(this.#until.keys())
  }

  /** Milliseconds until the first of them may go on; undefined when none rests. */
  next(): number | undefined {
    if (this.#until.size === 0) return undefined
    return Math.max(0, Math.min(...this.#until.values()) - this.#clock.monotonic())
  }
}
