import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import type { MailError } from '../../src/errors.ts'
import { type Limits, resolveLimits } from '../../src/limits.ts'
import { type ParsedMailbox, parseMailbox } from '../../src/message/address.ts'
import { createMessageReader } from '../../src/message/reader.ts'
import { takeMessage } from '../../src/message/take.ts'
import { noAccidents } from '../support/accidents.ts'
import { order, refusal } from '../support/mailbox.ts'

noAccidents()

const reader = createMessageReader()
const from = parseMailbox('hello@acme.example') as ParsedMailbox
const { signal } = new AbortController()

const read = async (input: unknown, limits: Limits = {}, defaultFrom: ParsedMailbox | undefined = from) => {
  const resolved = resolveLimits(limits)
  return reader(takeMessage(input, resolved), {
    limits: resolved,
    signal,
    ...(defaultFrom ? { from: defaultFrom } : {}),
  })
}
const refused = (input: unknown, limits?: Limits): Promise<MailError> => refusal(() => read(input, limits))
const issue = async (input: unknown, limits?: Limits) => {
  const { code, issues } = await refused(input, limits)
  assert.equal(code, 'VALIDATION_ERROR')
  assert.ok(issues.length > 0, 'an issue with a path')
  return `${issues[0]!.path}: ${issues[0]!.code}`
}

describe('the snapshot (P6)', () => {
  test('is whole, strict and frozen in depth; mailboxes are in wire form', async () => {
    const { message, recipients } = await read({
      from: 'Ada L. <Ada@EXÄMPLE.com>',
      to: ['Bob <bob@example.com>', { address: 'carol@example.com' }],
      cc: { name: 'Dan', address: 'dan@example.com' },
      bcc: 'eve@example.com',
      replyTo: 'r@example.com',
      subject: 'Hi',
      text: new TextEncoder().encode('grüß'),
      html: '<p>',
      attachments: [{ filename: '../a.txt', content: 'aGk=', encoding: 'base64', contentId: '<logo@acme>' }],
      headers: { 'X-A': ['1', '2'] },
      tags: ['a', 'a'],
      topic: 'news',
      campaign: 'c1',
      metadata: { order: 7, paid: true, note: 'x' },
      calendar: { method: 'REQUEST', content: 'BEGIN:VCALENDAR' },
      importance: 'high',
      inReplyTo: 'a@b',
      references: 'a@b',
      providerOptions: { ses: { pool: 'p', left: undefined } },
    })
    assert.deepEqual(
      { ...message, attachments: message.attachments.map((a) => ({ ...a, content: [...a.content] })) },
      {
        from: { name: 'Ada L.', address: 'Ada@xn--exmple-cua.com' },
        to: [{ name: 'Bob', address: 'bob@example.com' }, { address: 'carol@example.com' }],
        cc: [{ name: 'Dan', address: 'dan@example.com' }],
        bcc: [{ address: 'eve@example.com' }],
        replyTo: [{ address: 'r@example.com' }],
        subject: 'Hi',
        text: 'grüß',
        html: '<p>',
        attachments: [{ filename: 'a.txt', content: [104, 105], contentType: 'text/plain', contentId: 'logo@acme' }],
        headers: [
          { name: 'X-A', value: '1' },
          { name: 'X-A', value: '2' },
        ],
        tags: ['a'],
        topic: 'news',
        campaign: 'c1',
        metadata: { order: '7', paid: 'true', note: 'x' },
        calendar: { method: 'REQUEST', content: 'BEGIN:VCALENDAR', filename: 'invite.ics' },
        importance: 'high',
        inReplyTo: '<a@b>',
        references: ['<a@b>'],
        providerOptions: { ses: { pool: 'p', left: undefined } },
      },
    )
    const thawed: string[] = []
    const walk = (value: unknown, path: string) => {
      if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return
      if (!Object.isFrozen(value)) thawed.push(path)
      for (const [name, entry] of Object.entries(value)) walk(entry, `${path}.${name}`)
    }
    walk(message, 'message')
    walk(recipients, 'recipients')
    assert.deepEqual(thawed, [])
  })

  test('is itself a legal message and reads back the same', async () => {
    const { message } = await read({
      ...order,
      attachments: [{ filename: 'a', content: new Uint8Array([1]), contentId: 'c' }],
      headers: [{ name: 'X-A', value: '1' }],
      calendar: { method: 'CANCEL', content: 'x' },
      references: ['<a@b>'],
      metadata: { a: 1 },
    })
    assert.deepEqual((await read(message)).message, message)
  })

  test('a mailbox named twice over to, cc and bcc, in any spelling, is mailed once; its first place wins (P4)', async () => {
    const { message, recipients } = await read({
      ...order,
      to: ['ada@example.com', 'ADA@Example.COM', '"ada"@example.com'],
      cc: ['Ada <ada@example.com>', 'bob@example.com'],
      bcc: ['BOB@example.com', 'carol@exämple.com', 'carol@xn--exmple-cua.com'],
    })
    assert.deepEqual(
      recipients.map(({ address, field }) => `${field} ${address}`),
      ['to ada@example.com', 'cc bob@example.com', 'bcc carol@xn--exmple-cua.com'],
    )
    assert.deepEqual([message.to.length, message.cc.length, message.bcc.length], [1, 1, 1])
  })
})

