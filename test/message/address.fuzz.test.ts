/**
 * Addresses and headers drawn from a grammar that knows what they are made of, legal and not, then broken at random.
 * SEED repeats a run, CASES lengthens it.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import addressparser from 'nodemailer/lib/addressparser'
import MimeNode from 'nodemailer/lib/mime-node'
import type { ParsedMailbox, Split } from '../../src/message/address.ts'
import {
  canonicalDomain,
  createAddressReader,
  domainOf,
  formatMailbox,
  isProblem,
  mailboxKey,
  parseMailbox,
} from '../../src/message/address.ts'
import { checkHeader, checkMessageId } from '../../src/message/headers.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32)) >>> 0
const cases = Number(process.env.CASES ?? 20_000)
const rules = { literals: true, singleLabel: true }

/** mulberry32 */
function randomFrom(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Grammar {
  readonly below: (limit: number) => number
  readonly mailbox: () => string
  readonly legal: () => string
  readonly name: () => string
  readonly text: () => string
}

function grammar(random: () => number): Grammar {
  const below = (limit: number): number => Math.floor(random() * limit)
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!
  const chance = (share: number): boolean => random() < share
  const many = (least: number, most: number, make: () => string, glue = ''): string =>
    Array.from({ length: least + below(most - least + 1) }, make).join(glue)

  const ascii = [..."abcxyzABCXYZ0189!#$%&'*+-/=?^_`{|}~"]
  const letters = [...'äÖßİıſςΣпЖ中日あ한ﬁǅΩÅéñøệẞ𝒳😀ａＡ１٣क्षع']
  const odd = [
    '\0',
    '\t',
    '\n',
    '\r',
    '\r\n ',
    '\x7f',
    '\x85',
    '\u00a0',
    '\u00ad',
    '\u034f',
    '\u037e',
    '\u0301',
    '\u0338',
    '\u200b',
    '\u200d',
    '\u202e',
    '\u2028',
    '\u2024',
    '\u2060',
    '\u3000',
    '\u3002',
    '\ufe0f',
    '\ufeff',
    '\uff0e',
    '\uff20',
    '\uff1c',
    '\ud800',
    '\udc00',
    '\uffff',
    '\u{e0041}',
    '℀',
    '½',
    '⁄',
  ]
  const specials = [
    ...'()<>[]:;@\\,." ',
    '@',
    '<',
    '>',
    '"',
    '""',
    '\\"',
    '<>',
    '()',
    '@@',
    '..',
    ', ',
    '; ',
    ' <',
    '> ',
  ]

  const atom = () => many(1, 6, () => (chance(0.85) ? pick(ascii) : pick(letters)))
  const dotAtom = () => many(1, 3, atom, '.')
  const quoted = () =>
    `"${many(0, 6, () =>
      pick<() => string>([
        () => pick(ascii),
        () => pick(ascii),
        () => pick(letters),
        () => pick([...' @,;:()<>[].']),
        () => `\\${pick([...'"\\ @<a'])}`,
      ])(),
    )}"`
  const local = () => (chance(0.7) ? dotAtom() : quoted())

  const ldh = () => many(1, 5, () => pick([...'abcxyz0189']))
  const label = () =>
    pick<() => string>([
      ldh,
      ldh,
      ldh,
      () => `${ldh()}-${ldh()}`,
      () => ldh().toUpperCase(),
      () => many(1, 4, () => pick(letters)),
      () => `${ldh()}${pick(letters)}`,
      () => `xn--${ldh()}`,
      () => pick(['xn--bcher-kva', 'XN--FA-HIA', 'xn--n3h', 'xn--1ch']),
    ])()
  const literal = () =>
    `[${pick(['192.0.2.1', 'IPv6:2001:db8::1', 'ipv6:::', 'IPv6:::ffff:1.2.3.4', 'x@evil.example', '::1', 'IPv6:::1%lo', 'a.b'])}]`
  const domain = () =>
    pick<() => string>([
      () => `${many(1, 3, label, '.')}.${pick(['com', 'example', 'рф', 'xn--p1ai', 'COM'])}`,
      () => `${ldh()}.example`,
      () => many(1, 4, label, '.'),
      literal,
      () => `${ldh()}.com.`,
      () => pick(['1.2.3.4', '0x7f.1', 'a.0x1', 'a.1']),
    ])()
  const mailbox = () => `${local()}@${domain()}`
  const legal = () =>
    `${chance(0.7) ? many(1, 3, () => many(1, 6, () => pick(ascii)), '.') : `"${many(0, 8, () => pick([...ascii, ' ', '@', ',', '\\"', '\\\\', '.']))}"`}@${ldh()}a.example`

  const encodedWord = () => {
    const bytes = Buffer.from(many(1, 4, () => pick([...letters, ...ascii, '\r\n', '\u202e', ' ', '<a@b.c>', '"'])))
    const base64 = chance(0.5)
    const text = base64
      ? bytes.toString('base64')
      : [...bytes].map((byte) => `=${byte.toString(16).padStart(2, '0')}`).join('')
    return `=?${pick(['utf-8', 'UTF-8', 'iso-8859-1', 'utf-8*en', 'nope'])}?${base64 ? 'B' : 'q'}?${text}?=`
  }
  const nameText = () =>
    many(0, 6, () =>
      pick([...ascii, ...letters, ' ', ' ', ',', '"', '\\', '<', '>', '@', '(', ')', ';', ':', '.', '=?']),
    )
  const word = () =>
    pick<() => string>([
      dotAtom,
      dotAtom,
      () => `"${nameText().replace(/["\\]/g, '\\$&')}"`,
      encodedWord,
      () => 'علی\u200cرضا',
      () => '❤\ufe0f',
    ])()
  const name = () => many(1, 4, word, chance(0.8) ? ' ' : '')

  const comment = (): string =>
    `(${chance(0.3) ? comment() : ''}${many(0, 3, () => pick([...ascii, '\\)', '@', ' ', '<', '"', mailbox()]))})`
  const one = (): string =>
    pick<() => string>([
      mailbox,
      mailbox,
      () => `<${mailbox()}>`,
      () => `${name()} <${mailbox()}>`,
      () => `${name()} <${mailbox()}>`,
      () => `${name()}${comment()} <${mailbox()}>`,
      () => `${local()}${comment()}@${domain()}`,
      () => `${mailbox()} ${comment()}`,
      () => `${local()}@${ldh()}${comment()}.${ldh()}.com`,
      () => `<@${domain()},@${domain()}:${mailbox()}>`,
      () => `${name()}: ${many(0, 2, one, ', ')};`,
      () => `${mailbox()}${pick([', ', ';', ' ', ',', ''])}${mailbox()}`,
      () => `mailto:${mailbox()}`,
      () => `${pick(['[', '(', '"', '<', '\\'])}${mailbox()}`,
    ])()
  const mutate = (text: string): string => {
    const at = below(text.length + 1)
    return pick<() => string>([
      () => text.slice(0, at) + pick(specials) + text.slice(at),
      () => text.slice(0, at) + pick(odd) + text.slice(at),
      () => text.slice(0, at) + text.slice(at + 1),
      () => text.slice(at) + text.slice(0, at),
      () => text.slice(0, at) + text.slice(below(text.length + 1)),
      () => text.slice(0, at) + text.slice(at).repeat(1 + below(4)),
      () => text.replace('@', pick(odd)),
    ])()
  }
  const text = () => {
    let result = one()
    for (let left = pick([0, 0, 0, 1, 1, 2, 4]); left > 0; left--) result = mutate(result)
    return result
  }
  return { below, mailbox, legal, name: nameText, text }
}

const split: Split = (text) => addressparser(text)
const read = createAddressReader(split, rules)

function envelopeAddress(mailbox: ParsedMailbox): string | undefined {
  const node = new MimeNode('text/plain')
  node.setHeader('To', [{ name: mailbox.name ?? '', address: mailbox.address }])
  const { to } = node.getEnvelope()
  return to.length === 1 ? to[0] : undefined
}

/** INVARIANTS A3, A5, A6: what must hold of every mailbox the reader gives. */
function checkAccepted(result: ParsedMailbox): void {
  const { name, address, key } = result
  assert.deepEqual(Object.keys(result).sort(), name === undefined ? ['address', 'key'] : ['address', 'key', 'name'])

  const domain = domainOf(address)
  assert.match(domain, /^(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9.]+\]|\[ipv6:[0-9a-f:]+\])$/)
  assert.equal(canonicalDomain(domain, rules), domain)
  assert.ok(Buffer.byteLength(address) <= 254 && domain.length <= 253)
  assert.ok(Buffer.byteLength(address.slice(0, -domain.length - 1)) <= 64)
  assert.doesNotMatch(address, /[\p{C}\p{Zl}\p{Zp}<>]/u)
  assert.doesNotMatch(name ?? '', /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u)

  assert.deepEqual(parseMailbox(address, rules), { address, key })
  assert.equal(mailboxKey(address), key)
  // lower case can be longer than upper case, and so than a local part may be
  assert.equal(mailboxKey(key) ?? key, key)
  assert.equal(key, key.normalize('NFC').toLowerCase())

  const written = formatMailbox(result)
  assert.deepEqual(read(written), result)
  const parsed = addressparser(written)
  assert.equal(parsed.length, 1)
  assert.equal(parsed[0]?.group, undefined)
  assert.equal(parsed[0]?.address, address)
  assert.equal(parsed[0]?.name, name ?? '')

  const envelope = envelopeAddress(result)
  // beside a local part in Unicode nodemailer writes the domain in Unicode too
  if (/^[\x00-\x7f]*$/.test(address)) assert.equal(envelope, address)
  else assert.equal(mailboxKey(envelope), key)
}

