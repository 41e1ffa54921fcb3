import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { describe, test } from 'node:test'
import { copyPlain, NotPlain, StreamSource } from '../../src/message/plain.ts'
import { noAccidents } from '../support/accidents.ts'

noAccidents()

const mostBytes = 1_000
const copy = (input: unknown) => copyPlain(input, mostBytes)

function problem(input: unknown): NotPlain {
  try {
    copy(input)
  } catch (error) {
    assert.ok(error instanceof NotPlain, `no NotPlain but ${String(error)}`)
    return error
  }
  assert.fail('was copied')
}

const nested = (levels: number): unknown => (levels === 0 ? 'deep' : { down: nested(levels - 1) })

describe('copyPlain', () => {
  test('reads each own property exactly once, and no inherited or symbol one (G2)', () => {
    const reads: PropertyKey[] = []
    const target = { to: 'ada@example.com', list: ['a', 'b'] }
    const input = new Proxy(target, {
      get(object, name, receiver) {
        reads.push(name)
        return Reflect.get(object, name, receiver)
      },
    })
    const copied = copy(input) as typeof target
    assert.deepEqual(
      reads.filter((name) => name in target),
      ['to', 'list'],
    )
    assert.deepEqual({ ...copied }, target)
    assert.equal(Object.getPrototypeOf(copied), null)
    assert.deepEqual(Object.keys(copy({ [Symbol('hidden')]: 1, shown: 2 }) as object), ['shown'])
  })

  test('a getter that changes is asked once, and its later answers are never seen (G2)', () => {
    let answers = 0
    const copied = copy({
      get subject() {
        return `answer ${++answers}`
      },
    }) as { subject: string }
    assert.deepEqual([copied.subject, copied.subject, answers], ['answer 1', 'answer 1', 1])
  })

  test('later writes to objects, lists and bytes do not reach the copy (P6)', () => {
    const input = { list: ['a'], attachments: [{ content: new Uint8Array([1, 2, 3]) }], text: new ArrayBuffer(2) }
    const copied = copy(input) as { list: string[]; attachments: { content: Uint8Array }[]; text: Uint8Array }
    input.list.push('b')
    input.attachments[0]!.content.fill(9)
    new Uint8Array(input.text).fill(9)
    assert.deepEqual(copied.list, ['a'])
    assert.deepEqual([...copied.attachments[0]!.content], [1, 2, 3])
    assert.deepEqual([...copied.text], [0, 0])
  })

  test('__proto__ is an own field of the copy and never a prototype (G2)', () => {
    const copied = copy(JSON.parse('{"__proto__":{"admin":true}}')) as Record<string, unknown>
    assert.deepEqual(Object.keys(copied), ['__proto__'])
    assert.equal(copied.admin, undefined)
    assert.equal(({} as { admin?: boolean }).admin, undefined)
  })

  test('frozen and null-prototype objects are plain data (G5)', () => {
    const input = Object.freeze(Object.assign(Object.create(null), { a: Object.freeze(['x']) }))
    assert.deepEqual({ ...(copy(input) as object) }, { a: ['x'] })
  })

  const own = (value: unknown) => ({ a: { b: value } })
  class Instance {}
  const refused: [string, unknown][] = [
    ['a class instance', new Instance()],
    ['an object with a prototype of its own', Object.create({ to: 'x' })],
    ['a Map', new Map([['to', 'x']])],
    ['a Set', new Set(['x'])],
    ['a Date', new Date()],
    ['an invalid Date', new Date(Number.NaN)],
    ['a RegExp', /x/],
    ['an Error', new Error('x')],
    ['a WeakMap', new WeakMap()],
    ['a promise', Promise.resolve('x')],
    ['a promise that rejects', Promise.reject(new Error('nobody listens'))],
    ['boxed text', new String('x')],
    ['a boxed number', new Number(1)],
    ['a boxed symbol', Object(Symbol('x'))],
    ['a DataView', new DataView(new ArrayBuffer(1))],
    ['floats', new Float64Array(1)],
    ['a URL', new URL('https://example.com')],
    ['a Blob', new Blob(['x'])],
    ['bytes outside of content', new Uint8Array(1)],
    ['an ArrayBuffer outside of content', new ArrayBuffer(1)],
    ['a stream outside of content', (async function* () {})()],
    ['a generator', (function* () {})()],
  ]
  for (const [what, value] of refused) {
    test(`${what} is refused with its path (G5)`, () => {
      const { path, code } = problem(own(value))
      assert.deepEqual(path, ['a', 'b'])
      assert.equal(code, 'not_plain')
    })
  }

  const throwing: [string, unknown][] = [
    ['a getter that throws', own(Object.defineProperty({}, 'c', { enumerable: true, get: () => assert.fail('read') }))],
    ['a list item that throws', own(Object.defineProperty([1], 'c', {}) && new Proxy(['x'], thrower('get')))],
    ['a proxy that hides its keys', own(new Proxy({}, thrower('ownKeys')))],
    ['a proxy that hides its prototype', own(new Proxy({}, thrower('getPrototypeOf')))],
    ['a proxy that describes nothing', own(new Proxy({ c: 1 }, thrower('getOwnPropertyDescriptor')))],
    ['a revoked proxy', own(revoked())],
  ]
  for (const [what, value] of throwing) {
    test(`${what} is unreadable, and the path leads there (G5)`, () => {
      const { path, code } = problem(value)
      assert.equal(code, 'unreadable')
      assert.deepEqual(path.slice(0, 2), ['a', 'b'])
    })
  }

  test('depth is bounded, a circle too, without recursion into it (G4)', () => {
    assert.doesNotThrow(() => copy(nested(12)))
    assert.equal(problem(nested(14)).code, 'too_deep')
    assert.equal(problem(nested(2_000)).code, 'too_deep')
    const circle: Record<string, unknown> = {}
    circle.self = circle
    assert.equal(problem(circle).code, 'too_deep')
    const list: unknown[] = []
    list.push(list)
    assert.equal(problem(list).code, 'too_deep')
  })

  test('a length is looked at before any item is read (G4)', () => {
    let reads = 0
    const list = new Proxy(new Array(10_000_000), {
      get(target, name, receiver) {
        if (name !== 'length') reads++
        return Reflect.get(target, name, receiver)
      },
    })
    assert.equal(problem({ to: list }).code, 'too_many')
    assert.ok(reads <= 1, `${reads} reads`)
  })

  test('values are counted, so that lists of shared lists cannot multiply (G4)', () => {
    let reads = 0
    const row = new Proxy(new Array(10_000).fill('x'), {
      get(target, name, receiver) {
        reads++
        return Reflect.get(target, name, receiver)
      },
    })
    assert.equal(problem(new Array(10_000).fill(row)).code, 'too_many')
    assert.ok(reads < 100_000, `${reads} reads`)
  })

  test('bytes are measured before they are copied, whatever they say of themselves (G4)', () => {
    assert.equal((copy({ content: new Uint8Array(mostBytes) }) as { content: Uint8Array }).content.length, mostBytes)
    assert.equal(problem({ content: new Uint8Array(mostBytes + 1) }).code, 'too_large')
    assert.equal(
      problem({ a: { content: new Uint8Array(600) }, b: { content: new Uint8Array(600) } }).code,
      'too_large',
    )
    const liar = Object.defineProperty(new Uint8Array(mostBytes + 1), 'byteLength', { value: 1 })
    assert.equal(problem({ content: liar }).code, 'too_large')
    const thrower = Object.defineProperty(new Uint8Array(1), 'byteLength', { get: () => assert.fail('asked') })
    assert.deepEqual((copy({ content: thrower }) as { content: Uint8Array }).content, new Uint8Array(1))
  })

  test('detached bytes are refused instead of becoming an empty file (F3, G5)', () => {
    const buffer = new ArrayBuffer(8)
    const view = new Uint8Array(buffer)
    structuredClone(buffer, { transfer: [buffer] })
    assert.equal(problem({ content: buffer }).code, 'detached')
    assert.equal(problem({ content: view }).code, 'detached')
    assert.doesNotThrow(() => copy({ content: new Uint8Array(0) }))
  })

  test('resizable and shared bytes are taken as they are at that moment (P6)', () => {
    const resizable = new ArrayBuffer(4, { maxByteLength: 8 })
    const shared = new SharedArrayBuffer(4)
    const copied = copy({ a: { content: resizable }, b: { content: shared } }) as Record<
      string,
      { content: Uint8Array }
    >
    resizable.resize(0)
    new Uint8Array(shared).fill(7)
    assert.deepEqual([...copied.a!.content], [0, 0, 0, 0])
    assert.deepEqual([...copied.b!.content], [0, 0, 0, 0])
  })

  test('what opens a stream is read once, and the object is never asked again (G2)', async () => {
    let asked = 0
    const stream = Object.defineProperty({}, Symbol.asyncIterator, {
      get() {
        asked++
        return async function* () {
          yield 'x'
        }
      },
    })
    const { content } = copy({ content: stream }) as { content: StreamSource }
    assert.ok(content instanceof StreamSource)
    assert.deepEqual(await content.open().next(), { done: false, value: 'x' })
    assert.equal(asked, 1)
  })

  test('a Node stream that fails before anybody reads it does not end the process (P9)', () => {
    const emitter = Object.assign(new EventEmitter(), { async *[Symbol.asyncIterator]() {} })
    copy({ content: emitter })
    assert.doesNotThrow(() => emitter.emit('error', new Error('no such file')))
    const misplaced = Object.assign(new EventEmitter(), { async *[Symbol.asyncIterator]() {} })
    problem({ to: misplaced })
    assert.doesNotThrow(() => misplaced.emit('error', new Error('no such file')))
  })
})

function thrower(trap: keyof ProxyHandler<object>): ProxyHandler<object> {
  return {
    [trap]() {
      throw new Error('trapped')
    },
  }
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}
