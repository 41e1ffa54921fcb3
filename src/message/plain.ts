import { types } from 'node:util'

/** Why an input cannot be read as plain data. The path is where. */
export class NotPlain {
  readonly path: readonly (string | number)[]
  readonly code: string
  readonly message: string

  constructor(path: readonly (string | number)[], code: string, message: string) {
    this.path = path
    this.code = code
    this.message = message
  }
}

/** A caller's stream. Only what opens it was kept, so that nothing about the object can change any more. */
export class StreamSource {
  readonly #stream: object
  readonly #open: () => AsyncIterator<unknown>

  constructor(stream: object, open: () => AsyncIterator<unknown>) {
    this.#stream = stream
    this.#open = open
  }

  /** Throws for a stream that is locked or refuses otherwise. */
  open(): AsyncIterator<unknown> {
    return Reflect.apply(this.#open, this.#stream, [])
  }
}

const deepest = 12
const mostValues = 50_000
const longestList = 10_000
/** The only fields that may hold bytes or a stream. */
const contentFields: ReadonlySet<string | number | undefined> = new Set(['text', 'html', 'content'])

type Path = readonly (string | number)[]

/**
 * Copies own enumerable properties, reading each exactly once, into objects without a prototype; bytes are copied, streams
 * kept as a `StreamSource`. Whatever a getter, proxy or later writer does to the input cannot reach the copy. Depth and
 * size are bounded before anything is walked.
 *
 * @throws NotPlain for what is no plain data: class instances, too deep, too many, getters that throw.
 */
export function copyPlain(input: unknown, mostBytes: number): unknown {
  let values = 0
  let bytes = 0
  let reading: Path = []

  const copy = (value: unknown, path: Path): unknown => {
    if (++values > mostValues) throw new NotPlain(path, 'too_many', 'Holds too many values; send less in one message.')
    if (typeof value !== 'object' || value === null || value instanceof StreamSource) return value
    reading = path
    if (types.isUint8Array(value) || types.isAnyArrayBuffer(value)) return copyBytes(value, path)
    if (path.length > deepest) throw new NotPlain(path, 'too_deep', `Nests deeper than ${deepest} levels; flatten it.`)
    if (Array.isArray(value)) return copyList(value, path)
    if (types.isPromise(value)) Promise.prototype.then.call(value, undefined, ignore)
    const open: unknown = (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator]
    if (typeof open === 'function') return streamOf(value, open as () => AsyncIterator<unknown>, path)
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
      throw new NotPlain(path, 'not_plain', 'Must be plain data: not a class instance, Map, Set, Date or promise.')
    }
    return copyObject(value as Record<string, unknown>, path)
  }

  const copyObject = (value: Record<string, unknown>, path: Path): Record<string, unknown> => {
    const object: Record<string, unknown> = Object.create(null)
    const names = Object.keys(value)
    if (names.length > longestList) throw new NotPlain(path, 'too_many', `Holds more than ${longestList} fields.`)
    for (const name of names) {
      const own = [...path, name]
      reading = own
      object[name] = copy(value[name], own)
    }
    return object
  }

  const copyList = (list: readonly unknown[], path: Path): unknown[] => {
    const { length } = list
    if (length > longestList) throw new NotPlain(path, 'too_many', `Holds more than ${longestList} items.`)
    const items: unknown[] = []
    for (let i = 0; i < length; i++) {
      const own = [...path, i]
      reading = own
      items.push(copy(list[i], own))
    }
    return items
  }

  const copyBytes = (value: Uint8Array | ArrayBufferLike, path: Path): Uint8Array => {
    requireContent(path, 'Bytes')
    const view = viewOf(value, path)
    bytes += sizeOf(view)
    if (bytes > mostBytes) throw new NotPlain(path, 'too_large', `Makes the message larger than ${mostBytes} bytes.`)
    return owned.has(view) ? view : own(new Uint8Array(view))
  }

  try {
    return copy(input, [])
  } catch (error) {
    if (error instanceof NotPlain) throw error
    throw new NotPlain(reading, 'unreadable', 'A property threw while it was read; pass plain data.')
  }
}

function requireContent(path: Path, what: string): void {
  if (contentFields.has(path.at(-1))) return
  throw new NotPlain(path, 'not_plain', `${what} may stand in text, html and the content of attachments only.`)
}

/** Asked of the engine, since an object may have a `byteLength` of its own. */
const sizeOf: (bytes: Uint8Array) => number = (() => {
  const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'byteLength')!
  return (bytes) => Reflect.apply(get!, bytes, [])
})()

function viewOf(value: Uint8Array | ArrayBufferLike, path: Path): Uint8Array {
  try {
    const view = types.isUint8Array(value) ? value : new Uint8Array(value)
    // Answers 0 instead of throwing once the memory is gone; only a copy throws.
    if (sizeOf(view) > 0 || new Uint8Array(view).length === 0) return view
  } catch {
    // told below
  }
  throw new NotPlain(path, 'detached', 'The bytes were transferred elsewhere; pass a copy of your own.')
}

function streamOf(value: object, open: () => AsyncIterator<unknown>, path: Path): StreamSource {
  // A Node stream that fails before it is read would otherwise end the process.
  const on: unknown = (value as { on?: unknown }).on
  if (typeof on === 'function') Reflect.apply(on, value, ['error', ignore])
  requireContent(path, 'A stream')
  return new StreamSource(value, open)
}

const owned = new WeakSet<Uint8Array>()

/** Marks bytes nobody outside can write to, so that reading them again copies nothing. */
export function own(bytes: Uint8Array): Uint8Array {
  owned.add(bytes)
  return bytes
}

const ignore = () => undefined
