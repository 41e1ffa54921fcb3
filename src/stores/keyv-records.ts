import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import { hashKey } from '../message/fingerprint.ts'
import { nameOf } from './checked.ts'

/** The part of a Keyv (5.6 or 6.1) that is used. */
export interface KeyvLike {
  get(key: string): Promise<unknown>
  getRaw(key: string): Promise<unknown>
  set(key: string, value: unknown, ttl?: number): Promise<unknown>
  delete(key: string): Promise<unknown>
  on(event: 'error', listener: (error: unknown) => void): unknown
  off(event: 'error', listener: (error: unknown) => void): unknown
}

/** Less than the checked wrapper waits, so that a lock is free again before its caller gives up. */
const longestCall = 1_500
const day = 86_400_000
/** Keyv has no way to say "never" that no default TTL overrides; this is a hundred years. */
const longestLife = 36_525 * day

/** The key of a record: what callers give is hashed, so no text of theirs can meet a namespace (INVARIANTS S2). */
export const recordKey = (kind: string, ...parts: readonly (string | undefined)[]) =>
  `sendwright-v1-${kind}-${hashKey(kind, ...parts)}`

/**
 * Records in a Keyv: one JSON text each, so that no serializer, compression or shared object of the application's changes
 * them, with a version.
 *
 * Keyv answers `undefined` or `true` over many failures and only reports them as an event (STORES 1.2). So an error event
 * while a call runs makes the call a failure; with several at once, of all of them.
 */
export class KeyvRecords {
  readonly #keyv: KeyvLike
  readonly #clock: Clock
  #errors = 0
  readonly #count = () => {
    this.#errors++
  }

  constructor(keyv: KeyvLike, clock: Clock) {
    this.#keyv = keyv
    this.#clock = clock
    keyv.on('error', this.#count)
  }

  async read<T extends object>(key: string): Promise<T | undefined> {
    // Not `get`: in Keyv 5 it answers undefined when the adapter throws.
    const stored = await this.#call('read', () => this.#keyv.getRaw(key))
    if (stored === undefined || stored === null) return undefined
    const { value } = stored as { value?: unknown }
    if (value === undefined || value === null) return undefined
    const record = typeof value === 'string' ? parse(value) : undefined
    if (record?.v !== 1) {
      throw new MailError('STORE_UNAVAILABLE', 'The Keyv holds a record of ours that this version cannot read.')
    }
    return record.data as T
  }

  /** `life` is in milliseconds, Infinity for good. The Keyv may keep it a day longer, so a clock step ends nothing early. */
  async write(key: string, data: object, life: number): Promise<void> {
    if (Number.isNaN(life)) throw new TypeError('A life in milliseconds is a number.')
    const ttl = Math.min(Math.max(Math.ceil(life), 1) + day, longestLife)
    const taken = await this.#call('write', () => this.#keyv.set(key, JSON.stringify({ v: 1, data }), ttl))
    if (taken === false) throw unavailable('write', 'it answered false')
  }

  async delete(key: string): Promise<void> {
    await this.#call('delete', () => this.#keyv.delete(key))
  }

  /** Leaves the application's Keyv as it was found; it is not closed. */
  release(): void {
    this.#keyv.off('error', this.#count)
  }

  async #call<T>(what: string, call: () => Promise<T>): Promise<T> {
    const before = this.#errors
    const late = Promise.withResolvers<never>()
    const timer = this.#clock.setTimeout(
      () => late.reject(unavailable(what, `no answer within ${longestCall} ms`)),
      longestCall,
    )
    try {
      const answer = await Promise.race([call(), late.promise])
      if (this.#errors !== before) throw unavailable(what, 'it reported an error')
      return answer
    } catch (error) {
      throw error instanceof MailError ? error : unavailable(what, nameOf(error))
    } finally {
      timer.cancel()
    }
  }
}

const unavailable = (what: string, why: string) =>
  new MailError('STORE_UNAVAILABLE', `The Keyv failed a ${what} (${why}); nothing is assumed. Check it and retry.`)

function parse(text: string): { v?: unknown; data?: unknown } | undefined {
  try {
    return JSON.parse(text) as { v?: unknown } | undefined
  } catch {
    return undefined
  }
}
