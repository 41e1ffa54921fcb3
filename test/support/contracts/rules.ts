/** Rules of a provider's request, as small checks that name every breach by its path. */
export type Rule = (value: unknown, path: string) => string[]

export const string = (fits: RegExp | ((text: string) => boolean) = /^/s): Rule => {
  const test = fits instanceof RegExp ? (text: string) => fits.test(text) : fits
  return (value, path) => (typeof value === 'string' && test(value) ? [] : [`${path}: ${typeof value} does not fit`])
}

export const kind =
  (name: 'boolean' | 'number'): Rule =>
  (value, path) =>
    typeof value === name ? [] : [`${path}: must be a ${name}`]

export const anything: Rule = () => []

export const list =
  (item: Rule, { min = 0, max = Number.POSITIVE_INFINITY, unique = false } = {}): Rule =>
  (value, path) => {
    if (!Array.isArray(value)) return [`${path}: must be a list`]
    const problems = value.flatMap((entry, index) => item(entry, `${path}[${index}]`))
    if (value.length < min || value.length > max) problems.push(`${path}: ${value.length} entries`)
    if (unique && new Set(value.map((entry) => JSON.stringify(entry))).size < value.length)
      problems.push(`${path}: twice`)
    return problems
  }

/** An object with these fields and no others; a name ending in `!` is required. */
export const fields =
  (rules: Readonly<Record<string, Rule>>, extra: Rule = anything): Rule =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${path}: must be an object`]
    const known = new Map(Object.entries(rules).map(([name, rule]) => [name.replace('!', ''), rule]))
    const missing = Object.keys(rules).filter((name) => name.endsWith('!') && !Object.hasOwn(value, name.slice(0, -1)))
    return [
      ...missing.map((name) => `${path}.${name}: missing`),
      ...Object.entries(value).flatMap(([name, field]) => {
        const rule = known.get(name)
        return rule ? rule(field, `${path}.${name}`) : [`${path}.${name}: unknown`]
      }),
      ...extra(value, path),
    ]
  }

/** An object whose names and values fit. */
export const entries =
  (name: RegExp, item: Rule): Rule =>
  (value, path) =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).flatMap(([key, field]) => [
          ...(name.test(key) ? [] : [`${path}.${key}: bad name`]),
          ...item(field, `${path}.${key}`),
        ])
      : [`${path}: must be an object`]

export const holds =
  <T>(fits: (value: T) => boolean, words: string): Rule =>
  (value, path) =>
    fits(value as T) ? [] : [`${path}: ${words}`]
