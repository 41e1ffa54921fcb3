import type { MailStore } from '../../src/stores/store.ts'

/** One call of a store's verb. */
export interface Verb {
  /** `claim`, `suppress.hasMany`, … */
  readonly name: string
  /** The first call of any verb is 1. */
  readonly number: number
  readonly args: readonly unknown[]
}

export interface Taps {
  /** Runs before the verb; what it throws, the verb throws without having done anything. */
  before?(verb: Verb): unknown
  /** Runs after the verb has done its work; what it throws hides the answer. */
  after?(verb: Verb): unknown
}

/** The store with a test between it and whoever uses it. Every verb becomes asynchronous. */
export function tapped(store: MailStore, taps: Taps): MailStore {
  let number = 0
  const tap = <T extends object>(target: T, prefix: string): T =>
    new Proxy(target, {
      get(_, property) {
        const value: unknown = Reflect.get(target, property, target)
        if (typeof property === 'symbol' || property === 'guarantees') return value
        if (typeof value === 'object' && value !== null) return tap(value, `${property}.`)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]) => {
          const verb = { name: `${prefix}${property}`, number: ++number, args }
          await taps.before?.(verb)
          const answer: unknown = await value.apply(target, args)
          await taps.after?.(verb)
          return answer
        }
      },
    })
  return tap(store, '')
}
