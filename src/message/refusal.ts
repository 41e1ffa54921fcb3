import { type Issue, MailError } from '../errors.ts'

/** @throws MailError `VALIDATION_ERROR` */
export function invalid(issues: readonly Issue[]): MailError {
  const [first] = issues
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : ''
  return new MailError('VALIDATION_ERROR', `${first?.path ?? 'message'}: ${first?.message ?? 'Is malformed.'}${more}`, {
    issues,
  })
}

/** `to[2]`, `headers["X-A"]`. Names that could hold an address or worse are not repeated. */
export function pathText(path: readonly PropertyKey[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (typeof step === 'string' && /^[A-Za-z_]\w{0,63}$/.test(step)) text += text === '' ? step : `.${step}`
    else if (typeof step === 'string' && /^[\w-]{1,76}$/.test(step)) text += `["${step}"]`
    else text += '["…"]'
  }
  return text
}
