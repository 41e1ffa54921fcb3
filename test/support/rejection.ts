import assert from 'node:assert/strict'
import { MailError } from '../../src/errors.ts'

/** The `MailError` a call rejects with; anything else, a resolved call too, fails the test. */
export async function rejection(call: Promise<unknown>): Promise<MailError> {
  try {
    await call
  } catch (error) {
    assert.ok(error instanceof MailError, `rejected with ${String(error)}`)
    return error
  }
  assert.fail('resolved')
}
