import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { MailError } from '../../errors.ts'

/** Fails when one of `secrets` can be read off `value`, in whichever way a logger or debugger would look at it. */
export function assertSilent(value: unknown, secrets: readonly string[], what: string): void {
  const texts = [...textsIn(value), inspect(value, { depth: 20, showHidden: true, getters: true }), json(value)]
  if (value instanceof Error) texts.push(String(value), value.stack ?? '')
  const words = secrets.flatMap(spellings)
  for (const text of texts) {
    // Not the text itself: the report of a failing test is a log, too.
    assert.ok(!words.some((word) => text.includes(word)), `${what} shows a secret or personal text`)
  }
}

/** Fails when anything but plain data and `MailError` hangs on an error: SDK errors and sockets print keys. */
export function assertOwn(error: MailError): void {
  for (const value of reachable(error)) {
    if (typeof value === 'function') assert.fail('a function hangs on the error')
    const prototype: unknown = Object.getPrototypeOf(value)
    const plain = prototype === null || prototype === Object.prototype || Array.isArray(value)
    assert.ok(plain || value instanceof MailError, `${nameOf(value)} of another library hangs on the error`)
  }
}

const nameOf = (value: object) => `an object (${value.constructor?.name ?? 'without constructor'})`

/** A secret as it stands, and as credentials travel. */
function spellings(secret: string): string[] {
  const base64 = Buffer.from(secret).toString('base64').replace(/=+$/, '').slice(0, -1)
  return [secret, ...(base64.length > 8 ? [base64] : []), encodeURIComponent(secret)]
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? ''
  } catch {
    return ''
  }
}

function* textsIn(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value
  for (const part of reachable(value)) {
    if (ArrayBuffer.isView(part)) yield Buffer.from(part.buffer, part.byteOffset, part.byteLength).toString('latin1')
    for (const key of Reflect.ownKeys(part)) {
      yield String(key)
      const held = Reflect.getOwnPropertyDescriptor(part, key)?.value
      if (typeof held === 'string') yield held
    }
    if (part instanceof Map || part instanceof Set) {
      for (const entry of [...part].flat()) if (typeof entry === 'string') yield entry
    }
  }
}

/** Everything that own properties lead to, hidden and symbol ones included; getters are not called. */
function reachable(root: unknown): Set<object> {
  const seen = new Set<object>()
  const add = (value: unknown) => {
    if ((typeof value === 'object' && value !== null) || typeof value === 'function') seen.add(value)
  }
  add(root)
  // A Set takes in what is added while it is walked.
  for (const value of seen) {
    if (ArrayBuffer.isView(value)) continue
    for (const key of Reflect.ownKeys(value)) {
      const descriptor = Reflect.getOwnPropertyDescriptor(value, key)
      // Every function's own, and no place to keep things.
      if (typeof value === 'function' && key === 'prototype') continue
      add(descriptor?.value)
    }
    if (value instanceof Map || value instanceof Set) for (const entry of [...value].flat()) add(entry)
  }
  return seen
}
