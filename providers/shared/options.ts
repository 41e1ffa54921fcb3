import { configurationError } from '../../src/provider.ts'

/** Checks of factory options, thrown at once as `CONFIGURATION_ERROR`. Messages name the option and never hold its value. */

/** Takes the options of `factory` as a plain object with no names but `known`. */
export function closedOptions(factory: string, options: unknown, known: readonly string[]): Record<string, unknown> {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw configurationError(`${factory}: give the options as an object`)
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw configurationError(`${factory}: there is no option ${JSON.stringify(name)}; known are ${known.join(', ')}`)
    }
  }
  return options as Record<string, unknown>
}

const visibleAscii = /^[!-~]+$/

/** A token that will stand in a header or path: visible ASCII without blanks. */
export function tokenOption(factory: string, name: string, value: unknown, hint: string): string {
  if (typeof value !== 'string' || !visibleAscii.test(value)) {
    throw configurationError(`${factory}: ${name} must be visible ASCII text without blanks: ${hint}`)
  }
  return value
}

/** As `tokenOption`, or absent. */
export function optionalToken(factory: string, name: string, value: unknown, hint: string): string | undefined {
  return value === undefined ? undefined : tokenOption(factory, name, value, hint)
}

/** The base address of an HTTP API: http or https, without user info, query or fragment; ends without a slash. */
export function urlOption(factory: string, name: string, value: unknown): string {
  const url = typeof value === 'string' ? URL.parse(value) : null
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.password || url.search || url.hash) {
    throw configurationError(`${factory}: ${name} must be an http(s) URL without user info, query or fragment`)
  }
  return url.href.replace(/\/+$/, '')
}

/** One of a few words, or `fallback` when absent. */
export function choiceOption<const T extends string>(
  factory: string,
  name: string,
  value: unknown,
  choices: readonly T[],
  fallback: T,
): T {
  if (value === undefined) return fallback
  const choice = choices.find((candidate) => candidate === value)
  if (choice === undefined) throw configurationError(`${factory}: ${name} must be one of ${choices.join(', ')}`)
  return choice
}
