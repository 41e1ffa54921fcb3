/**
 * Runs the tests, two files at a time, each in a process of its own: `npm test`, or `npm test -- <glob> …` for some.
 *
 * Fails where `node --test` would not: when no test ran, when a test file holds none, and, with CI set, when a test was
 * skipped or is a todo. Ends with `tests: N passed, N failed, N skipped`.
 */
import { globSync } from 'node:fs'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

const perTest = 600_000

const given = process.argv.slice(2)
const files = globSync(given.length > 0 ? given : ['test/**/*.test.ts']).sort()
const faults: string[] = files.length === 0 ? ['no test file was found'] : []
let passed = 0
let failed = 0
let skipped = 0

const stream = run({ files, concurrency: 2, timeout: perTest })
for await (const line of stream
  .on('test:pass', ({ name, file }) => {
    // A file without tests is reported as one test that has the file's name and passed.
    if (file?.endsWith(name) && name.endsWith('.test.ts')) faults.push(`${name} holds no test`)
  })
  .on('test:summary', ({ file, counts }) => {
    if (file !== undefined) return
    passed = counts.passed
    failed = counts.tests - counts.passed - counts.skipped - counts.todo
    skipped = counts.skipped + counts.todo
  })
  .compose(spec)) {
  process.stdout.write(line)
}

if (passed === 0) faults.push('no test passed')
if (skipped > 0 && process.env.CI) faults.push(`${skipped} skipped, and in CI nothing may be`)
for (const fault of faults) console.error(`✖ ${fault}`)
console.log(`tests: ${passed} passed, ${failed + faults.length} failed, ${skipped} skipped`)
process.exitCode = failed + faults.length > 0 ? 1 : 0
