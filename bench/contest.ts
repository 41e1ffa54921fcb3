import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** What one measuring process reports. */
export type Facts = Readonly<Record<string, number>>

/** A measuring process: a file of `measures` and its arguments. */
export type Contestant = readonly [file: string, ...args: (string | number)[]]

/** What a contestant reported, round by round. */
export class Runs {
  readonly #rounds: readonly Facts[]

  constructor(rounds: readonly Facts[]) {
    this.#rounds = rounds
  }

  /** The median of one fact. */
  of(name: string): number {
    return median(this.#rounds.map((facts) => facts[name] ?? Number.NaN))
  }

  /** The median of the rounds' ratios to another contestant: what slowed one round down slowed both. */
  to(other: Runs, name: string): number {
    const their = (round: number) => other.#rounds[round]?.[name] ?? Number.NaN
    return median(this.#rounds.map((facts, round) => (facts[name] ?? Number.NaN) / their(round)))
  }
}

const run = promisify(execFile)
const measures = `${import.meta.dirname}/measures`

/** Runs each contestant once a round, in turn and in a fresh process, so that a busy neighbour troubles them all. */
export async function contest<K extends string>(
  contestants: Readonly<Record<K, Contestant>>,
  rounds: number,
): Promise<Record<K, Runs>> {
  const entries = Object.entries(contestants) as [K, Contestant][]
  const found = new Map<K, Facts[]>(entries.map(([name]) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, [file, ...args]] of entries) {
      const line = ['--expose-gc', `${measures}/${file}`, ...args.map(String)]
      const { stdout } = await run(process.execPath, line)
      found.get(name)!.push(JSON.parse(stdout))
    }
  }
  return Object.fromEntries(entries.map(([name]) => [name, new Runs(found.get(name)!)])) as Record<K, Runs>
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
