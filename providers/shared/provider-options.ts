import type { Delivery, Issue } from '../../src/provider.ts'

/** Checks of `providerOptions`: a closed set, each with a rule and the words that say it. */
export interface OptionRule {
  readonly fits: (value: unknown) => boolean
  readonly must: string
}

export const text: OptionRule = {
  fits: (value) => typeof value === 'string' && value !== '' && value.length <= 256 && /^[ -~]+$/.test(value),
  must: 'must be printable ASCII text of 1 to 256 characters',
}
export const flag: OptionRule = { fits: (value) => typeof value === 'boolean', must: 'must be true or false' }
export const json: OptionRule = {
  fits: (value) => isPlain(value) && isJson(value),
  must: 'must be an object that JSON can carry',
}
export const integer: OptionRule = { fits: Number.isSafeInteger, must: 'must be a whole number' }

export function matching(pattern: RegExp, must: string): OptionRule {
  return { fits: (value) => typeof value === 'string' && pattern.test(value), must }
}

/** An object with these names and no others. */
export function shape(rules: Readonly<Record<string, OptionRule>>, required: readonly string[] = []): OptionRule {
  return {
    fits: (value) =>
      isPlain(value) &&
      required.every((name) => value[name] !== undefined) &&
      Object.entries(value).every(([name, field]) => field === undefined || ruleOf(rules, name)?.fits(field) === true),
    must: `must be an object of ${Object.entries(rules)
      .map(([name, rule]) => `${name} (${rule.must})`)
      .join(', ')}`,
  }
}

/** Names every option that is unknown or does not fit. */
export function refuseOptions(
  rules: Readonly<Record<string, OptionRule>>,
  { attempt }: Delivery,
  provider: string,
  options: unknown,
): Issue[] {
  if (options === undefined) return []
  const root = `providerOptions.${attempt?.provider ?? provider}`
  if (!isPlain(options)) return [{ path: root, code: 'invalid_type', message: 'must be an object' }]
  const issues: Issue[] = []
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue
    const rule = ruleOf(rules, name)
    const path = `${root}.${name}`
    if (!rule) issues.push({ path, code: 'unknown_field', message: `${provider} knows no such option` })
    else if (!rule.fits(value)) issues.push({ path, code: 'invalid_value', message: rule.must })
  }
  return issues
}

function ruleOf(rules: Readonly<Record<string, OptionRule>>, name: string): OptionRule | undefined {
  return Object.hasOwn(rules, name) ? rules[name] : undefined
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isJson(value: unknown): boolean {
  try {
    return JSON.stringify(value).length <= 262_144
  } catch {
    return false
  }
}
