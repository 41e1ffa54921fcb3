import { hash } from 'node:crypto'

/**
 * A short name for what may hold any characters: 128 bits of a hash over the parts as JSON, which keeps apart what would
 * join to the same text, an absent part from an empty one, and lone surrogates from each other.
 */
export const nameFor = (...parts: readonly (string | undefined)[]): string =>
  hash('sha256', JSON.stringify(parts), 'base64url').slice(0, 22)

const tenants = new Map<string, string>()
const tenantsKept = 1_000

/** The name of a tenant in keys; `-` for none, which no hash has the length of. */
export function tenantName(tenant: string | undefined): string {
  if (tenant === undefined) return '-'
  const known = tenants.get(tenant)
  if (known !== undefined) return known
  if (tenants.size >= tenantsKept) tenants.clear()
  const name = nameFor(tenant)
  tenants.set(tenant, name)
  return name
}

/**
 * Text as the server can keep it and give it back: UTF-8 has no lone surrogates, so two texts that differ in them would
 * become one.
 */
export const escaped = (text: string): string =>
  text.isWellFormed() && !text.includes('\uffff')
    ? text
    : text.replace(/\p{Surrogate}|\uffff/gu, (unit) => `\uffff${unit.charCodeAt(0).toString(16)}`)

export const unescaped = (text: string): string =>
  text.includes('\uffff')
    ? text.replace(/\uffff([0-9a-f]{4})/g, (_, unit: string) => String.fromCharCode(Number.parseInt(unit, 16)))
    : text
