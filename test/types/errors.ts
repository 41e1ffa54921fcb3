/** Compiled by `npm run types`, never run: each `@ts-expect-error` fails the compiler when the wrong use is allowed. */
import type { MailErrorCode } from '../../src/errors.ts'
import { configurationError, MailError } from '../../src/errors.ts'

declare const error: MailError

// The codes are a closed union.
export const code: MailErrorCode = 'OUTCOME_UNKNOWN'
// @ts-expect-error
export const misspelt: MailErrorCode = 'OUTCOME_UNKOWN'
// @ts-expect-error
new MailError('NO_SUCH_CODE', 'text')
// @ts-expect-error
if (error.code === 'NO_SUCH_CODE') throw error

// An error never says that a hand-over ended well.
export const outcome: 'rejected' | 'failed' | 'unknown' | undefined = error.outcome
// @ts-expect-error
new MailError('REJECTED', 'text', { outcome: 'sent' })

// What it carries cannot be changed, and no other error can be attached.
// @ts-expect-error
error.code = 'REJECTED'
// @ts-expect-error
error.issues.push({ path: 'to', code: 'invalid_address', message: 'text' })
// @ts-expect-error
new MailError('REJECTED', 'text', { cause: new Error('of an SDK') })
// @ts-expect-error
configurationError('text', { code: 'REJECTED' })

/** A switch over the codes that is whole to the compiler, without a default. */
export function advice(about: Extract<MailErrorCode, 'CANCELLED' | 'EXPIRED'>): string {
  switch (about) {
    case 'CANCELLED':
      return 'send again'
    case 'EXPIRED':
      return 'too late'
  }
}
