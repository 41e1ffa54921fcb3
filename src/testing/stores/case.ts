import type { Awaitable, MailStore } from '../../stores/store.ts'

/** An empty store for one test, and the time it lives in. */
export interface StoreHarness {
  readonly store: MailStore
  /** The store's wall clock, in milliseconds since 1970. */
  now(): number
  /** Lets `ms` milliseconds pass for the store: on a fake clock, or by waiting. */
  advance(ms: number): Awaitable<void>
  /** Sets the wall clock of the store forth or back by `ms` and nothing else. Absent where no test can. */
  step?(ms: number): void
}

export type Test = (harness: StoreHarness) => Promise<void>
/** Tests by what they promise. */
export type Suite = Readonly<Record<string, Test>>

export const second = 1_000
export const day = 86_400_000
export const lease = { owner: 'suite', ms: 40 * second }
