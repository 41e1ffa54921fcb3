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
  let plain: unknown
  try {
    plain = copyPlain(input, limits?.messageBytes ?? mostBytes)
  } catch (error) {
    if (!(error instanceof NotPlain)) throw error
    throw invalid([{ path: pathText(error.path) || 'message', code: error.code, message: error.message }])
  }
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
