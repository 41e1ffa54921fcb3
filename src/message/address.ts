import type { DomainRules } from './domain.ts'
import { canonicalDomain } from './domain.ts'
import type { NameWord } from './encoded-word.ts'
import { joinWords } from './encoded-word.ts'
import { hasControl, hasHidden, hasInvisible } from './text-rules.ts'

export { canonicalDomain } from './domain.ts'

/** One mailbox as everything after the door sees it. */
export interface ParsedMailbox {
  /** The decoded display name; absent when there is none. */
  readonly name?: string
  /** Wire form: the local part in the caller's case, quoted only where it must be; the domain as lower-case A-labels. */
  readonly address: string
  /** The canonical form for counting, dedupe, suppression and allow-lists (INVARIANTS A5). Never put on the wire. */
  readonly key: string
}

export interface AddressProblem {
  /** Stable: `invalid_type`, `unknown_field`, `required`, `too_long`, `invalid_name`, `invalid_address`. */
  readonly code: string
  /** What is wrong and what to do. Never holds the value. */
  readonly message: string
}

export type AddressRules = DomainRules

/** The part of nodemailer's `addressparser` used here. */
export type Split = (text: string) => readonly SplitEntry[]

export interface SplitEntry {
  readonly name: string
  readonly address?: string | undefined
  readonly group?: readonly SplitEntry[] | undefined
}

export type AddressReader = (input: unknown) => ParsedMailbox | AddressProblem

/** Characters read of one address text, its name included. */
const longestText = 1_000
/** Characters of a decoded display name. */
const longestName = 300
/** Octets, RFC 5321 section 4.5.3.1; 254 is the path limit of 256 without its angle brackets. */
const longestLocal = 64
const longestAddress = 254

const problem = (code: string, message: string): AddressProblem => Object.freeze({ code, message })

const problems = {
  type: problem('invalid_type', 'Must be text, or an object { name?, address } of texts.'),
  nameType: problem('invalid_type', 'The name must be text; leave it out when there is none.'),
  unreadable: problem('invalid_type', 'A property threw while it was read; pass plain data.'),
  unknownField: problem('unknown_field', 'An address object has only the fields name and address; remove the others.'),
  missing: problem('required', 'The address object needs an address field.'),
  empty: problem('required', 'Must not be empty; write it as local@domain.'),
  tooLong: problem('too_long', 'Too long: at most 64 octets before the @, 254 in all, 1,000 characters with the name.'),
  nameTooLong: problem('too_long', 'The name may have at most 300 characters; shorten it.'),
  name: problem('invalid_name', 'The name must not hold control, direction or invisible characters; remove them.'),
  shape: problem(
    'invalid_address',
    'Must be one mailbox, local@domain or Name <local@domain>. Put a name with any of ()<>[]:;@,\\ in double quotes; pass several addresses as an array.',
  ),
  character: problem('invalid_address', 'Holds control, direction or invisible characters; remove them.'),
  local: problem('invalid_address', 'The part before the @ is malformed; put unusual characters in double quotes.'),
  domain: problem('invalid_address', 'The domain is malformed, ambiguous or no full one; write it like example.com.'),
  ambiguous: problem(
    'invalid_address',
    'Mail programs would not agree which mailbox this is; write it as local@domain.',
  ),
} as const

export function isProblem(result: unknown): result is AddressProblem {
  return typeof result === 'object' && result !== null && 'code' in result
}

