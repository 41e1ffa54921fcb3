import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compose } from '../../providers/shared/mime.ts'
import { encodedSize } from '../../src/message/size.ts'
import { deliveryOf } from '../support/delivery.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
console.log(`SEED=${seed}`)

test('the size known before encoding is never much too low, nor far too high (F3)', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 3_000 }),
    fc.string({ unit: 'grapheme', maxLength: 3_000 }),
    fc.constantFrom('x'.repeat(20_000), 'ü'.repeat(20_000), '=\n'.repeat(5_000), '.\r\n'.repeat(5_000)),
  )
  const message = fc.record({
    subject: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 300 }),
    text,
    html: text,
    attachments: fc.array(
      fc.record({
        filename: fc.constantFrom('a.txt', 'übersicht.pdf'),
        content: fc.uint8Array({ maxLength: 5_000 }),
        contentType: fc.constant('application/octet-stream'),
      }),
      { maxLength: 3 },
    ),
  })
  fc.assert(
    fc.property(message, (given) => {
      const subject = given.subject.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/gu, ' ')
      const delivery = deliveryOf({ message: { ...given, subject } })
      const real = compose(delivery).byteLength
      const estimated = encodedSize(delivery.message)
      assert.ok(real <= estimated * 1.1 + 500, `${real} bytes, thought to be ${estimated}`)
    }),
    { seed, numRuns: 150 },
  )
})

test('it grows with the message, and asks no byte of an attachment (G4)', () => {
  const sizeWith = (bytes: number) =>
    encodedSize(
      deliveryOf({
        message: { attachments: [{ filename: 'a', content: new Uint8Array(bytes), contentType: 'image/png' }] },
      }).message,
    )
  assert.ok(sizeWith(8_000_000) - sizeWith(1_000_000) >= 7_000_000 * 1.33)
  let reads = 0
  const content = new Proxy(new Uint8Array(1_000_000), {
    get(target, name) {
      reads++
      return Reflect.get(target, name, target)
    },
  })
  encodedSize(deliveryOf({ message: { attachments: [{ filename: 'a', content, contentType: 'image/png' }] } }).message)
  assert.ok(reads < 10, `${reads} reads`)
})
