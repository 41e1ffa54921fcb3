import { isIPv4, isIPv6 } from 'node:net'
import { domainToASCII, domainToUnicode } from 'node:url'
import { hasControl, hasInvisible } from './text-rules.ts'

export interface DomainRules {
  /** Accept address literals: `[192.0.2.1]`, `[IPv6:2001:db8::1]`. Default: false. */
  readonly literals?: boolean
  /** Accept a domain of one label, as `localhost`. Default: false. */
  readonly singleLabel?: boolean
}

const longestDomain = 253
const longestLabel = 63
/** A domain in Unicode may be longer than its A-labels, but never by this much. */
const longestText = 1_000

const ascii = /^[\x00-\x7f]*$/
const asciiLetters = /[\x00-\x7f]+/g
const hostText = /^[a-z0-9.\u0080-\u{10ffff}-]+$/iu
const label = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/
/** What the URL standard reads as a number, and so the whole domain as an IPv4 address. */
const numeric = /^(?:[0-9]+|0x[0-9a-f]*)$/
/** Punctuation and mathematical signs pass UTS-46 but only ever imitate separators; a few belong to words. */
const foreignSign = /[\p{P}\p{Sm}\p{Sc}\p{Z}]/u
const wordSigns = /[-\u00b7\u05f3\u05f4\u0f0b\u30fb]/g
const fullStops = /[.\u3002]/

/**
 * The one spelling of a domain everything compares: UTS-46 A-labels in lower case, without root dot, at most 253 octets
 * in labels of at most 63. Undefined when the text is no domain, or when two careful readers could take it for two
 * different ones: other dots than `.`, invisible characters, A-labels that do not round-trip, numbers a URL parser would
 * read as an IP address. Never throws; linear, and refuses more than 1,000 characters unread.
 */
export function canonicalDomain(domain: unknown, rules: DomainRules = {}): string | undefined {
  if (typeof domain !== 'string' || domain.length === 0 || domain.length > longestText) return undefined
  if (domain.startsWith('[')) return rules.literals ? canonicalLiteral(domain) : undefined
  const mapped = ascii.test(domain) ? domain.toLowerCase() : toALabels(domain)
  if (mapped === undefined) return undefined
  const name = mapped.endsWith('.') ? mapped.slice(0, -1) : mapped
  if (name.length > longestDomain) return undefined
  const labels = name.split('.')
  if (labels.length === 1 && !rules.singleLabel) return undefined
  return labels.every(isLabel) && !numeric.test(labels.at(-1) ?? '') ? name : undefined
}

function toALabels(domain: string): string | undefined {
  // domainToASCII is a URL host parser: it decodes percent signs and stops at slashes, so it must not see them
  if (!hostText.test(domain) || hasControl(domain) || hasInvisible(domain)) return undefined
  if (fullStops.test(domain.replace(asciiLetters, '').normalize('NFKC'))) return undefined
  const mapped = domainToASCII(domain)
  return mapped === '' ? undefined : mapped
}

function isLabel(text: string): boolean {
  if (text.length > longestLabel || !label.test(text)) return false
  return text.startsWith('xn--') ? isALabel(text) : hyphensFit(text)
}

/** RFC 5891 section 4.2.3.1: the third and fourth place are kept for encodings. */
function hyphensFit(text: string): boolean {
  return !text.startsWith('-') && !text.endsWith('-') && text.slice(2, 4) !== '--'
}

/** An A-label is good exactly when its Unicode form would have been: some libraries write it back so. */
function isALabel(text: string): boolean {
  const unicode = domainToUnicode(text)
  if (!hyphensFit(unicode) || hasControl(unicode) || hasInvisible(unicode)) return false
  return !foreignSign.test(unicode.replace(wordSigns, '')) && domainToASCII(unicode) === text
}

function canonicalLiteral(text: string): string | undefined {
  if (text.length > longestDomain || !text.endsWith(']')) return undefined
  const inner = text.slice(1, -1)
  if (isIPv4(inner)) return text
  if (inner.slice(0, 5).toLowerCase() !== 'ipv6:') return undefined
  const address = inner.slice(5)
  if (!isIPv6(address) || address.includes('%')) return undefined
  // ABNF has no case, and nodemailer writes the tag so
  return `[ipv6:${new URL(`http://[${address}]`).hostname.slice(1, -1)}]`
}
