import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { noAccidents } from '../support/accidents.ts'
import { seedOf } from './chance.ts'
import { inWords, runCycles } from './cycles.ts'
import { engine, engineNames } from './engines.ts'

noAccidents()

const seed = seedOf()
const cycles = 20
const folder = mkdtempSync(join(tmpdir(), 'sendwright-cycles-'))
after(() => rmSync(folder, { recursive: true }))

describe(`processes that are killed at any moment (X2, X3), SEED=${seed}`, () => {
  for (const name of engineNames) {
    test(`P1, P2, P7, D1: nothing is lost, doubled or left on ${name} over ${cycles} deaths`, async (t) => {
      const made = await engine(name, folder)
      if ('skip' in made) return t.skip(made.skip)
      try {
        const { found, figures } = await runCycles({ engine: made, seed, cycles })
        t.diagnostic(inWords(name, seed, figures))
        assert.deepEqual(found, [], `SEED=${seed}`)
        assert.ok(
          figures.taken > cycles,
          `only ${figures.taken} messages were sent, so little was tried (SEED=${seed})`,
        )
      } finally {
        await made.close()
      }
    })
  }
})
