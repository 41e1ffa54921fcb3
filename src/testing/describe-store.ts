import type { Awaitable } from '../stores/store.ts'
import type { StoreHarness, Suite } from './stores/case.ts'
import { claims, fences, keys, looks } from './stores/claim-cases.ts'
import { due } from './stores/due-cases.ts'
import { limits, small } from './stores/limit-cases.ts'
import { lists } from './stores/list-cases.ts'
import { retention, rows } from './stores/row-cases.ts'
import { suppressions } from './stores/suppression-cases.ts'

export type { StoreHarness } from './stores/case.ts'

/** The test functions of any runner: `node:test`, Vitest, Jest and Mocha all fit. */
export interface TestFunctions {
  describe(name: string, body: () => void): unknown
  it(name: string, test: () => Promise<void>): unknown
  /** Where random tests begin; part of their names. Default: the environment's `SEED`, else the time. */
  readonly seed?: number
}

/**
 * What every `MailStore` must do, as tests: each verb, what makes it atomic, and time. A store whose `guarantees.list` is
 * false is held to refusing `list` and `suppress.list` instead.
 *
 * @param make Opens a store with nothing in it; the suite closes it after each test.
 *
 * @example
 * describeStore('my store', () => {
 *   const clock = fakeClock()
 *   return { store: myStore({ clock }), now: clock.now, advance: clock.advance, step: clock.step }
 * }, { describe, it })
 */
export function describeStore(name: string, make: () => Awaitable<StoreHarness>, runner: TestFunctions): void {
  const seed = runner.seed ?? (Number(process.env.SEED) || Date.now() % 1_000_000)
  const suites: Readonly<Record<string, Suite>> = {
    claims,
    fences,
    keys,
    looks,
    due,
    rows,
    retention,
    suppressions,
    limits: limits(seed),
    'events and counters': small,
    lists,
  }
  runner.describe(name, () => {
    for (const [title, suite] of Object.entries(suites)) {
      runner.describe(title, () => {
        for (const [promise, test] of Object.entries(suite)) {
          runner.it(promise, async () => {
            const harness = await make()
            try {
              await test(harness)
            } finally {
              await harness.store.close()
            }
          })
        }
      })
    }
  })
}
