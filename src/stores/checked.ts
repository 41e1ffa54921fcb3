import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Awaitable, Claim, ClaimOptions, Look, MailStore, Renewed, Row, Take, Transaction } from './store.ts'

const timeout = 2_000

/**
 * The one wrapper around every store (INVARIANTS S1): each verb has 2 s, and whatever goes wrong inside is a
 * `STORE_UNAVAILABLE` without the driver's words. An answer that says nothing, where silence would let mail through, is a
 * failure too. After `close` every verb throws `CLOSED`. A verb that answers at once stays synchronous and costs no timer.
 */
export function checkedStore(store: MailStore, clock: Clock): MailStore {
  let closed = false
  const checked =
    <A extends readonly unknown[], T>(
      verb: string,
      call: (...args: A) => Awaitable<T>,
      isAnswer: (answer: NoInfer<T>, args: NoInfer<A>) => boolean = () => true,
    ) =>
    (...args: A): Awaitable<T> => {
      // A straggler must not accept or hand over anything once `close` has said what became of everything.
      if (closed && verb !== 'close') throw new MailError('CLOSED', 'The mailer is closed.', { retryable: false })
      const read = (answer: T): T => {
        if (!isAnswer(answer, args)) throw unavailable(verb, 'gave no usable answer')
        return answer
      }
      try {
        const answer = call(...args)
        return isPromise(answer) ? within(verb, Promise.resolve(answer).then(read), clock) : read(answer)
      } catch (error) {
        throw failed(verb, error)
      }
    }
  const writes = (on: Pick<MailStore, 'claim' | 'settle'>): Pick<MailStore, 'claim' | 'settle'> => ({
    claim: checked('claim', (row, options) => on.claim(row, options), isClaim),
    settle: checked('settle', (row, fence, options) => on.settle(row, fence, options), isBoolean),
  })
  return {
    guarantees: store.guarantees,
    ...writes(store),
    ...(store.within ? { within: (transaction: Transaction) => writes(store.within!(transaction)) } : {}),
    renew: checked('renew', (row, fence, ms, look) => store.renew(row, fence, ms, look), isRenewed),
    takeover: checked('takeover', (id, states, lease) => store.takeover(id, states, lease)),
    read: checked('read', (id) => store.read(id)),
    find: checked('find', (by) => store.find(by)),
    list: checked('list', (query) => store.list(query)),
    due: checked('due', (count, lease, options) => store.due(count, lease, options)),
    ...(store.waitingIds ? { waitingIds: checked('waitingIds', () => store.waitingIds!(), isList) } : {}),
    waiting: checked('waiting', () => store.waiting(), isNumber),
    suppress: {
      add: checked('suppress.add', (entries) => store.suppress.add(entries)),
      hasMany: checked(
        'suppress.hasMany',
        (tenant, keys, scopes) => store.suppress.hasMany(tenant, keys, scopes),
        (answer, [, keys]) => Array.isArray(answer) && answer.length === keys.length,
      ),
      get: checked('suppress.get', (tenant, key) => store.suppress.get(tenant, key), isList),
      remove: checked('suppress.remove', (tenant, key, scope) => store.suppress.remove(tenant, key, scope)),
      list: checked('suppress.list', (tenant, page) => store.suppress.list(tenant, page)),
    },
    limits: {
      usage: checked('limits.usage', (key, windows) => store.limits.usage(key, windows), isList),
      take: checked('limits.take', (key, windows, cost) => store.limits.take(key, windows, cost), isTake),
      move: checked('limits.move', (key, windows, moves) => store.limits.move(key, windows, moves)),
      refund: checked('limits.refund', (key, windows, cost, at) => store.limits.refund(key, windows, cost, at)),
    },
    counters: {
      add: checked('counters.add', (key, amount) => store.counters.add(key, amount)),
      read: checked('counters.read', (keys) => store.counters.read(keys), isList),
    },
    once: checked('once', (id, ttl) => store.once(id, ttl), isBoolean),
    close: checked('close', () => {
      closed = true
      return store.close()
    }),
  }
}

const isBoolean = (answer: unknown) => typeof answer === 'boolean'
const isNumber = (answer: unknown) => typeof answer === 'number'
const isList = (answer: unknown) => Array.isArray(answer)
/** A look that was asked for is answered: without it a suppressed mailbox would be mailed. */
const isFound = (found: unknown, look: Look | undefined) =>
  Array.isArray(found) && found.length === (look?.keys.length ?? 0)
const isClaim = (claim: Claim | undefined, [, { look }]: readonly [Row, ClaimOptions]) =>
  claim?.state === 'held' || (claim?.state === 'claimed' && isFound(claim.found, look))
const isRenewed = (renewed: Renewed | undefined, [, , , look]: readonly [Row, number, number, Look?]) =>
  renewed === undefined || isFound((renewed as Partial<Renewed> | null)?.found, look)
const isTake = (take: Partial<Take> | undefined) => typeof take?.ok === 'boolean'

const isPromise = <T>(answer: Awaitable<T>): answer is Promise<T> =>
  typeof (answer as Partial<Promise<T>> | undefined)?.then === 'function'

function within<T>(verb: string, answer: Promise<T>, clock: Clock): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimeout(() => reject(unavailable(verb, `did not answer within ${timeout} ms`)), timeout)
    answer.then(
      (value) => {
        timer.cancel()
        resolve(value)
      },
      (error: unknown) => {
        timer.cancel()
        reject(failed(verb, error))
      },
    )
  })
}

function failed(verb: string, error: unknown): MailError {
  return error instanceof MailError ? error : unavailable(verb, `failed (${nameOf(error)})`)
}

const unavailable = (verb: string, why: string) =>
  new MailError('STORE_UNAVAILABLE', `The store ${why} at ${verb}; nothing is assumed. Check the store and retry.`)

/** An error code or class name, never the driver's words: those may hold keys and addresses. */
export function nameOf(error: unknown): string {
  try {
    const { code, name } = error as { code?: unknown; name?: unknown }
    if (typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code)) return code
    return typeof name === 'string' && /^[A-Z][A-Za-z]{0,35}Error$/.test(name) ? name : 'Error'
  } catch {
    return 'no readable error'
  }
}
