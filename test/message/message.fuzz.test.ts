import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { MailError } from '../../src/index.ts'
import { noAccidents } from '../support/accidents.ts'
import { loose, setup } from '../support/mailbox.ts'

noAccidents()

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const numRuns = Number(process.env.RUNS ?? 300)
console.log(`SEED=${seed}`)

/** The grammar of whole messages: every field, in every legal form. */
const local = fc.stringMatching(/^[a-z0-9]{1,12}(\.[a-z0-9]{1,8})?$/)
const domain = fc.constantFrom('example.com', 'EXAMPLE.org', 'exämple.com', 'sub.example.net')
const bare = fc.tuple(local, domain).map(([one, other]) => `${one}@${other}`)
const name = fc.stringMatching(/^[A-Za-zäöü]{1,10}( [A-Za-z]{1,10})?$/)
const address = fc.oneof(
  bare,
  fc.tuple(name, bare).map(([display, mailbox]) => `${display} <${mailbox}>`),
  fc.record({ address: bare, name }, { requiredKeys: ['address'] }),
)
const addresses = fc.oneof(address, fc.array(address, { minLength: 1, maxLength: 6 }))
const line = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
  .filter((text) => !/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Noncharacter_Code_Point}]/u.test(text))
const body = fc.string({ unit: 'grapheme', maxLength: 300 }).filter((text) => text.isWellFormed())
const word = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/)
const key = word.filter((text) => !['__proto__', 'constructor', 'prototype'].includes(text))
/** Deep inside, too, such a key is refused. */
const json = fc
  .jsonValue({ maxDepth: 2 })
  .filter((value) => !/"(__proto__|constructor|prototype)":/.test(JSON.stringify(value)))
const bytes = fc.uint8Array({ maxLength: 200 })
const content = fc.oneof(
  bytes.map((value) => ({ content: value })),
  bytes.map((value) => ({ content: Buffer.from(value).toString('base64'), encoding: 'base64' })),
  bytes.map((value) => ({ content: Buffer.from(value).toString('hex'), encoding: 'hex' })),
  body.map((value) => ({ content: value, encoding: 'utf8' })),
)
const attachment = fc
  .tuple(content, fc.stringMatching(/^[a-z]{1,10}\.(txt|pdf|bin)$/), fc.option(word, { nil: undefined }))
  .map(([value, filename, contentId]) => ({ ...value, filename, ...(contentId ? { contentId } : {}) }))
const legal = fc.record(
  {
    to: addresses,
    subject: line,
    text: fc.oneof(
      body,
      body.map((text) => new TextEncoder().encode(text)),
    ),
    from: address,
    cc: addresses,
    bcc: addresses,
    replyTo: addresses,
    html: body,
    attachments: fc.array(attachment, { maxLength: 3 }),
    headers: fc.dictionary(
      word.map((text) => `X-Own-${text}`),
      word,
      { maxKeys: 5, noNullPrototype: true },
    ),
    tags: fc.array(word, { maxLength: 5 }),
    topic: word,
    campaign: word,
    metadata: fc.dictionary(key, fc.oneof(line, fc.integer(), fc.boolean()), { maxKeys: 5, noNullPrototype: true }),
    calendar: fc.record({ method: fc.constantFrom('REQUEST', 'CANCEL'), content: body }),
    importance: fc.constantFrom('high', 'normal', 'low'),
    inReplyTo: bare.filter((text) => /^[\x21-\x7e]+$/.test(text)),
    providerOptions: fc.record({
      outbox: fc.dictionary(key, json, { maxKeys: 3, noNullPrototype: true }),
    }),
  },
  { requiredKeys: ['to', 'subject', 'text'] },
)

class Instance {
  readonly to = 'ada@example.com'
}

