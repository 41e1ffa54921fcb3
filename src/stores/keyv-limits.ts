import { type KeyvRecords, recordKey } from './keyv-records.ts'
import type { Exclusive } from './keyv-suppressions.ts'
import type { MailStore, Move, Take, Window } from './store.ts'
import { WindowSet, type WindowState } from './window.ts'

type Limits = MailStore['limits']

/** Windows in a Keyv: one record for each key. */
export class KeyvLimits implements Limits {
  readonly #records: KeyvRecords
  readonly #now: () => number
  readonly #exclusive: Exclusive

  /** @param now Wall time that no step of the wall clock moves. */
  constructor(records: KeyvRecords, now: () => number, exclusive: Exclusive) {
    this.#records = records
    this.#now = now
    this.#exclusive = exclusive
  }

  take(key: string, windows: readonly Window[], cost: number): Promise<Take> {
    return this.#change(key, (set, now) => {
      const take = set.take(windows, cost, now)
      return { answer: take, changed: take.ok }
    })
  }

  refund(key: string, windows: readonly Window[], cost: number, at: number): Promise<void> {
    return this.#change(key, (set, now) => ({ answer: set.refund(windows, cost, at, now), changed: true }))
  }

  move(key: string, windows: readonly Window[], moves: readonly Move[]): Promise<void> {
    return this.#change(key, (set, now) => ({ answer: set.move(windows, moves, now), changed: true }))
  }

  usage(key: string, windows: readonly Window[]): Promise<readonly number[]> {
    return this.#change(key, (set, now) => ({ answer: set.usage(windows, now), changed: false }))
  }

  #change<T>(key: string, change: (set: WindowSet, now: number) => { answer: T; changed: boolean }): Promise<T> {
    const record = recordKey('limit', key)
    return this.#exclusive(record, async () => {
      const now = this.#now()
      const stored = await this.#records.read<{ windows: WindowState[] }>(record)
      const set = WindowSet.from(stored?.windows ?? [])
      const { answer, changed } = change(set, now)
      if (!changed) return answer
      const windows = set.state(now)
      // A bucket more than the window, since its newest one has only begun.
      const life = 1.1 * Math.max(0, ...windows.map(({ per }) => per))
      if (windows.length > 0) await this.#records.write(record, { windows }, life)
      else await this.#records.delete(record)
      return answer
    })
  }
}
