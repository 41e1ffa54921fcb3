import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { resolveLimits } from '../../src/limits.ts'
import { type ParsedMailbox, parseMailbox } from '../../src/message/address.ts'
import { fingerprint, hashKey } from '../../src/message/fingerprint.ts'
import { createMessageReader } from '../../src/message/reader.ts'
import { takeMessage } from '../../src/message/take.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
console.log(`SEED=${seed}`)

const read = createMessageReader()
const limits = resolveLimits()
const { signal } = new AbortController()
const print = async (input: unknown): Promise<string> => {
  const from = parseMailbox('hello@acme.example') as ParsedMailbox
  return fingerprint((await read(takeMessage(input), { limits, signal, from })).message)
}

const whole = {
  from: 'Acme <hello@acme.example>',
  to: ['Ada <ada@example.com>', 'bob@example.com'],
  cc: 'carol@example.com',
  bcc: 'dan@example.com',
  replyTo: 'r@example.com',
  subject: 'Hi',
  text: 'text',
  html: '<p>html</p>',
  attachments: [
    { filename: 'a.txt', content: 'aGVsbG8=', encoding: 'base64', contentType: 'text/plain', contentId: 'a' },
    { filename: 'b.txt', content: new Uint8Array([1, 2, 3]) },
  ],
  headers: { 'X-A': 'a', 'X-B': ['b', 'c'] },
  tags: ['t1', 't2'],
  topic: 'news',
  campaign: 'c',
  metadata: { a: '1', b: '2' },
  calendar: { method: 'REQUEST', content: 'x', filename: 'i.ics' },
  importance: 'high',
  inReplyTo: '<a@b>',
  references: ['<a@b>', '<c@d>'],
  providerOptions: { ses: { pool: 'p', deep: { x: [1, 2] } } },
}

describe('the same message has the same fingerprint (K2)', () => {
  const base = print(whole)
  const stream = (...chunks: string[]) =>
    (async function* () {
      yield* chunks
    })()
  const changed: [string, () => object][] = [
    ['keys in another order', () => Object.fromEntries(Object.entries(whole).reverse())],
    [
      'keys inside in another order',
      () => ({
        ...whole,
        metadata: { b: '2', a: '1' },
        calendar: { filename: 'i.ics', content: 'x', method: 'REQUEST' },
        providerOptions: { ses: { deep: { x: [1, 2] }, pool: 'p' } },
      }),
    ],
    [
      'undefined for absent',
      () => ({
        ...whole,
        template: undefined,
        providerOptions: { ses: { ...whole.providerOptions.ses, no: undefined } },
      }),
    ],
    [
      'one address or a list of one',
      () => ({ ...whole, cc: ['carol@example.com'], bcc: [{ address: 'dan@example.com' }] }),
    ],
    [
      'an address as text or object',
      () => ({ ...whole, to: [{ name: 'Ada', address: 'ada@example.com' }, 'bob@example.com'] }),
    ],
    ['the domain in other letters', () => ({ ...whole, cc: 'carol@EXAMPLE.com' })],
    ['text as bytes', () => ({ ...whole, text: Buffer.from('text') })],
    [
      'headers as a list',
      () => ({
        ...whole,
        headers: [
          { name: 'X-A', value: 'a' },
          { name: 'X-B', value: 'b' },
          { name: 'X-B', value: 'c' },
        ],
      }),
    ],
    ['metadata as its text', () => ({ ...whole, metadata: { a: 1, b: 2 } })],
    ['a Message-ID without brackets', () => ({ ...whole, inReplyTo: 'a@b' })],
    ...(
      [
        ['bytes', () => new TextEncoder().encode('hello')],
        ['a Buffer', () => Buffer.from('hello')],
        ['an ArrayBuffer', () => new TextEncoder().encode('hello').buffer],
        ['a part of larger bytes', () => Buffer.from('xhellox').subarray(1, 6)],
        ['a stream', () => stream('hel', 'lo')],
        ['a web stream', () => new Blob(['hello']).stream()],
      ] as [string, () => unknown][]
    ).map(([what, content]): [string, () => object] => [
      `content as ${what}`,
      () => ({
        ...whole,
        attachments: [
          { filename: 'a.txt', content: content(), contentType: 'text/plain', contentId: 'a' },
          whole.attachments[1],
        ],
      }),
    ]),
  ]
  for (const [what, input] of changed) test(what, async () => assert.equal(await print(input()), await base))
})