test(`every accepted text is the one mailbox nodemailer reads too, SEED=${seed} (INVARIANTS A3, A4, A5, A6)`, (t) => {
  t.diagnostic(`SEED=${seed} CASES=${cases}`)
  const draw = grammar(randomFrom(seed))
  let accepted = 0
  for (let i = 0; i < cases; i++) {
    const text = draw.text()
    try {
      const result = read(text)
      if (isProblem(result)) continue
      accepted++
      checkAccepted(result)
      const parsed = addressparser(text)
      assert.equal(parsed.length, 1)
      assert.equal(parsed[0]?.group, undefined)
      // nodemailer leaves out the quotes of a local part whose only fault is its dots
      const { address = '' } = parsed[0]!
      const local = address.slice(0, address.lastIndexOf('@'))
      assert.equal(mailboxKey(address) ?? mailboxKey(`"${local}"${address.slice(local.length)}`), result.key)
    } catch (error) {
      assert.fail(`SEED=${seed} case ${i} ${inspect(text)}: ${error instanceof Error ? error.message : inspect(error)}`)
    }
  }
  assert.ok(accepted > cases / 10, `only ${accepted} of ${cases} accepted: the grammar draws too little that is legal`)
  assert.ok(accepted < cases * 0.9, `${accepted} of ${cases} accepted: the grammar draws too little that is illegal`)
})

