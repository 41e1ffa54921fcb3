import type { MailStore } from '../../src/index.ts'

/** Stands in the place of a verb: `run` does what the store would have done. */
export type Around = (verb: string, run: () => Promise<unknown>, args: readonly unknown[]) => unknown

/** The store with a test around each of its verbs. Every verb becomes asynchronous. */
export function aroundStore(store: MailStore, around: Around): MailStore {
  const wrap = <T extends object>(target: T, prefix: string): T =>
    new Proxy(target, {
      get(_, property) {
        const value: unknown = Reflect.get(target, property, target)
        if (typeof property === 'symbol' || property === 'guarantees') return value
        if (typeof value === 'object' && value !== null) return wrap(value, `${property}.`)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]) => around(`${prefix}${property}`, async () => value.apply(target, args), args)
      },
    })
  return wrap(store, '')
}
