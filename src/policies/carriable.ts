import { callOf } from '../call.ts'
import { type Candidate, candidates } from '../dispatch/candidates.ts'
import { MailError } from '../errors.ts'
import type { Policy } from './policy.ts'

/** Refuses what no provider of the route can carry whole, naming the fields, before anything is claimed or counted. */
export const carriable: Policy = (next) => (delivery) => {
  const { context } = callOf(delivery)
  const unknown = Object.keys(delivery.message.providerOptions).find((name) => !context.provider(name))
  if (unknown !== undefined) {
    throw new MailError('VALIDATION_ERROR', 'providerOptions names a provider that is not configured.', {
      issues: [{ path: 'providerOptions', code: 'unknown_provider', message: 'Use the names of `providers`.' }],
    })
  }
  if (!delivery.sandbox) requireOne(candidates(delivery))
  return next(delivery)
}

/** @throws MailError `UNSUPPORTED_FEATURE` when every candidate lacks something. */
function requireOne(all: readonly Candidate[]): void {
  if (all.some(({ issues }) => issues.length === 0)) return
  const issues = all.flatMap((candidate) => candidate.issues)
  throw new MailError(
    'UNSUPPORTED_FEATURE',
    `No provider of the route (${all.map(({ name }) => name).join(', ')}) can carry this message: ${issues[0]?.path}: ${issues[0]?.message}`,
    { issues },
  )
}
