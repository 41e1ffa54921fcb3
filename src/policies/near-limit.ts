import type { Events, MailEvents } from '../events.ts'
import type { Take, Window } from '../stores/store.ts'
import type { Budget } from '../tenants/context.ts'

/** A limit is near its end from this part of it on; to be told of again, it must have fallen below the other. */
const near = 0.8
const clear = 0.7

/** Tells listeners that a window has come near its end, once each time it does. */
export class NearLimits {
  readonly #events: Events
  readonly #told = new WeakSet<Window>()

  constructor(events: Events) {
    this.#events = events
  }

  tell(
    { windows, tenant }: Budget,
    take: Extract<Take, { ok: true }>,
    cost: number,
    what: Pick<MailEvents['limit'], 'kind' | 'provider'>,
  ): void {
    for (const [i, window] of windows.entries()) {
      const { limit, per } = window
      const used = take.used[i] ?? 0
      if (used < clear * limit) this.#told.delete(window)
      // Whoever passes the mark tells, and no other process.
      if (used < near * limit || used - cost >= near * limit || this.#told.has(window)) continue
      this.#told.add(window)
      this.#events.emit('limit', { ...what, ...(tenant === undefined ? {} : { tenant }), limit, per, used })
    }
  }
}
