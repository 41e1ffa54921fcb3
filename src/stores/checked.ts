import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Awaitable, MailStore } from './store.ts'

const timeout = 2_000

/**
 * The one wrapper around every store (INVARIANTS S1): each verb has 2 s, and whatever goes wrong inside is a
 * `STORE_UNAVAILABLE` without the driver's words. A verb that answers at once stays synchronous and costs no timer.
 */
export function checkedStore(store: MailStore, clock: Clock): MailStore {
  const checked =
    <A extends readonly unknown[], T>(verb: string, call: (...args: A) => Awaitable<T>) =>
    (...args: A): Awaitable<T> => {
      let answer: Awaitable<T>
      try {
        answer = call(...args)
      } catch (error) {
        throw unavailable(verb, error)
      }
      return isPromise(answer) ? within(verb, answer, clock) : answer
    }
  return {
    guarantees: store.guarantees,
    claim: checked('claim', (row, options) => store.claim(row, options)),
    renew: checked('renew', (row, fence, ms) => store.renew(row, fence, ms)),
    settle: checked('settle', (row, fence, options) => store.settle(row, fence, options)),
    takeover: checked('takeover', (id, states, lease) => store.takeover(id, states, lease)),
    get: checked('get', (id) => store.get(id)),
    find: checked('find', (by) => store.find(by)),
    list: checked('list', (query) => store.list(query)),
    due: checked('due', (count, lease) => store.due(count, lease)),
    suppress: {
      add: checked('suppress.add', (entries) => store.suppress.add(entries)),
      hasMany: checked('suppress.hasMany', (tenant, keys, scopes) => store.suppress.hasMany(tenant, keys, scopes)),
      get: checked('suppress.get', (tenant, key) => store.suppress.get(tenant, key)),
      remove: checked('suppress.remove', (tenant, key, scope) => store.suppress.remove(tenant, key, scope)),
      list: checked('suppress.list', (tenant, page) => store.suppress.list(tenant, page)),
    },
    limits: {
      take: checked('limits.take', (key, windows, cost) => store.limits.take(key, windows, cost)),
      refund: checked('limits.refund', (key, windows, cost, at) => store.limits.refund(key, windows, cost, at)),
    },
    counters: {
      add: checked('counters.add', (key, amount) => store.counters.add(key, amount)),
      read: checked('counters.read', (keys) => store.counters.read(keys)),
    },
    once: checked('once', (id, ttl) => store.once(id, ttl)),
    close: checked('close', () => store.close()),
  }
}

const isPromise = <T>(answer: Awaitable<T>): answer is Promise<T> =>
  typeof (answer as Partial<Promise<T>> | undefined)?.then === 'function'

function within<T>(verb: string, answer: Promise<T>, clock: Clock): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimeout(() => reject(unavailable(verb, 'timeout')), timeout)
    answer.then(
      (value) => {
        timer.cancel()
        resolve(value)
      },
      (error: unknown) => {
        timer.cancel()
        reject(unavailable(verb, error))
      },
    )
  })
}

function unavailable(verb: string, error: unknown): MailError {
  if (error instanceof MailError) return error
  const why = error === 'timeout' ? `did not answer within ${timeout} ms` : `failed (${nameOf(error)})`
  return new MailError(
    'STORE_UNAVAILABLE',
    `The store ${why} at ${verb}; nothing is assumed. Check the store and retry.`,
  )
}

/** A class name or error code, never the driver's words: those may hold keys and addresses. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no error object'
  const code: unknown = (error as { code?: unknown }).code
  return typeof code === 'string' && /^\w{1,40}$/.test(code) ? code : error.name.replace(/\W/g, '').slice(0, 40)
}