describe('a closed set of fields (G1)', () => {
  for (const [what, input, expected] of [
    ['an unknown field', { ...order, subjct: 'x' }, 'subjct: unknown_field'],
    [
      '__proto__',
      JSON.parse(`{"to":"a@b.example","subject":"s","text":"t","__proto__":{}}`),
      '__proto__: unknown_field',
    ],
    ['constructor', { ...order, constructor: {} }, 'constructor: unknown_field'],
    [
      'an attachment with a path (F1)',
      { ...order, attachments: [{ filename: 'a', path: '/etc/passwd' }] },
      'attachments[0].content: encoding_required',
    ],
    [
      'an attachment with an href (F1)',
      { ...order, attachments: [{ filename: 'a', content: new Uint8Array(), href: 'http://x' }] },
      'attachments[0].href: unknown_field',
    ],
    ['a raw part (F1)', { ...order, raw: 'From: x' }, 'raw: unknown_field'],
    [
      'content that is a path object (F1)',
      { ...order, attachments: [{ filename: 'a', content: { path: '/etc/passwd' } }] },
      'attachments[0].content: invalid_type',
    ],
    [
      'an extra header field',
      { ...order, headers: [{ name: 'X-A', value: '1', prepared: true }] },
      'headers[0]: unknown_field',
    ],
    ['an extra address field', { ...order, to: [{ address: 'a@b.example', group: [] }] }, 'to[0]: unknown_field'],
    ['no subject', { to: 'a@b.example', text: 'x' }, 'subject: required'],
    ['no text', { to: 'a@b.example', subject: 'x' }, 'text: required'],
    ['no to', { subject: 'x', text: 'x' }, 'to: invalid_type'],
    ['an empty to', { ...order, to: [] }, 'to: required'],
    ['an empty subject', { ...order, subject: '' }, 'subject: too_short'],
  ] as const) {
    test(`${what} is refused: ${expected}`, async () => {
      if (what.includes('path (F1)')) assert.match(await issue(input), /^attachments\[0\]\./)
      else assert.equal(await issue(input), expected)
    })
  }

  for (const field of ['template', 'track', 'unsubscribe']) {
    test(`${field} is not built yet, and says so`, async () => {
      const { code, issues } = await refused({ ...order, [field]: { name: 'x' } })
      assert.deepEqual([code, issues[0]!.path], ['UNSUPPORTED_FEATURE', field])
      await read({ ...order, [field]: undefined })
    })
  }

  test('no from anywhere is an error of its own', async () => {
    const limits = resolveLimits()
    const { issues } = await refusal(reader(takeMessage(order), { limits, signal }), 'VALIDATION_ERROR')
    assert.deepEqual(
      issues.map(({ path, code }) => [path, code]),
      [['from', 'required']],
    )
  })
})

const fields = [
  'from',
  'to',
  'cc',
  'bcc',
  'replyTo',
  'subject',
  'text',
  'html',
  'attachments',
  'headers',
  'tags',
  'topic',
  'campaign',
  'metadata',
  'calendar',
  'importance',
  'inReplyTo',
  'references',
  'providerOptions',
]