/** What stands in place of any value. */
const poison = fc.constantFrom<(() => unknown)[]>(
  () => null,
  () => Number.NaN,
  () => 7n,
  () => Symbol('x'),
  () => () => 'x',
  () => new String('x'),
  () => new Instance(),
  () => new Map(),
  () => new Date(Number.NaN),
  () => Promise.reject(new Error('nobody listens')),
  () => [],
  () => [[]],
  () => ({}),
  () => new Array(20_000),
  () => '\ud800',
  () => 'a\r\nBcc: eve@example.com',
  () => 'x'.repeat(2_000_000),
  () => new Uint8Array(9),
  () => JSON.parse('{"__proto__":1}'),
  () => Object.defineProperty({}, 'to', { enumerable: true, get: () => assert.fail('asked') }),
  () => new Proxy({}, { ownKeys: () => assert.fail('asked') }),
  () => {
    const circle: unknown[] = []
    circle.push(circle)
    return circle
  },
  () =>
    (async function* () {
      yield new Uint8Array(1)
      throw new Error('disk')
    })(),
  () => ({ [Symbol.asyncIterator]: () => ({ next: () => assert.fail('asked') }) }),
)

/** Puts the poison somewhere in the tree: the choices lead from the root down, the last one picks what to replace. */
function poisoned(value: unknown, choices: readonly number[], make: () => unknown): unknown {
  const [choice = 0, ...rest] = choices
  if (choices.length === 0 || typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return make()
  const names = Object.keys(value)
  if (names.length === 0) return make()
  const name = names[choice % names.length]!
  const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? [...value] : { ...value }
  Reflect.set(copy, name, poisoned((value as Record<string, unknown>)[name], rest, make))
  return copy
}

const options = { seed, numRuns }

describe('whole messages from a grammar (seeded)', () => {
  test('every legal message is sent, each mailbox once, bcc not in the message bytes’ fields (P4, P6)', async () => {
    await fc.assert(
      fc.asyncProperty(legal, async (message) => {
        const { mailer, outbox } = setup({}, { refuse: () => [] })
        const receipt = await mailer.send(loose(message))
        assert.equal(receipt.status, 'sent')
        const { recipients, message: snapshot } = outbox.sent()[0]!
        const keys = recipients.map((mailbox) => mailbox.toLowerCase())
        assert.equal(new Set(keys).size, keys.length)
        const shown = [...snapshot.to, ...snapshot.cc, ...snapshot.bcc].map((mailbox) => mailbox.address)
        assert.deepEqual(shown, recipients)
        assert.ok(Object.isFrozen(snapshot))
      }),
      options,
    )
  })

  test('reading is idempotent: what was sent, sent again, is the same message (K2)', async () => {
    await fc.assert(
      fc.asyncProperty(legal, async (message) => {
        const { mailer, outbox } = setup({}, { refuse: () => [] })
        const first = await mailer.send(loose(message), { idempotencyKey: 'k' })
        const again = await mailer.send(outbox.sent()[0]!.message, { idempotencyKey: 'k' })
        assert.deepEqual([again.id, again.replayed], [first.id, true])
      }),
      options,
    )
  })

  test('poison anywhere is one MailError or a message that was legal all the same; never an accident (P9, G5)', async () => {
    const choices = fc.array(fc.nat(30), { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(legal, choices, poison, fc.boolean(), async (message, way, make, keyed) => {
        const { mailer, outbox } = setup({}, { refuse: () => [] })
        const input = poisoned(message, way, make)
        try {
          await mailer.send(loose(input), keyed ? { idempotencyKey: 'k' } : {})
          const { message: snapshot } = outbox.sent()[0]!
          assert.ok(!/[\r\n]/.test(JSON.stringify([snapshot.subject, snapshot.headers, snapshot.to])))
          assert.ok(!outbox.sent()[0]!.recipients.includes('eve@example.com'))
        } catch (error) {
          assert.ok(error instanceof MailError, String(error))
          assert.ok(['VALIDATION_ERROR', 'UNSUPPORTED_FEATURE'].includes(error.code), error.code)
          assert.ok(error.issues.length > 0 && error.issues.every(({ path }) => path !== ''))
          assert.equal(outbox.sent().length, 0)
        }
      }),
      options,
    )
  })

  test('any JSON at all is a typed refusal or a mail', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.anything(),
          fc.object({ key: fc.constantFrom('to', 'subject', 'text', 'attachments', 'headers', 'x') }),
        ),
        async (input) => {
          const { mailer } = setup({}, { refuse: () => [] })
          await mailer
            .send(loose(input))
            .catch((error: unknown) => assert.ok(error instanceof MailError, String(error)))
        },
      ),
      options,
    )
  })
})
