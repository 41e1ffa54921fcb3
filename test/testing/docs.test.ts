import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/conformance.md'), 'utf8')
const blocks = Array.from(page.matchAll(/^```ts\n(.*?)^```/gms), ([, code]) => code ?? '')

/** The imports of a user, led to the sources. */
const fromSource = (code: string) =>
  code
    .replaceAll("from 'sendwright'", "from './src/index.ts'")
    .replaceAll("from 'sendwright/testing'", "from './src/testing/index.ts'")
    .replace(/from 'sendwright\/(providers\/\w+)'/g, "from './$1.ts'")

test('docs/conformance.md has code to run', () => assert.equal(blocks.length, 3))

for (const [index, code] of blocks.entries()) {
  test(`block ${index + 1} of docs/conformance.md runs, and prints what it says`, async () => {
    const args = ['--input-type=module-typescript', '--no-warnings', '--eval', fromSource(code)]
    // A child of a test run would report to it otherwise.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, env, maxBuffer: 2 ** 24 })
    const promised = Array.from(code.matchAll(/^console\.log\(.*\) \/\/ (\w+)/gm), ([, word]) => word)
    if (promised.length > 0) assert.deepEqual(stdout.trim().split('\n'), promised)
  })
}
