import type { Events, MailEvents } from '../events.ts'
import type { Take, Window } from '../stores/store.ts'

/** A limit is near its end from this part of it on. */
const near = 0.8

/** Tells listeners that a window has come near its end, once each time it does. */
export function tellUse(
  events: Events,
  whose: Pick<MailEvents['limit'], 'kind' | 'tenant' | 'provider'>,
  windows: readonly Window[],
  take: Extract<Take, { ok: true }>,
  cost: number,
): void {
  for (const [i, { limit, per }] of windows.entries()) {
    const used = take.used[i] ?? 0
    const mark = near * limit
    if (used >= mark && used - cost < mark) events.emit('limit', { ...whose, limit, per, used })
  }
}