class Instance {
  readonly address = 'ada@example.com'
}

/** Every class of G5, made anew for each use. */
const hostile: Record<string, () => unknown> = {
  null: () => null,
  true: () => true,
  'a number': () => 7,
  NaN: () => Number.NaN,
  'a BigInt': () => 7n,
  'a symbol': () => Symbol('x'),
  'a function': () => () => 'ada@example.com',
  'boxed text': () => new String('ada@example.com'),
  'a stringifiable object': () => ({ toString: () => 'ada@example.com' }),
  'a primitive in disguise': () => ({ [Symbol.toPrimitive]: () => 'ada@example.com' }),
  'a class instance': () => new Instance(),
  'a Map': () => new Map([['address', 'ada@example.com']]),
  'a Set': () => new Set(['ada@example.com']),
  'a Date': () => new Date(),
  'an invalid Date': () => new Date(Number.NaN),
  'a promise': () => Promise.resolve('ada@example.com'),
  'a rejected promise': () => Promise.reject(new Error('nobody listens')),
  // biome-ignore lint/suspicious/noThenProperty: the class is about it
  'a thenable': () => ({ then: (resolve: (value: string) => void) => resolve('ada@example.com') }),
  'an array-like': () => ({ 0: 'ada@example.com', length: 1 }),
  'a sparse list': () => {
    const list: unknown[] = []
    list[3] = 'ada@example.com'
    return list
  },
  'a list of lists': () => [[['ada@example.com']]],
  'a list of nulls': () => [null],
  'a list of symbols': () => [Symbol('x')],
  'a list of empty objects': () => [{}],
  'a lone surrogate': () => '\ud800',
  'a surrogate in a name': () => ({ '\ud800': '\ud800' }),
  'a line break': () => 'a\r\nBcc: eve@example.com',
  'a NUL': () => 'a\0b',
  'a circle': () => {
    const circle: Record<string, unknown> = {}
    circle.address = circle
    return circle
  },
  'a circular list': () => {
    const list: unknown[] = []
    list.push(list)
    return list
  },
  'a deep object': () => Array.from({ length: 5_000 }).reduce((inner) => ({ a: inner }), 'x' as unknown),
  'a throwing getter': () =>
    Object.defineProperty({}, 'address', { enumerable: true, get: () => assert.fail('asked') }),
  'a throwing proxy': () =>
    new Proxy(
      {},
      {
        ownKeys() {
          throw new Error('trapped')
        },
      },
    ),
  'a revoked proxy': () => {
    const { proxy, revoke } = Proxy.revocable([], {})
    revoke()
    return proxy
  },
  'a huge list': () => new Array(5_000_000),
  'a __proto__ key': () => JSON.parse('{"__proto__":{"address":"ada@example.com"}}'),
  'detached bytes': () => {
    const buffer = new ArrayBuffer(8)
    structuredClone(buffer, { transfer: [buffer] })
    return buffer
  },
  'a failing stream': () =>
    (async function* () {
      yield 'x'
      throw new Error('disk')
    })(),
  'a Node stream': () => Readable.from(['x']),
  'an empty web stream': () => new Blob([]).stream(),
}
/** Where a hostile value is a legal one: bodies may hold anything, and symbols are no fields. */
const legal = new Set([
  'text a line break',
  'html a line break',
  'text a NUL',
  'html a NUL',
  'headers a primitive in disguise',
  'metadata a primitive in disguise',
  'metadata an array-like',
  'providerOptions a primitive in disguise',
  'providerOptions.ses a primitive in disguise',
  'providerOptions.ses an array-like',
  'metadata.a true',
  'metadata.a a number',
  'attachments[0].filename a line break',
  'attachments[0].filename a NUL',
])

