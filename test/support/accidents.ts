import assert from 'node:assert/strict'
import { after } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'

/** Fails the file that calls it when anything in it ended as an uncaught exception or an unhandled rejection (INVARIANTS P9). */
export function noAccidents(): void {
  const accidents: unknown[] = []
  const note = (accident: unknown) => void accidents.push(accident)
  process.on('uncaughtException', note)
  process.on('unhandledRejection', note)
  after(async () => {
    for (let i = 0; i < 5; i++) await turn()
    process.off('uncaughtException', note)
    process.off('unhandledRejection', note)
    assert.deepEqual(accidents, [])
  })
}
