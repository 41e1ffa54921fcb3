import { type Clock, systemClock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Awaitable, Guarantees, MailStore, Transaction } from './store.ts'

export interface BorrowedOptions {
  /** Known before the store is there. */
  readonly guarantees: Guarantees
  /** Whether it can write in a transaction of the application's. Default false. */
  readonly transactions?: boolean
  /** Called once, at once. After a failure it is called again by the next verb. */
  open(): Awaitable<MailStore>
  /** What `close` does, instead of closing the store. Called once. */
  close(opened: MailStore | undefined): Awaitable<void>
  readonly clock?: Clock
}

/**
 * Opening may take no longer than a store may take to begin: whoever asked is told after 2 s that the verb failed, and a
 * store does nothing later than 1.6 s after it was asked.
 */
const patience = 400

/** A store that belongs to somebody else, or that has yet to be loaded: every verb is passed on to it. */
export function borrowedStore(options: BorrowedOptions): MailStore {
  const { with: on, close } = new Lender(options)
  return {
    guarantees: options.guarantees,
    claim: (...args) => on((store) => store.claim(...args)),
    renew: (...args) => on((store) => store.renew(...args)),
    settle: (...args) => on((store) => store.settle(...args)),
    ...(options.transactions
      ? {
          within: (transaction: Transaction) => ({
            claim: (...args) => on((store) => store.within!(transaction).claim(...args)),
            settle: (...args) => on((store) => store.within!(transaction).settle(...args)),
          }),
        }
      : {}),
    takeover: (...args) => on((store) => store.takeover(...args)),
    read: (...args) => on((store) => store.read(...args)),
    find: (...args) => on((store) => store.find(...args)),
    list: (...args) => on((store) => store.list(...args)),
    due: (...args) => on((store) => store.due(...args)),
    waiting: () => on((store) => store.waiting()),
    suppress: {
      add: (...args) => on((store) => store.suppress.add(...args)),
      hasMany: (...args) => on((store) => store.suppress.hasMany(...args)),
      get: (...args) => on((store) => store.suppress.get(...args)),
      remove: (...args) => on((store) => store.suppress.remove(...args)),
      list: (...args) => on((store) => store.suppress.list(...args)),
    },
    limits: {
      take: (...args) => on((store) => store.limits.take(...args)),
      refund: (...args) => on((store) => store.limits.refund(...args)),
      move: (...args) => on((store) => store.limits.move(...args)),
      usage: (...args) => on((store) => store.limits.usage(...args)),
    },
    counters: {
      add: (...args) => on((store) => store.counters.add(...args)),
      read: (...args) => on((store) => store.counters.read(...args)),
    },
    once: (...args) => on((store) => store.once(...args)),
    close,
  }
}

class Lender {
  readonly #options: BorrowedOptions
  readonly #clock: Clock
  #store: MailStore | undefined
  #opening: Promise<MailStore> | undefined
  #closing: Promise<void> | undefined

  constructor(options: BorrowedOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    const opened = options.open()
    if (opened instanceof Promise) this.#await(opened)
    else this.#store = opened
  }

  readonly with = <T>(verb: (store: MailStore) => Awaitable<T>): Awaitable<T> => {
    if (this.#closing) throw new MailError('CLOSED', 'The store is closed.', { retryable: false })
    return this.#store ? verb(this.#store) : this.#opened().then(verb)
  }

  readonly close = (): Promise<void> => {
    this.#closing ??= this.#leave()
    return this.#closing
  }

  async #leave(): Promise<void> {
    await this.#opening?.catch(() => {})
    await this.#options.close(this.#store)
  }

  #await(opened: Promise<MailStore>): Promise<MailStore> {
    this.#opening = opened.then(
      (store) => {
        this.#store = store
        return store
      },
      (error: unknown) => {
        this.#opening = undefined
        throw error
      },
    )
    // Whoever asks next is told.
    this.#opening.catch(() => {})
    return this.#opening
  }

  async #opened(): Promise<MailStore> {
    const late = Promise.withResolvers<never>()
    const timer = this.#clock.setTimeout(
      () => late.reject(new MailError('STORE_UNAVAILABLE', 'The store is still being opened; try again.')),
      patience,
    )
    try {
      return await Promise.race([this.#opening ?? this.#await(Promise.resolve(this.#options.open())), late.promise])
    } finally {
      timer.cancel()
    }
  }
}
