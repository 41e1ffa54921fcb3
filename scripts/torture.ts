/**
 * Runs the random tests for longer: `npm run torture -- --cycles 20` does twenty times what `npm test` does of them. Each
 * prints its seed; `SEED=… npm run torture` repeats a run.
 *
 * Then kills processes, as many for each engine as there are cycles: `--engine sqlite`, `redis`, `postgres`, `bullmq` or
 * `pg-boss` for one of them, `--only crash` for nothing else. What a seed fixes and a machine does not repeat is the exact moment of each death.
 */
import { spawnSync } from 'node:child_process'
import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { seedOf } from '../test/crash/chance.ts'
import { type Figures, inWords, runCycles } from '../test/crash/cycles.ts'
import { type EngineName, engine, engineNames } from '../test/crash/engines.ts'

/** What one cycle is: the defaults of the tests that read these. */
const cycle = { CASES: 20_000, CYCLES: 2_000, RUNS: 300, WAVES: 12 }

/** Deaths on one store, before what they left is looked at. */
const deathsPerStore = 20

const { values } = parseArgs({
  options: { cycles: { type: 'string', default: '10' }, engine: { type: 'string' }, only: { type: 'string' } },
})
const cycles = Number(values.cycles)
if (!Number.isInteger(cycles) || cycles < 1) throw new Error('--cycles is a whole number of 1 or more')
if (values.only !== undefined && values.only !== 'crash') throw new Error('--only knows crash alone')
const asked = <T extends string>(names: readonly T[]) =>
  names.filter((name) => values.engine === undefined || name === values.engine)
const engines = asked(engineNames)
const queues = asked(['bullmq', 'pg-boss'])
if (engines.length + queues.length === 0)
  throw new Error(`--engine is one of ${engineNames.join(', ')}, bullmq, pg-boss`)

// So that servers and processes end with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
const passed = values.only === 'crash' || runRandomTests()
const sound = engines.length === 0 || (await crash(engines))
const queuesSound = queues.map(killWorkersOf)
process.exitCode = passed && sound && queuesSound.every(Boolean) ? 0 : 1

function runRandomTests(): boolean {
  const amounts = Object.fromEntries(Object.entries(cycle).map(([name, amount]) => [name, String(amount * cycles)]))
  const files = globSync('test/**/*.{fuzz,property}.test.ts').concat(globSync('test/**/*roundtrip.test.ts')).sort()
  const { status } = spawnSync(process.execPath, ['--test', '--test-concurrency=2', ...files], {
    stdio: 'inherit',
    env: { ...process.env, ...amounts },
  })
  return status === 0
}

/** Kills workers of a queue engine. */
function killWorkersOf(name: string): boolean {
  const args = ['--test', '--test-name-pattern=killed with -9', `test/queues/${name}.test.ts`]
  const env = { ...process.env, KILLS: String(cycles) }
  return spawnSync(process.execPath, args, { stdio: 'inherit', env }).status === 0
}

async function crash(names: readonly EngineName[]): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'sendwright-torture-'))
  const totals: string[] = []
  let violations = 0
  try {
    for (const name of names) {
      const { total, wrong } = await crashOn(name, folder)
      totals.push(total)
      violations += wrong
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
  for (const total of totals) console.log(total)
  console.log(`torture: ${violations} violations`)
  return violations === 0
}

async function crashOn(name: EngineName, folder: string): Promise<{ total: string; wrong: number }> {
  const made = await engine(name, folder)
  if ('skip' in made) return { total: `${name}: skipped, ${made.skip}`, wrong: 0 }
  const first = seedOf()
  const all: Figures[] = []
  let wrong = 0
  try {
    for (let done = 0; done < cycles; done += all.at(-1)!.cycles) {
      const seed = first + all.length
      const { figures, found, history } = await runCycles({
        engine: made,
        seed,
        cycles: Math.min(deathsPerStore, cycles - done),
      })
      all.push(figures)
      console.log(inWords(name, seed, figures))
      if (found.length === 0) continue
      wrong += found.length
      const path = join(tmpdir(), `sendwright-history-${name}-${seed}.json`)
      writeFileSync(path, JSON.stringify({ found, ...history, gets: [...history.gets] }, undefined, 1))
      for (const { rule, kind, text } of found) console.error(`✖ ${rule} ${kind}: ${text}`)
      console.error(`  the whole history is in ${path}`)
    }
  } finally {
    await made.close()
  }
  const sums = Object.fromEntries(
    Object.keys(all[0]!).map((figure) => [figure, all.reduce((sum, one) => sum + one[figure as keyof Figures], 0)]),
  )
  return { total: `in all, ${inWords(name, first, sums as unknown as Figures)}`, wrong }
}
