/**
 * A text as SQLite is given it. SQLite keeps texts as UTF-8, in which all lone surrogates become the same character, and
 * Node 22 reads them up to the first NUL. So that two texts never meet, those characters are escaped, and the escape too.
 * What texts begin with stays what they begin with.
 */
export const toSql = (text: string): string =>
  special.test(text) ? text.replace(allSpecial, (character) => `\u0001${hex(character)}`) : text

export const fromSql = (stored: string): string =>
  stored.includes('\u0001') ? stored.replace(/\u0001([0-9a-f]{4})/g, (_, code) => unhex(code)) : stored

/** No tenant sorts first, and is none that has an empty name. */
export const tenantToSql = (tenant: string | undefined): string => (tenant === undefined ? '' : `=${toSql(tenant)}`)

export const tenantFromSql = (stored: string): string | undefined =>
  stored === '' ? undefined : fromSql(stored.slice(1))

/** With the flag, a surrogate that is one of a pair is no surrogate. */
const special = /[\0\u0001\p{Surrogate}]/u
const allSpecial = /[\0\u0001\p{Surrogate}]/gu

const hex = (character: string) => character.charCodeAt(0).toString(16).padStart(4, '0')
const unhex = (code: string) => String.fromCharCode(Number.parseInt(code, 16))
