import type { MailStore } from '../../src/index.ts'

/** The same store; `told` hears of every verb before it is carried out, and may throw in its place. */
export function watched(store: MailStore, told: (verb: string, args: readonly unknown[]) => void): MailStore {
  const watch = <T extends object>(target: T, prefix: string): T =>
    new Proxy(target, {
      get(object, name) {
        const value: unknown = Reflect.get(object, name)
        if (typeof value === 'object' && value !== null && name !== 'guarantees')
          return watch(value, `${String(name)}.`)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          told(`${prefix}${String(name)}`, args)
          return Reflect.apply(value, object, args) as unknown
        }
      },
    })
  return watch(store, '')
}