const dotAtom = /^[\w!#$%&'*+/=?^`{|}~\u0080-\u{10ffff}-]+(?:\.[\w!#$%&'*+/=?^`{|}~\u0080-\u{10ffff}-]+)*$/u
const quotedLocal = /^"((?:[^"\\]|\\[ -~])*)"@/
/** Every space but U+0020: readers differ on what they separate. */
const oddSpace = /[^\P{Zs} ]/u
const asciiRun = /[\x00-\x7f]+/g
/** What the compatibility form of a character must not bring in: a second reader may normalise before it splits. */
const separators = /[()<>[\]:;@\\,."\u3002]/
const startsWithMark = /^\p{M}/u
/** nodemailer writes a space for these, even in a quoted string, and so would mail somebody else. */
const angleBracket = /[<>]/

/**
 * Reads a bare mailbox, `local@domain`. The local part is a dot-atom or a quoted string, both in any script; the domain
 * is what `canonicalDomain` takes. Never throws; linear.
 */
export function parseMailbox(address: unknown, rules: AddressRules = {}): ParsedMailbox | AddressProblem {
  if (typeof address !== 'string') return problems.type
  if (address.length > longestText) return problems.tooLong
  if (address === '') return problems.empty
  if (hasControl(address) || hasInvisible(address) || oddSpace.test(address)) {
    return problems.character
  }
  const quoted = quotedLocal.exec(address)
  const at = quoted ? quoted[0].length - 1 : address.indexOf('@')
  if (at < 0) return problems.shape
  const local = quoted ? dropBackslashes(quoted[1]!) : address.slice(0, at)
  if (!quoted && !dotAtom.test(local)) return problems.local
  if (startsWithMark.test(local) || separators.test(local.replace(asciiRun, '').normalize('NFKC')))
    return problems.local
  if (angleBracket.test(local)) return problems.ambiguous
  const domain = canonicalDomain(address.slice(at + 1), rules)
  if (domain === undefined) return problems.domain
  const wire = `${quoteLocal(local)}@${domain}`
  if (Buffer.byteLength(address.slice(0, at)) > longestLocal || Buffer.byteLength(wire) > longestAddress) {
    return problems.tooLong
  }
  return { address: wire, key: `${quoteLocal(fold(local))}@${domain}` }
}

/** The key (INVARIANTS A5) of a bare mailbox, literals and single labels included; undefined when it is malformed. */
export function mailboxKey(address: unknown): string | undefined {
  const mailbox = parseMailbox(address, { literals: true, singleLabel: true })
  return isProblem(mailbox) ? undefined : mailbox.key
}

/** The domain of an address in wire form. */
export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1)
}