describe('any difference in what is sent makes another (K2)', () => {
  const different: Record<string, object> = {
    'the sender': { from: 'hello@acme.example' },
    'a name': { to: ['Ada L <ada@example.com>', 'bob@example.com'] },
    'a recipient more': { to: [...whole.to, 'eve@example.com'] },
    'a recipient in another field': { to: ['Ada <ada@example.com>'], cc: ['bob@example.com', 'carol@example.com'] },
    'the order of recipients': { to: [...whole.to].reverse() },
    'the case of a local part': { cc: 'Carol@example.com' },
    'no bcc': { bcc: undefined },
    'the reply-to': { replyTo: 's@example.com' },
    'the subject': { subject: 'hi' },
    'the text': { text: 'Text' },
    'no text': { text: undefined },
    'text and html exchanged': { text: whole.html, html: whole.text },
    'a byte of an attachment': {
      attachments: [whole.attachments[0], { filename: 'b.txt', content: new Uint8Array([1, 2, 4]) }],
    },
    'the order of attachments': { attachments: [...whole.attachments].reverse() },
    'a file name': { attachments: [whole.attachments[0], { filename: 'c.txt', content: new Uint8Array([1, 2, 3]) }] },
    'inline or not': { attachments: [{ ...whole.attachments[0], contentId: undefined }, whole.attachments[1]] },
    'a content type': { attachments: [{ ...whole.attachments[0], contentType: 'text/html' }, whole.attachments[1]] },
    'a header': { headers: { 'X-A': 'b', 'X-B': ['b', 'c'] } },
    'the order of header values': { headers: { 'X-A': 'a', 'X-B': ['c', 'b'] } },
    'a tag': { tags: ['t1'] },
    'the topic': { topic: 'offers' },
    'the campaign': { campaign: 'd' },
    metadata: { metadata: { a: '2', b: '1' } },
    'the calendar': { calendar: { ...whole.calendar, method: 'CANCEL' } },
    'the importance': { importance: 'low' },
    'in reply to': { inReplyTo: '<c@d>' },
    references: { references: ['<c@d>', '<a@b>'] },
    'provider options': { providerOptions: { ses: { pool: 'p', deep: { x: [2, 1] } } } },
  }
  test('each from the original and from one another', async () => {
    const prints = new Map([[await print(whole), 'the original']])
    for (const [what, change] of Object.entries(different)) {
      const one = await print({ ...whole, ...change })
      assert.ok(!prints.has(one), `${what} looks like ${prints.get(one)}`)
      prints.set(one, what)
    }
  })

  test('no value can spell a border between two fields', async () => {
    const word = fc
      .array(fc.constantFrom(':', ';', 'text', 'html', '4', '1', 'a', '"', ','), { maxLength: 6 })
      .map((parts) => parts.join(''))
    const message = fc.record({
      subject: word.map((text) => `s${text}`),
      text: word,
      html: word,
      tags: fc.uniqueArray(fc.constantFrom('a', 'b', 'topic'), { maxLength: 2 }),
      metadata: fc.dictionary(fc.constantFrom('a', 'b'), word, { noNullPrototype: true }),
    })
    await fc.assert(
      fc.asyncProperty(message, message, async (one, other) => {
        const same = JSON.stringify(sorted(one)) === JSON.stringify(sorted(other))
        const to = 'ada@example.com'
        assert.equal((await print({ to, ...one })) === (await print({ to, ...other })), same)
      }),
      { seed, numRuns: 300 },
    )
  })
})

const sorted = ({ metadata, ...rest }: { metadata: Record<string, string> }) => ({
  ...Object.fromEntries(Object.entries(rest).sort()),
  metadata: Object.entries(metadata).sort(),
})

test('no two lists of parts make the same key (S2)', () => {
  const part = fc.option(fc.constantFrom('', 'a', ':', '1:a;', '-;', 'a;1:b'), { nil: undefined })
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), fc.array(part, { maxLength: 4 }), (one, other) => {
      const same = one.length === other.length && one.every((value, i) => value === other[i])
      assert.equal(hashKey(...one) === hashKey(...other), same)
    }),
    { seed, numRuns: 2_000 },
  )
})
