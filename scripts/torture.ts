/**
 * Runs the random tests for longer: `npm run torture -- --cycles 20` does twenty times what `npm test` does of them. Each
 * prints its seed; `SEED=… npm run torture` repeats a run.
 */
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { parseArgs } from 'node:util'

/** What one cycle is: the defaults of the tests that read these. */
const cycle = { CASES: 20_000, CYCLES: 2_000, RUNS: 300, WAVES: 12 }

const { values } = parseArgs({ options: { cycles: { type: 'string', default: '10' } } })
const cycles = Number(values.cycles)
if (!Number.isInteger(cycles) || cycles < 1) throw new Error('--cycles is a whole number of 1 or more')

const amounts = Object.fromEntries(Object.entries(cycle).map(([name, amount]) => [name, String(amount * cycles)]))
const files = globSync('test/**/*.{fuzz,property}.test.ts').concat(globSync('test/**/*roundtrip.test.ts')).sort()
const { status } = spawnSync(process.execPath, ['--test', '--test-concurrency=2', ...files], {
  stdio: 'inherit',
  env: { ...process.env, ...amounts },
})
process.exitCode = status ?? 1