function dropBackslashes(text: string): string {
  return text.replace(/\\(.)/gsu, '$1')
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

function quoteLocal(local: string): string {
  return dotAtom.test(local) ? local : quote(local)
}

function fold(local: string): string {
  return local.toLowerCase().normalize('NFC')
}

const bareName = /^[\p{L}\p{N}][\p{L}\p{M}\p{N}'-]*(?: [\p{L}\p{N}][\p{L}\p{M}\p{N}'-]*)*$/u
const plainAddress = /^[^"[]+$/

/**
 * The header text of one mailbox, in Unicode: the name quoted where it needs to be, the address in angle brackets unless
 * it is plain and alone. Read back by `createAddressReader`'s reader or nodemailer it gives the same mailbox.
 */
export function formatMailbox(mailbox: { readonly name?: string; readonly address: string }): string {
  const { name, address } = mailbox
  if (!name) return plainAddress.test(address) ? address : `<${address}>`
  return `${bareName.test(name) ? name : quote(name)} <${address}>`
}

/**
 * Makes the one reader of addresses (INVARIANTS A1). It takes `'ada@example.com'`, `'Ada L. <ada@example.com>'` (at most
 * 1,000 characters) or `{ name?, address }` with a bare mailbox and a name of at most 300 characters, and answers the
 * mailbox or a problem. Lists, groups, comments, routes and folding are refused. It never throws and takes linear time.
 *
 * `split` is nodemailer's `addressparser`: a text it reads otherwise than we do is refused, and so is a mailbox that
 * would not survive being written to a header.
 */
export function createAddressReader(split: Split, rules: AddressRules = {}): AddressReader {
  const accepted: AddressRules = { literals: rules.literals === true, singleLabel: rules.singleLabel === true }
  return (input) => {
    if (typeof input === 'string') return readText(input, split, accepted)
    if (typeof input !== 'object' || input === null) return problems.type
    const fields = readFields(input)
    return isProblem(fields) ? fields : finish(parseMailbox(fields.address, accepted), fields.name, split)
  }
}

interface Fields {
  readonly name: string
  readonly address: string
}

function readFields(input: object): Fields | AddressProblem {
  let name: unknown
  let address: unknown
  try {
    if (Array.isArray(input)) return problems.type
    for (const field of Reflect.ownKeys(input)) {
      if (field === 'name') name = Reflect.get(input, field)
      else if (field === 'address') address = Reflect.get(input, field)
      else return problems.unknownField
    }
  } catch {
    return problems.unreadable
  }
  if (address === undefined) return problems.missing
  if (typeof address !== 'string') return problems.type
  if (name !== undefined && typeof name !== 'string') return problems.nameType
  return { name: name ?? '', address }
}

function readText(text: string, split: Split, rules: AddressRules): ParsedMailbox | AddressProblem {
  if (text.length > longestText) return problems.tooLong
  if (hasControl(text)) return problems.character
  const trimmed = trimSpaces(text)
  const fields = trimmed.endsWith('>') ? splitName(trimmed) : { name: '', address: trimmed }
  if (fields === undefined) return problems.shape
  return finish(parseMailbox(fields.address, rules), fields.name, split, text)
}

/** Only U+0020 is white space around a mailbox to every reader. */
function trimSpaces(text: string): string {
  let start = 0
  let end = text.length
  while (text[start] === ' ') start++
  while (end > start && text[end - 1] === ' ') end--
  return text.slice(start, end)
}

const quotedWord = /"((?:[^"\\]|\\.)*)"(?=[ <])/y
/** An atom, with the dots people write in names ("Ada L."). */
const bareWord = /[^ ()<>[\]:;@\\,"]+(?=[ <])/y

/** Parts `words <address>`; undefined when what stands before the bracket is no display name. */
function splitName(text: string): Fields | undefined {
  const words: NameWord[] = []
  let at = 0
  while (at < text.length) {
    if (text[at] === '<') return { name: joinWords(words), address: text.slice(at + 1, -1) }
    if (text[at] === ' ') {
      at++
      continue
    }
    const quoted = text[at] === '"'
    const pattern = quoted ? quotedWord : bareWord
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (!match) return undefined
    words.push({ text: quoted ? dropBackslashes(match[1]!) : match[0], quoted })
    at = pattern.lastIndex
  }
  return undefined
}

function finish(
  mailbox: ParsedMailbox | AddressProblem,
  givenName: string,
  split: Split,
  text?: string,
): ParsedMailbox | AddressProblem {
  if (isProblem(mailbox)) return mailbox
  if (givenName.length > longestName) return problems.nameTooLong
  if (hasControl(givenName) || hasHidden(givenName)) return problems.name
  const name = givenName.trim()
  const named = name === '' ? mailbox : { name, ...mailbox }
  const written = formatMailbox(named)
  if (unmistakable.test(written) && (text === undefined || text === written)) return named
  const agreed =
    readsAs(split, written, mailbox.address) &&
    (text === undefined || text === written || readsAs(split, text, mailbox.address))
  return agreed ? named : problems.ambiguous
}

/** Letters and digits with nothing between them that any reader could take for syntax: most addresses there are. */
const unmistakable = /^(?:[A-Za-z0-9]+(?: [A-Za-z0-9]+)* <[\w.+-]+@[a-z0-9.-]+>|[\w.+-]+@[a-z0-9.-]+)$/

/** Whether nodemailer finds this one mailbox in the text and nothing else. It may leave out or add quotes. */
function readsAs(split: Split, text: string, address: string): boolean {
  const entries = split(text)
  const read = entries.length === 1 && !entries[0]!.group ? entries[0]!.address : undefined
  if (!read) return false
  if (read === address) return true
  const at = read.lastIndexOf('@')
  return (
    unquote(read.slice(0, at)) === unquote(address.slice(0, address.lastIndexOf('@'))) &&
    canonicalDomain(read.slice(at + 1), { literals: true, singleLabel: true }) === domainOf(address)
  )
}

function unquote(local: string): string {
  return local.length > 1 && local.startsWith('"') && local.endsWith('"') ? dropBackslashes(local.slice(1, -1)) : local
}