test(`every legal mailbox is accepted, with any visible name, SEED=${seed} (INVARIANTS A2)`, () => {
  const draw = grammar(randomFrom(seed ^ 0x5bd1e995))
  for (let i = 0; i < cases / 10; i++) {
    const [address, name] = [draw.legal(), draw.name()]
    const result = read({ name, address })
    assert.ok(!isProblem(result), `SEED=${seed} case ${i} ${inspect([name, address])} ${inspect(result)}`)
    assert.equal(result.name ?? '', name.trim())
    checkAccepted(result)
  }
})

test(`no separator or control gets through, whatever it is put into, SEED=${seed} (INVARIANTS A3, H1)`, () => {
  const draw = grammar(randomFrom(seed ^ 0x1b873593))
  const controls = ['\0', '\t', '\n', '\r', '\r\n', '\x7f', '\x85', '\u2028', '\u2029', '\ud800', '\udc00x', '\uffff']
  for (let i = 0; i < cases / 10; i++) {
    const text = draw.text()
    const at = draw.below(text.length + 1)
    const control = controls[draw.below(controls.length)]!
    const broken = text.slice(0, at) + control + text.slice(at)
    // halves of surrogate pairs may have met
    if (broken.isWellFormed() && /^[\ud800-\udfff]/.test(control)) continue
    assert.ok(isProblem(read(broken)), `SEED=${seed} case ${i} ${inspect(broken)}`)
    assert.equal(mailboxKey(broken), undefined)
    assert.notEqual(checkHeader('X-A', broken), undefined)
    assert.notEqual(typeof checkMessageId(broken), 'string')
    const header = checkHeader(text, text)
    if (!header) assert.match(text, /^[!-~]{1,76}$/)
    const id = checkMessageId(text)
    if (typeof id === 'string') assert.match(id, /^<[!-~]+@[!-~]+>$/)
  }
})

