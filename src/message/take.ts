import { MailError } from '../errors.ts'
import type { ResolvedLimits } from '../limits.ts'
import { copyPlain, NotPlain } from './plain.ts'
import { invalid, pathText } from './refusal.ts'

/** A private copy of a caller's message, not checked yet. */
export interface TakenMessage {
  readonly fields: Readonly<Record<string, unknown>>
}

/** Fields that are designed but not built: refused, never ignored. */
const unsupported = ['template', 'track', 'unsubscribe'] as const

/** Bytes copied of one message before its limits are known. */
const mostBytes = 256 * 1024 * 1024

/**
 * Copies a caller's message, so that whatever is done to it afterwards changes nothing. Synchronous for that reason: it is
 * to be called before anything is awaited.
 *
 * @throws MailError `VALIDATION_ERROR`, `UNSUPPORTED_FEATURE`
 */
export function takeMessage(input: unknown, limits?: ResolvedLimits): TakenMessage {
  const plain = takePlain(input, limits?.messageBytes)
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) {
    throw invalid([
      { path: 'message', code: 'invalid_type', message: 'Must be an object with to, subject and text or html.' },
    ])
  }
  const fields = plain as Record<string, unknown>
  const asked = unsupported.filter((name) => fields[name] !== undefined)
  if (asked.length > 0) {
    throw new MailError(
      'UNSUPPORTED_FEATURE',
      `${asked.join(', ')}: not built yet in this version; leave the field out.`,
      {
        issues: asked.map((path) => ({ path, code: 'unsupported', message: 'Not built yet in this version.' })),
      },
    )
  }
  for (const name of unsupported) delete fields[name]
  return { fields }
}

/** What `sendMerge` was given, copied like a message. A recipient that cannot be is the error its own result will hold. */
export function takeMerge(message: unknown, recipients: unknown): { message: unknown; recipients: unknown } {
  return { message: takePlain(message), recipients: Array.isArray(recipients) ? takeEach(recipients) : recipients }
}

function takeEach(list: readonly unknown[]): unknown[] {
  const taken: unknown[] = []
  const { length } = list
  if (length > mostRecipients) throw invalid([tooManyRecipients])
  for (let i = 0; i < length; i++) {
    try {
      taken.push(takePlain(list[i]))
    } catch (error) {
      taken.push(error)
    }
  }
  return taken
}

/** However high `limits.batch` is. */
const mostRecipients = 1_000_000
const tooManyRecipients = { path: 'recipients', code: 'too_many', message: `Holds more than ${mostRecipients}.` }

function takePlain(input: unknown, bytes = mostBytes): unknown {
  try {
    return copyPlain(input, bytes)
  } catch (error) {
    if (!(error instanceof NotPlain)) throw error
    throw invalid([{ path: pathText(error.path) || 'message', code: error.code, message: error.message }])
  }
}