describe('every class of G5 at every field is one typed refusal with the path of the field', () => {
  for (const field of fields) {
    test(field, async () => {
      for (const [what, make] of Object.entries(hostile)) {
        if (legal.has(`${field} ${what}`)) continue
        const { code, issues } = await refused({ ...order, [field]: make() })
        assert.equal(code, 'VALIDATION_ERROR', `${field}: ${what}`)
        assert.match(issues[0]?.path ?? '', new RegExp(`^${field}\\b`), `${field}: ${what}`)
      }
    })
  }

  const nested: [string, (value: unknown) => object][] = [
    ['to[1].name', (value) => ({ to: ['ada@example.com', { name: value, address: 'bob@example.com' }] })],
    ['to[1].address', (value) => ({ to: ['ada@example.com', { address: value }] })],
    ['attachments[0].filename', (value) => ({ attachments: [{ filename: value, content: new Uint8Array(1) }] })],
    ['attachments[0].encoding', (value) => ({ attachments: [{ filename: 'a', content: 'x', encoding: value }] })],
    [
      'attachments[0].contentType',
      (value) => ({ attachments: [{ filename: 'a', content: new Uint8Array(1), contentType: value }] }),
    ],
    [
      'attachments[0].contentId',
      (value) => ({ attachments: [{ filename: 'a', content: new Uint8Array(1), contentId: value }] }),
    ],
    ['headers["X-A"]', (value) => ({ headers: { 'X-A': value } })],
    ['headers["X-A"]', (value) => ({ headers: { 'X-A': ['fine', value] } })],
    ['headers[0]', (value) => ({ headers: [{ name: value, value: 'x' }] })],
    ['headers[0]', (value) => ({ headers: [{ name: 'X-A', value }] })],
    ['tags[1]', (value) => ({ tags: ['fine', value] })],
    ['metadata.a', (value) => ({ metadata: { a: value } })],
    ['calendar.method', (value) => ({ calendar: { method: value, content: 'x' } })],
    ['references[0]', (value) => ({ references: [value] })],
    ['providerOptions.ses', (value) => ({ providerOptions: { ses: value } })],
  ]
  for (const [path, place] of nested) {
    test(`${path} (G3: no coercion)`, async () => {
      for (const [what, make] of Object.entries(hostile)) {
        if (legal.has(`${path} ${what}`)) continue
        const { code, issues } = await refused({ ...order, ...place(make()) })
        assert.equal(code, 'VALIDATION_ERROR', `${path}: ${what}`)
        assert.ok(issues[0]!.path.startsWith(path.replace(/[.[].*/, '')), `${path}: ${what}: ${issues[0]!.path}`)
      }
    })
  }

  test('a message that is itself hostile', async () => {
    for (const [what, make] of Object.entries(hostile)) {
      const { code, issues } = await refused(make())
      assert.equal(code, 'VALIDATION_ERROR', what)
      assert.ok(issues.length > 0, what)
    }
  })

  test('no refusal repeats a value', async () => {
    const canary = 'canary-4f1e@secret.example'
    for (const field of fields) {
      for (const value of [
        canary,
        [canary],
        { [canary]: canary },
        [{ [canary]: canary }],
        { name: canary, address: canary, x: canary },
      ]) {
        try {
          await read({ ...order, [field]: value })
        } catch (error) {
          assert.ok(!JSON.stringify(error).includes('canary'), `${field}: ${JSON.stringify(error)}`)
        }
      }
    }
  })
})

describe('sizes are looked at before the work (G4, F3, H5)', () => {
  const of = (length: number, character = 'x') => character.repeat(length)

  for (const [what, input, limits, expected] of [
    ['subject of 998', { subject: of(998) }, {}, undefined],
    ['subject of 999', { subject: of(999) }, {}, 'subject: too_long'],
    ['subject of 50 MB', { subject: of(50_000_000) }, {}, 'subject: too_long'],
    ['text of 1,000,000', { text: of(1_000_000) }, {}, undefined],
    ['text of 1,000,001', { text: of(1_000_001) }, {}, 'text: too_long'],
    ['html as too many bytes', { html: new Uint8Array(4_000_001) }, {}, 'html: too_long'],
    ['own limit of text', { text: of(6) }, { text: 5 }, 'text: too_long'],
    ['11 reply-tos', { replyTo: Array(11).fill('a@b.example') }, {}, 'replyTo: too_many'],
    [
      '31 headers',
      { headers: Object.fromEntries(Array.from({ length: 31 }, (_, i) => [`X-${i}`, 'x'])) },
      {},
      'headers: too_many',
    ],
    ['31 values of one header', { headers: { 'X-A': Array(31).fill('x') } }, {}, 'headers: too_many'],
    [
      '64 kB of headers',
      { headers: Array.from({ length: 9 }, () => ({ name: 'X-A', value: of(9_000, 'ü ').slice(0, 4_900) })) },
      {},
      'headers: too_large',
    ],
    ['11 tags', { tags: Array.from({ length: 11 }, (_, i) => `t${i}`) }, {}, 'tags: too_many'],
    ['a tag of 129', { tags: [of(129)] }, {}, 'tags[0]: invalid_format'],
    [
      '21 facts of metadata',
      { metadata: Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`k${i}`, i])) },
      {},
      'metadata: too_many',
    ],
    ['a fact of 501', { metadata: { a: of(501) } }, {}, 'metadata.a: too_long'],
    [
      '11 attachments',
      { attachments: Array(11).fill({ filename: 'a', content: '', encoding: 'utf8' }) },
      {},
      'attachments: too_many',
    ],
    [
      'a large attachment',
      { attachments: [{ filename: 'a', content: new Uint8Array(101) }] },
      { attachmentBytes: 100 },
      'attachments[0].content: too_large',
    ],
    [
      'a large base64',
      { attachments: [{ filename: 'a', content: of(200, 'A'), encoding: 'base64' }] },
      { attachmentBytes: 100 },
      'attachments[0].content: too_large',
    ],
    [
      'too much together',
      { attachments: Array(3).fill({ filename: 'a', content: of(4_000, 'A'), encoding: 'hex' }) },
      { messageBytes: 5_000 },
      'attachments: too_large',
    ],
    ['too much once encoded', { text: of(3_000, 'ü') }, { messageBytes: 8_000 }, 'attachments: too_large'],
    ['provider options', { providerOptions: { ses: { a: of(300_001) } } }, {}, 'providerOptions: invalid_json'],
    ['1,001 cc', { cc: Array.from({ length: 1_001 }, (_, i) => `a${i}@b.example`) }, {}, 'cc: too_many'],
    ['a calendar', { calendar: { method: 'REQUEST', content: of(1_000_001) } }, {}, 'calendar.content: too_long'],
  ] as [string, object, Limits, string | undefined][]) {
    test(`${what}: ${expected ?? 'taken'}`, async () => {
      if (expected === undefined) await read({ ...order, ...input }, limits)
      else assert.equal(await issue({ ...order, ...input }, limits), expected)
    })
  }

  test('attachments over the count are not decoded', async () => {
    let decoded = 0
    const from = Buffer.from
    Buffer.from = ((...args: unknown[]) => {
      if (args[1] === 'base64') decoded++
      return Reflect.apply(from, Buffer, args)
    }) as typeof from
    try {
      const content = of(100_000, 'A')
      await refused({ ...order, attachments: Array(10_000).fill({ filename: 'a', content, encoding: 'base64' }) })
    } finally {
      Buffer.from = from
    }
    assert.equal(decoded, 0)
  })

  test('streams share the room the whole message has', async () => {
    const stream = () =>
      (async function* () {
        yield new Uint8Array(600)
      })()
    const attachments = [
      { filename: 'a', content: stream() },
      { filename: 'b', content: stream() },
    ]
    assert.equal(await issue({ ...order, attachments }, { messageBytes: 1_000 }), 'attachments[1].content: too_large')
  })

  test('issues are bounded however much is wrong (P10)', async () => {
    const { issues } = await refused({
      ...order,
      ...Object.fromEntries(Array.from({ length: 9_000 }, (_, i) => [`f${i}`, i])),
    })
    assert.ok(issues.length <= 101, `${issues.length} issues`)
  })
})

describe('what one message holds, another does not see', () => {
  test('two readings of one object share nothing that can change', async () => {
    const input = { ...order, attachments: [{ filename: 'a', content: new Uint8Array([1]) }] }
    const [first, second] = await Promise.all([read(input), read(input)])
    first.message.attachments[0]!.content[0] = 9
    assert.deepEqual([...second.message.attachments[0]!.content], [1])
    assert.deepEqual([...input.attachments[0]!.content], [1])
  })
})
