import type { MailStore, Move, Take, Window } from '../store.ts'
import type { Database } from './database.ts'
import type { Functions } from './functions.ts'
import { indexed } from './text.ts'
import type { GivenTime } from './time.ts'

/** Sliding windows, one row for all windows of a key. */
export class Limits implements Required<MailStore['limits']> {
  readonly #database: Database
  readonly #time: () => GivenTime
  readonly #functions: Functions

  constructor(database: Database, functions: Functions, time: () => GivenTime) {
    this.#database = database
    this.#time = time
    this.#functions = functions
  }

  async take(key: string, windows: readonly Window[], cost: number): Promise<Take> {
    const [answer] = await this.#database.call((call) =>
      this.#functions.run(call, 'take', {
        now: this.#time().now,
        key: indexed(key),
        lengths: windows.map(({ per }) => per),
        limits: windows.map(({ limit }) => limit),
        cost,
      }),
    )
    const { taken_at, used, refused, retry_after } = answer!
    const window = refused === null ? undefined : windows[Number(refused)]
    if (window) return { ok: false, window, retryAfter: Number(retry_after) }
    return { ok: true, at: Number(taken_at), used: numbersOf(used) }
  }

  async refund(key: string, windows: readonly Window[], cost: number, at: number): Promise<void> {
    await this.#database.call((call) =>
      this.#functions.run(call, 'refund', {
        now: this.#time().now,
        key: indexed(key),
        lengths: windows.map(({ per }) => per),
        cost,
        taken_at: Math.floor(at),
      }),
    )
  }

  async move(key: string, windows: readonly Window[], moves: readonly Move[]): Promise<void> {
    await this.#database.call((call) =>
      this.#functions.run(call, 'move', {
        now: this.#time().now,
        key: indexed(key),
        lengths: windows.map(({ per }) => per),
        costs: moves.map(({ cost }) => cost),
        froms: moves.map(({ from }) => Math.floor(from)),
        tos: moves.map(({ to }) => Math.floor(to)),
      }),
    )
  }

  async usage(key: string, windows: readonly Window[]): Promise<readonly number[]> {
    const [answer] = await this.#database.call((call) =>
      this.#functions.run(call, 'usage', {
        now: this.#time().now,
        key: indexed(key),
        lengths: windows.map(({ per }) => per),
      }),
    )
    return numbersOf(answer!.used)
  }
}

const numbersOf = (answer: unknown): number[] => (answer as unknown[]).map(Number)
