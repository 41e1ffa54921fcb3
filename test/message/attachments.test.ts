import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import {
  type Bytes,
  cleanFilename,
  decodeContent,
  isContentId,
  isContentType,
  mostDecoded,
  readStream,
} from '../../src/message/attachments.ts'
import { copyPlain, type StreamSource } from '../../src/message/plain.ts'
import { noAccidents } from '../support/accidents.ts'

noAccidents()

const limit = 1_000
const sourceOf = (content: unknown) => (copyPlain({ content }, 0) as { content: StreamSource }).content
const read = (content: unknown, signal = new AbortController().signal) => readStream(sourceOf(content), limit, signal)
const code = (bytes: Bytes) => ('code' in bytes ? bytes.code : `${bytes.byteLength} bytes`)
const text = (bytes: Bytes) => ('code' in bytes ? assert.fail(bytes.code) : Buffer.from(bytes).toString('utf8'))

describe('file names (F2)', () => {
  for (const [given, clean] of [
    ['report.pdf', 'report.pdf'],
    ['../../etc/passwd', 'passwd'],
    ['C:\\Users\\ada\\report.pdf', 'report.pdf'],
    ['a\r\nX-Evil: 1.pdf', 'aX-Evil: 1.pdf'],
    ['exe.\u202Efdp', 'exe.fdp'],
    ['a\0b.txt', 'ab.txt'],
    ['zwj\u200d.txt', 'zwj.txt'],
    ['quo"te.txt', 'quote.txt'],
    [' padded.txt ', 'padded.txt'],
    ['..', ''],
    ['dir/', ''],
    ['\ud800', ''],
  ] as const) {
    test(`${JSON.stringify(given)} becomes ${JSON.stringify(clean)}`, () => assert.equal(cleanFilename(given), clean))
  }
})

describe('content types (F2, H1)', () => {
  for (const good of ['text/plain', 'text/plain; charset=utf-8', 'application/vnd.a+json;a="b c"', 'image/svg+xml']) {
    test(`takes ${good}`, () => assert.ok(isContentType(good)))
  }
  for (const bad of [
    '',
    'text',
    'text/',
    '/plain',
    'text/plain;',
    'text/plain; charset',
    'text/plain\r\nX-Evil: 1',
    'text/plain;\nx=1',
    'text/plain;\tx=1',
    'text/plain;\u2028x=1',
    'text/plain;x="a\nb"',
    'text/plain;x="a\\"b"',
    'multipart/mixed',
    'MULTIPART/Mixed',
    'message/rfc822',
    'text/plâin',
    `text/plain; x=${'a'.repeat(200)}`,
  ]) {
    test(`refuses ${JSON.stringify(bad)}`, () => assert.ok(!isContentType(bad)))
  }
  for (const [id, sound] of [
    ['logo', true],
    ['logo@acme', true],
    ['a b', false],
    ['<a>', false],
    ['', false],
    ['ü', false],
    ['x'.repeat(79), false],
  ] as const) {
    test(`content id ${JSON.stringify(id)} is ${sound ? 'taken' : 'refused'}`, () =>
      assert.equal(isContentId(id), sound))
  }
})

describe('text content (F3: nothing is truncated in silence)', () => {
  for (const [content, encoding, expected] of [
    ['aGVsbG8=', 'base64', '5 bytes'],
    ['aGVs\r\nbG8=', 'base64', '5 bytes'],
    ['aGVsbG8', 'base64', 'invalid_base64'],
    ['aGVsbG9=', 'base64', 'invalid_base64'],
    ['aGV!bG8=', 'base64', 'invalid_base64'],
    ['aGVs=bG8', 'base64', 'invalid_base64'],
    ['aGVsbG8_', 'base64', 'invalid_base64'],
    ['', 'base64', '0 bytes'],
    ['68656C6c6f', 'hex', '5 bytes'],
    ['6865f', 'hex', 'invalid_hex'],
    ['68zz', 'hex', 'invalid_hex'],
    ['hellö', 'utf8', '6 bytes'],
    ['\ud800', 'utf8', 'malformed_unicode'],
    ['x'.repeat(limit), 'utf8', '1000 bytes'],
    ['x'.repeat(limit + 1), 'utf8', 'too_large'],
    ['ü'.repeat(limit - 1), 'utf8', 'too_large'],
    ['ff'.repeat(limit + 1), 'hex', 'too_large'],
    ['A'.repeat(4_000), 'base64', 'too_large'],
  ] as const) {
    test(`${content.slice(0, 12)} as ${encoding}: ${expected}`, () => {
      assert.equal(code(decodeContent(content, encoding, limit)), expected)
    })
  }

  test('the bound known before decoding is never too low (G4)', () => {
    for (let length = 0; length < 50; length++) {
      const bytes = Buffer.alloc(length, 0xff)
      assert.ok(mostDecoded(bytes.toString('base64'), 'base64') >= length)
      assert.ok(mostDecoded(bytes.toString('hex'), 'hex') >= length)
    }
  })
})

