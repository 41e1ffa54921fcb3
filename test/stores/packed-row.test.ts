import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isPackable, packRow, unpackRow } from '../../src/stores/packed-row.ts'
import type { Row } from '../../src/stores/store.ts'

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
const text = fc.string({ unit: 'grapheme', maxLength: 20 })
const time = fc.integer({ min: 0, max: 4_000_000_000_000 })

const rows: fc.Arbitrary<Row> = fc
  .record({
    v: fc.constant(1 as const),
    id: text,
    kind: fc.constantFrom('send' as const, 'queue' as const),
    accepted: fc.boolean(),
    tenant: maybe(text),
    key: maybe(text),
    fingerprint: maybe(text),
    status: fc.constantFrom('sent' as const, 'failed' as const, 'rejected' as const, 'cancelled' as const),
    messageId: text,
    from: text,
    subject: text,
    stream: fc.constantFrom('transactional' as const, 'marketing' as const),
    tags: fc.array(text, { maxLength: 3 }),
    recipients: fc.array(
      fc.record({
        address: text,
        field: fc.constantFrom('to' as const, 'cc' as const, 'bcc' as const),
        status: fc.constantFrom('sent' as const, 'suppressed' as const),
        reason: maybe(text),
      }),
      { maxLength: 4 },
    ),
    attempts: fc.array(
      fc.record({
        number: fc.integer({ min: 1, max: 30 }),
        provider: text,
        startedAt: time.map((ms) => new Date(ms).toISOString()),
        duration: maybe(fc.nat()),
        outcome: maybe(fc.constantFrom('sent' as const, 'failed' as const, 'unknown' as const)),
        code: maybe(text),
        evidence: maybe(text),
      }),
      { maxLength: 3 },
    ),
    provider: maybe(text),
    providerMessageId: maybe(text),
    sandbox: fc.boolean(),
    priority: fc.integer({ min: -10, max: 10 }),
    createdAt: time,
    sentAt: maybe(time),
    dueAt: maybe(time),
    notAfter: maybe(time),
    runs: fc.nat(20),
    lastError: maybe(fc.record({ code: text, reason: text })),
  })
  .map((row) => JSON.parse(JSON.stringify(row)) as Row)

test('a settled row survives packing field for field, with its place', () => {
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  console.log(`seed ${seed}`)
  fc.assert(
    fc.property(rows, fc.nat(), fc.nat(), (row, place, keptUntil) => {
      assert.deepEqual(unpackRow(packRow(row, { place, keptUntil })), { row, place, keptUntil })
    }),
    { seed, numRuns: 1_000 },
  )
})

test('rows with content or events are not packed', () => {
  const [row] = fc.sample(rows, 1) as [Row]
  assert.equal(isPackable(row), true)
  assert.equal(isPackable({ ...row, events: [{ type: 'cancelled', at: '2026-01-01T00:00:00.000Z' }] }), false)
})
