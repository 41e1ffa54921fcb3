import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { start } from '../support/program.ts'

/** The facts one measuring process reports. How good they are is for the bench to print, not for a test to judge. */
export async function measured(t: TestContext, file: string, ...args: string[]): Promise<Record<string, number>> {
  const program = start(t, `bench/measures/${file}`, {}, args)
  assert.equal(await program.ended, 0, program.err)
  return JSON.parse(program.out)
}