describe('streams are read into bytes at the door, bounded (F1)', () => {
  async function* of(...chunks: unknown[]) {
    yield* chunks
  }

  test('bytes and text of Node streams, web streams and generators', async () => {
    assert.equal(text(await read(of('a', Buffer.from('b'), new Uint8Array(0), 'c'))), 'abc')
    assert.equal(text(await read(Readable.from([Buffer.from('node')]))), 'node')
    assert.equal(text(await read(new Blob(['web']).stream())), 'web')
  })

  test('a producer may use one buffer for every chunk (P6)', async () => {
    const buffer = new Uint8Array(1)
    const stream = (async function* () {
      for (const byte of [1, 2, 3]) yield buffer.fill(byte)
      buffer.fill(9)
    })()
    assert.deepEqual([...((await read(stream)) as Uint8Array)], [1, 2, 3])
  })

  test('exactly the limit passes, one byte more does not, and it is told to stop', async () => {
    assert.equal(code(await read(of(new Uint8Array(limit)))), '1000 bytes')
    let stopped = false
    const endless = (async function* () {
      try {
        for (;;) yield new Uint8Array(300)
      } finally {
        stopped = true
      }
    })()
    assert.equal(code(await read(endless)), 'too_large')
    assert.ok(stopped)
    assert.equal(code(await read(of('x'.repeat(limit + 1)))), 'too_large')
    assert.equal(code(await read(of('ü'.repeat(limit)))), 'too_large')
  })

  test('what yields no bytes is refused', async () => {
    for (const chunk of [null, undefined, 1, {}, [1], new Float32Array(1), new ArrayBuffer(1), Promise.resolve('x')]) {
      const outcome = code(await read({ [Symbol.asyncIterator]: () => ({ next: async () => ({ value: chunk }) }) }))
      assert.equal(outcome, 'invalid_type', String(chunk))
    }
    assert.equal(code(await read(of('\ud83d'))), 'malformed_unicode')
  })

  test('failing, consumed and locked streams are refused, never an empty file', async () => {
    const failing = (async function* () {
      yield 'x'
      throw new Error('disk')
    })()
    assert.equal(code(await read(failing)), 'stream_failed')
    assert.equal(code(await read({ [Symbol.asyncIterator]: () => assert.fail('opened') })), 'stream_failed')
    assert.equal(
      code(await read({ [Symbol.asyncIterator]: () => ({ next: () => assert.fail('asked') }) })),
      'stream_failed',
    )
    assert.equal(code(await read({ [Symbol.asyncIterator]: () => ({ next: async () => 5 }) })), 'invalid_type')
    assert.equal(code(await read({ [Symbol.asyncIterator]: () => 5 })), 'stream_failed')
    const locked = new Blob(['x']).stream()
    locked.getReader()
    assert.equal(code(await read(locked)), 'stream_failed')
    const generator = of('x')
    await generator.next()
    await generator.next()
    assert.equal(code(await read(generator)), 'stream_empty')
    const node = Readable.from([Buffer.from('x')])
    for await (const _ of node);
    assert.match(code(await read(node)), /stream_(empty|failed)/)
  })

  test('a stream that stalls, or yields empty chunks for ever, ends with the signal and is not awaited (P9, P10)', async () => {
    const stalled = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}), return: () => new Promise(() => {}) }),
    }
    const first = new AbortController()
    const reading = read(stalled, first.signal)
    first.abort()
    assert.equal(code(await reading), 'stream_stalled')

    const second = new AbortController()
    let pulled = 0
    const empty = {
      [Symbol.asyncIterator]: () => ({
        next() {
          pulled++
          return { done: false, value: new Uint8Array(0) }
        },
        return() {
          throw new Error('will not stop')
        },
      }),
    }
    setTimeout(() => second.abort(), 1)
    assert.equal(code(await read(empty, second.signal)), 'stream_stalled')
    assert.ok(pulled > 0)

    assert.equal(code(await read(of('x'), AbortSignal.abort())), 'stream_stalled')
  })

  test('one listener on the signal however many chunks, and none afterwards (X7)', async () => {
    let listening = 0
    const { signal } = new AbortController()
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listening++
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listening--
      remove(...args)
    }
    let most = 0
    const chunks = (async function* () {
      for (let i = 0; i < 900; i++) {
        most = Math.max(most, listening)
        yield 'x'
      }
    })()
    assert.equal(code(await read(chunks, signal)), '900 bytes')
    assert.equal(most, 1)
    assert.equal(listening, 0)
  })
})
