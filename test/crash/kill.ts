import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { noAccidents } from '../support/accidents.ts'
import { dieAt } from './deaths.ts'
import { type EngineName, engine } from './engines.ts'
import { violations } from './history.ts'
import { points } from './points.ts'

/** A test for each step of accept and dispatch, at which a process is killed on a store of this engine. */
export async function killAtEveryStep(name: EngineName): Promise<void> {
  noAccidents()
  const folder = mkdtempSync(join(tmpdir(), 'sendwright-kill-'))
  after(() => rmSync(folder, { recursive: true }))
  const made = await engine(name, folder)
  if ('skip' in made) {
    test(`X2: ${name}`, { skip: made.skip }, () => {})
    return
  }
  // They wait most of the time, for the leases of the dead.
  describe(`X2: kill -9 at every step of accept and dispatch, on ${name} (P1, P2, P7, D1)`, {
    concurrency: made.places,
  }, () => {
    after(() => made.close())
    for (const [number, point] of points.entries()) {
      test(point.name, async () => {
        const { history, ending, afterResolve } = await dieAt(point, made, folder, number)
        assert.deepEqual(violations(history), [])
        const fits = point.endings.some((one) => JSON.stringify(one) === JSON.stringify(ending))
        assert.ok(fits, `ended ${JSON.stringify(ending)}, and only these may be: ${JSON.stringify(point.endings)}`)
        if (afterResolve === undefined) return
        const wanted = { send: ['sent', 'replayed sent'], work: ['queued', 'replayed sent'], enqueue: [] }
        assert.equal(afterResolve, wanted[point.flow.does][ending.taken], 'the operator’s word holds')
      })
    }
  })
}