test('what is split stays bounded however long the input, n against 8n (INVARIANTS G4, P10)', () => {
  const longest = (length: number): number => {
    let most = 0
    const reader = createAddressReader((text) => {
      most = Math.max(most, text.length)
      return split(text)
    })
    for (const unit of [
      'a',
      '"',
      '\\"',
      '(',
      '<',
      'a@',
      ' ',
      ',',
      'xn--',
      '.',
      '=?utf-8?q?a?= ',
      '@[',
      '\u0301',
      '😀',
    ]) {
      const run = unit.repeat(length)
      for (const text of [
        run,
        `${run}@example.com`,
        `a@${run}.com`,
        `${run} <a@example.com>`,
        `"${run}" <a@example.com>`,
      ]) {
        reader(text)
        reader({ name: run, address: text })
        reader({ name: run, address: 'a@example.com' })
      }
    }
    return most
  }
  const [small, large] = [longest(1_000), longest(8_000)]
  assert.equal(large, 0)
  assert.ok(small <= 1_000)
  assert.ok(longest(60) > 0)
})

test('A6: the plain addresses read without nodemailer are those it reads alike', () => {
  console.log(`SEED=${seed}`)
  const random = randomFrom(seed)
  const below = (limit: number): number => Math.floor(random() * limit)
  const word = (letters: string, most: number) =>
    Array.from({ length: 1 + below(most) }, () => letters[below(letters.length)]!).join('')
  const alphanumeric = 'abcxyzABCXYZ0189'
  const unasked: Split = () => {
    throw new Error('nodemailer was asked')
  }
  const read = createAddressReader(unasked)
  let named = 0
  for (let n = 0; n < cases / 4; n++) {
    const words = Array.from({ length: below(4) }, () => word(alphanumeric, 6)).join(' ')
    const local = Array.from({ length: 1 + below(3) }, () => word(`${alphanumeric}_+-`, 6)).join('.')
    const domain = `${word('abcxyz0189', 8)}.${word('abcxyz', 5)}`
    const text = words === '' ? `${local}@${domain}` : `${words} <${local}@${domain}>`
    const mailbox = read(text) as ParsedMailbox
    assert.deepEqual(
      addressparser(text).map(({ name, address }) => ({ name, address })),
      [{ name: mailbox.name ?? '', address: mailbox.address }],
      inspect(text),
    )
    assert.equal(mailbox.name ?? '', words)
    if (words !== '') named++
  }
  assert.ok(named > cases / 16)
})
