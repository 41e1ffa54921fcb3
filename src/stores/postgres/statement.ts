import type { Clock } from '../../clock.ts'
import type { Query } from './pool.ts'

type Parameters = Readonly<Record<string, string>>

/** A call of one of our functions; its arguments are given by name, in any order. */
export class Statement<P extends Parameters> {
  readonly #text: string
  readonly #names: readonly (keyof P)[]

  /** @param parameters Their names with their types; the deadline, which stands before them, is not among them. */
  constructor(schema: string, name: string, parameters: P) {
    this.#names = Object.keys(parameters)
    const given = Object.entries(parameters).map(([parameter, type], i) => `_${parameter} => $${i + 2}::${type}`)
    this.#text = `SELECT answer.*, "${schema}".server_time() FROM "${schema}".${name}(${['_deadline => $1::bigint', ...given].join(', ')}) AS answer`
  }

  run(query: Query, values: { readonly [K in keyof P]: unknown }): ReturnType<Query> {
    return query(
      this.#text,
      this.#names.map((name) => values[name]),
    )
  }
}

/** Time as a test gives it; null for the server's own. */
export interface GivenTime {
  readonly now: number | null
  readonly wall: number | null
}

/** Both clocks of a store that was given one, and what makes the server look at its own otherwise. */
export const timeOf = (clock: Clock | undefined): GivenTime =>
  clock ? { now: Math.floor(clock.monotonic()), wall: Math.floor(clock.now()) } : { now: null, wall: null }

const longest = 2 ** 50

/** Milliseconds as the server counts them. */
export const wholeMs = (ms: number): number => Math.min(Math.max(Math.ceil(ms), -longest), longest)
