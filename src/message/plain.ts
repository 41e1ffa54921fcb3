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

const deepest = 12
const mostNodes = 50_000
const longestList = 10_000

/**
 * Copies own enumerable properties, reading each exactly once, into objects without a prototype; bytes and streams pass
 * as they are. Whatever a getter, proxy or later writer does to the input cannot reach the copy. Depth and size are
 * bounded before anything is walked.
 *
 * @throws NotPlain for what is no plain data: class instances, too deep, too many, getters that throw.
 */
export function copyPlain(input: unknown): unknown {
  let nodes = 0
  const copy = (value: unknown, path: readonly (string | number)[]): unknown => {
    if (typeof value !== 'object' || value === null) return value
    if (++nodes > mostNodes) throw new NotPlain(path, 'too_many', 'Holds too many values; send less in one message.')
    if (types.isUint8Array(value) || types.isAnyArrayBuffer(value)) return value
    if (path.length > deepest) throw new NotPlain(path, 'too_deep', `Nests deeper than ${deepest} levels; flatten it.`)
    if (Array.isArray(value)) return copyList(value, path)
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
      if (isStream(value)) return value
      throw new NotPlain(path, 'not_plain', 'Must be plain data: not a class instance, Map, Set, Date or promise.')
    }
    if (isStream(value)) return value
    const object: Record<string, unknown> = Object.create(null)
    const names = Object.keys(value)
    if (names.length > longestList) throw new NotPlain(path, 'too_many', `Holds more than ${longestList} fields.`)
    for (const name of names) object[name] = copy((value as Record<string, unknown>)[name], [...path, name])
    return object
  }
  const copyList = (list: readonly unknown[], path: readonly (string | number)[]): unknown[] => {
    const { length } = list
    if (length > longestList) throw new NotPlain(path, 'too_many', `Holds more than ${longestList} items.`)
    const items: unknown[] = []
    for (let i = 0; i < length; i++) items.push(copy(list[i], [...path, i]))
    return items
  }
  try {
    return copy(input, [])
  } catch (error) {
    if (error instanceof NotPlain) throw error
    throw new NotPlain([], 'unreadable', 'A property threw while it was read; pass plain data.')
  }
}

export function isStream(value: object): value is AsyncIterable<unknown> {
  return typeof (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === 'function'
}
