import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { checkHeader, checkMessageId, headerLimits, isReservedHeader } from '../../src/message/headers.ts'

const code = (name: unknown, value: unknown) => checkHeader(name, value)?.code

describe('names (INVARIANTS H1)', () => {
  test('tokens of 1 to 76 characters', () => {
    for (const name of ['X-A', 'x', 'X-Entity_Ref.ID', "X!#$%&'*+^`|~", 'n'.repeat(76)]) {
      assert.equal(checkHeader(name, 'v'), undefined, name)
    }
    const bad = [
      '',
      ' ',
      'X A',
      'X-A:',
      ' X-A',
      'X-A ',
      'X-A\r\nBcc',
      'X\0',
      'X-Ä',
      'X\ud800',
      'X(a)',
      'X@b',
      'X"',
      'X{',
      'Ⅹ-A',
    ]
    for (const name of [...bad, 'n'.repeat(77), 'n'.repeat(5_000_000)]) {
      assert.equal(code(name, 'v'), 'invalid_header', inspect(name.slice(0, 80)))
    }
  })
})

describe('values (INVARIANTS H1, H3)', () => {
  test('any visible text', () => {
    for (const value of [
      'v',
      ' v ',
      'Ünïcode ✓ 👩‍💻',
      '<mailto:x@y.com>, <https://z>',
      ':',
      '"',
      'a'.repeat(920),
      'ü'.repeat(5_000),
    ]) {
      assert.equal(checkHeader('X-A', value), undefined, inspect(value.slice(0, 80)))
    }
  })
  test('no line breaks, controls or broken Unicode, wherever they stand', () => {
    const controls = [
      ...Array(32).keys(),
      ...Array.from({ length: 33 }, (_, i) => 0x7f + i),
      0x2028,
      0x2029,
      0xfffe,
      0xfdd0,
    ]
    for (const c of [...controls.map((point) => String.fromCodePoint(point)), '\ud800', '\udc00']) {
      for (const value of [`a${c}b`, `${c}a`, `a${c}`, `a\r${c}Bcc: x`, c]) {
        assert.equal(code('X-A', value), 'invalid_character', inspect(value))
      }
    }
  })
  test('10,000 bytes, and no word too long for a line of 998 octets', () => {
    assert.equal(code('X-A', `${'a '.repeat(5_000)}`), undefined)
    assert.equal(code('X-A', `${'a '.repeat(5_000)}a`), 'too_long')
    assert.equal(code('X-A', 'ü'.repeat(5_001)), 'too_long')
    assert.equal(code('X-A', `x ${'a'.repeat(921)} x`), 'too_long')
    assert.equal(code('X-A', '\r'.repeat(50_000_000)), 'too_long')
    assert.equal(`${'n'.repeat(76)}: ${'a'.repeat(920)}`.length, 998)
  })
  test('nothing empty', () => {
    for (const value of ['', ' ', '\u00a0 ']) assert.equal(code('X-A', value), 'invalid_header')
  })
})

describe('only text, and no exception (INVARIANTS G3, G5, H3)', () => {
  const hostile: readonly unknown[] = [
    null,
    undefined,
    1,
    1n,
    Number.NaN,
    true,
    Symbol('x'),
    () => 'x',
    ['x'],
    {},
    Object.create(null),
    new String('x'),
    new Map(),
    { toString: () => 'X-A' },
    {
      get length() {
        throw new Error('no')
      },
    },
    new Proxy(
      {},
      {
        get() {
          throw new Error('no')
        },
      },
    ),
  ]
  for (const value of hostile) {
    test(inspect(value, { showProxy: true }), () => {
      assert.equal(code(value, 'v'), 'invalid_type')
      assert.equal(code('X-A', value), 'invalid_type')
      const id = checkMessageId(value)
      assert.ok(typeof id === 'object' && id.code === 'invalid_type')
    })
  }
})

describe('reserved headers (INVARIANTS H2)', () => {
  const reserved = `From Sender Reply-To To Cc Bcc Subject Date Message-ID In-Reply-To References Return-Path Received
    DKIM-Signature ARC-Seal ARC-Message-Signature ARC-Authentication-Results Authentication-Results Received-SPF MIME-Version
    Content-Type Content-Transfer-Encoding Content-X Resent-From Resent-Bcc DomainKey-Signature Delivered-To Envelope-To
    Disposition-Notification-To Return-Receipt-To X-SES-CONFIGURATION-SET X-SMTPAPI X-SG-EID X-Mailgun-Drop-Message
    X-MC-Tags X-PM-Tag X-MSYS-API X-Mailin-Tag X-Sendwright-Id Importance Priority X-Priority X-MSMail-Priority __proto__`
    .trim()
    .split(/\s+/)
  test('in any case of letters', () => {
    for (const name of reserved) {
      for (const spelling of [name, name.toLowerCase(), name.toUpperCase()]) {
        assert.equal(isReservedHeader(spelling), true, spelling)
        assert.equal(code(spelling, 'v'), 'reserved_header', spelling)
      }
    }
    assert.equal(isReservedHeader(`X-SES-${'x'.repeat(1_000_000)}`), true)
  })
  test('what lists, robots and applications need is free', () => {
    const free = `List-Unsubscribe List-Unsubscribe-Post List-Id List-Post Precedence Auto-Submitted Feedback-ID X-Entity-Ref-ID
      X-Mailer X-Custom Organization Keywords X-Seshat X-From constructor`
    for (const name of free.split(/\s+/)) assert.equal(checkHeader(name, 'v'), undefined, name)
  })
})

describe('message ids', () => {
  test('get their angle brackets', () => {
    assert.equal(checkMessageId('a.b+c@example.com'), '<a.b+c@example.com>')
    assert.equal(checkMessageId('<a$(b)@[10.0.0.1]>'), '<a$(b)@[10.0.0.1]>')
    const longest = `<${'a'.repeat(247)}@b>`.replace('aa', '')
    assert.equal(longest.length, 249)
    assert.equal(checkMessageId(longest), longest)
  })
  test('anything else is refused', () => {
    const bad = [
      '',
      'a',
      '@',
      'a@',
      '@b',
      '<a@b',
      'a@b>',
      '<<a@b>>',
      'a@b@c',
      '<a@b> <c@d>',
      'a b@c',
      ' a@b',
      'a@b ',
      'a@b\r\n',
      'ä@b',
      'a@b\0',
      '<>',
    ]
    for (const text of bad) {
      const result = checkMessageId(text)
      assert.ok(typeof result === 'object' && result.code === 'invalid_message_id', inspect(text))
    }
    for (const text of [`${'a'.repeat(247)}@b`, `<${'a'.repeat(247)}@b>`, 'a'.repeat(5_000_000)]) {
      const result = checkMessageId(text)
      assert.ok(typeof result === 'object' && result.code === 'too_long')
    }
  })
})

test('a problem never holds the value (INVARIANTS P11)', () => {
  const answers = [
    checkHeader('canary canary', 'v'),
    checkHeader('X-SES-canary', 'v'),
    checkHeader('X-A', 'canary\n'),
    checkMessageId('canary'),
  ]
  assert.equal(answers.filter(Boolean).length, 4)
  assert.doesNotMatch(JSON.stringify(answers), /canary/)
})

test('limits of one message (INVARIANTS H3)', () => {
  assert.deepEqual(headerLimits, { count: 30, bytes: 64_000 })
  assert.ok(Object.isFrozen(headerLimits))
})
