import type { MailStore, Move, Take, Window } from '../store.ts'
import { move, refund, take, usage } from './limit-scripts.ts'
import type { Link } from './link.ts'
import { nameFor } from './names.ts'

const lengthsOf = (windows: readonly Window[]) => windows.map(({ per }) => per)

/** Windows in the server, counted by its clock. */
export class RedisLimits implements NonNullable<MailStore['limits']> {
  readonly #link: Link

  constructor(link: Link) {
    this.#link = link
  }

  async take(key: string, windows: readonly Window[], cost: number): Promise<Take> {
    const limits = windows.map(({ limit }) => limit)
    const { state, values } = await this.#link.run(take, [nameFor(key), cost, lengthsOf(windows), limits])
    if (state === 'ok') return { ok: true, at: Number(values[0]), used: numbers(values[1]) }
    const retryAfter = values[1] === '-' ? Number.POSITIVE_INFINITY : Number(values[1])
    return { ok: false, window: windows[Number(values[0]) - 1]!, retryAfter }
  }

  async refund(key: string, windows: readonly Window[], cost: number, at: number): Promise<void> {
    await this.#link.run(refund, [nameFor(key), cost, at, lengthsOf(windows)])
  }

  async move(key: string, windows: readonly Window[], moves: readonly Move[]): Promise<void> {
    const numbers = moves.flatMap(({ cost, from, to }) => [cost, from, to])
    await this.#link.run(move, [nameFor(key), lengthsOf(windows), numbers])
  }

  async usage(key: string, windows: readonly Window[]): Promise<readonly number[]> {
    const { values } = await this.#link.run(usage, [nameFor(key), lengthsOf(windows)])
    return numbers(values[0])
  }
}

const numbers = (value: unknown) => (value as readonly string[]).map(Number)
