import { configurationError, MailError } from '../../errors.ts'
import type { Transaction } from '../store.ts'
import { codeOf, endsConnection, lateCode, unavailable } from './failure.ts'
import type { Call, PostgresClient, PostgresPool, Query } from './pool.ts'
import type { ServerClock } from './server-clock.ts'

/** How long a call may wait for a connection and for locks, in milliseconds. The server begins and commits nothing later. */
export const longestCall = 1_750
/** How long after that an answer may be on its way. Together less than the 2 s of the checked wrapper. */
const longestWay = 200
/** Milliseconds after which the server's time is asked again, together with something else. */
const learnsEvery = 1_000
/** Connections asked for at a time. Calls beyond wait here, where they can give up. */
const mostAsked = 64
/** Queries given at a time to a pool that lends no connections. */
const mostQueries = 1_000

interface Waiting {
  readonly take: (client: PostgresClient) => void
  readonly fail: (error: unknown) => void
}

/**
 * The user's pool, with bounds: no call waits for a connection or an answer longer than it is of use, and a connection that
 * comes too late goes back unused. What it throws is a MailError or the driver's own error.
 */
export class Connections {
  readonly #pool: PostgresPool
  readonly #clock: ServerClock
  readonly #waiting = new Set<Waiting>()
  readonly #lent = new Set<Promise<unknown>>()
  #asked = 0
  #learnsAgainAt = 0
  #closed = false
  #isPool = true

  constructor(pool: PostgresPool, clock: ServerClock) {
    this.#pool = pool
    this.#clock = clock
  }

  /** One call, on one connection. Whatever `task` asks after `until` changes nothing. */
  async call<T>(task: (call: Call) => Promise<T>, until: number): Promise<T> {
    const attempt = () =>
      this.lend(until, (query) => {
        const deadline = this.#clock.at(until)
        return task(async (text, values) => {
          const learns = performance.now() >= this.#learnsAgainAt
          const rows = await query(`SELECT *${learns ? serverTime : ''} FROM ${text}`, [deadline, ...values])
          if (learns) this.learn(rows[0]?.server_time)
          return rows
        })
      })
    try {
      return await attempt()
    } catch (error) {
      if (codeOf(error) !== lateCode) throw error
      this.learn((error as { readonly detail?: unknown }).detail)
      if (performance.now() >= until - longestWay) throw error
      // Too late only by what we knew of a clock that was set meanwhile. Nothing was done, so it may be asked again.
      return attempt()
    }
  }

  /** The same on a connection of the application's, once: in its transaction nothing can be asked again. */
  callOn<T>(transaction: Transaction, task: (call: Call) => Promise<T>, until: number): Promise<T> {
    const deadline = this.#clock.at(until)
    const call: Call = async (text, values) =>
      (await transaction.query(`SELECT * FROM ${text}`, [deadline, ...values])).rows
    return within(task(call), until + longestWay, ignore)
  }

  /** Lends one connection, for queries of any kind. It is closed when one of them has not ended shortly after `until`. */
  async lend<T>(until: number, task: (query: Query) => Promise<T>): Promise<T> {
    const lent = this.#lend(until, task)
    this.#lent.add(lent)
    try {
      return await lent
    } finally {
      this.#lent.delete(lent)
    }
  }

  learn(time: unknown): void {
    if (!(Number(time) > 0)) return
    const now = performance.now()
    this.#clock.learn(Number(time), now)
    this.#learnsAgainAt = now + learnsEvery
  }

  /** Calls that wait are refused; those under way have their time. */
  async close(): Promise<void> {
    this.#closed = true
    for (const waiting of [...this.#waiting]) waiting.fail(closed())
    await Promise.allSettled(this.#lent)
  }

  async #lend<T>(until: number, task: (query: Query) => Promise<T>): Promise<T> {
    if (!this.#pool.connect) {
      const query: Query = (text, values) => this.#queryPool(text, values)
      return within(task(query), until + longestWay, ignore)
    }
    const client = await this.#acquire(until)
    let broken = false
    client.on?.('error', ignore)
    try {
      const query: Query = async (text, values) => {
        try {
          return await rowsOf(client, text, values)
        } catch (error) {
          broken ||= endsConnection(error)
          throw error
        }
      }
      return await within(task(query), until + longestWay, () => {
        broken = true
      })
    } finally {
      client.removeListener?.('error', ignore)
      client.release(broken)
    }
  }

  /** Nothing can be taken back here; what comes to the server too late is refused there. */
  async #queryPool(text: string, values: readonly unknown[]): ReturnType<Query> {
    if (this.#closed) throw closed()
    if (this.#asked >= mostQueries) throw exhausted()
    this.#asked++
    try {
      return await rowsOf(this.#pool, text, values)
    } finally {
      this.#asked--
    }
  }

  #acquire(until: number): Promise<PostgresClient> {
    if (this.#closed) return Promise.reject(closed())
    if (!this.#isPool) return Promise.reject(noPool())
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer)
        this.#waiting.delete(waiting)
      }
      const waiting: Waiting = {
        take(client) {
          leave()
          resolve(client)
        },
        fail(error) {
          leave()
          reject(error)
        },
      }
      const timer = setTimeout(() => waiting.fail(exhausted()), Math.max(0, until - performance.now()))
      this.#waiting.add(waiting)
      this.#ask()
    })
  }

  #ask(): void {
    while (this.#asked < Math.min(this.#waiting.size, mostAsked)) {
      this.#asked++
      new Promise<PostgresClient>((resolve) => resolve(this.#pool.connect!())).then(
        (client) => this.#arrived((first) => this.#give(client, first)),
        (error: unknown) => this.#arrived((first) => first?.fail(error)),
      )
    }
  }

  #arrived(answer: (first: Waiting | undefined) => void): void {
    this.#asked--
    answer(this.#waiting.values().next().value)
    this.#ask()
  }

  #give(client: PostgresClient, first: Waiting | undefined): void {
    this.#isPool = typeof (client as Partial<PostgresClient> | undefined)?.release === 'function'
    if (!this.#isPool) first?.fail(noPool())
    else if (first) first.take(client)
    else client.release()
  }
}

const serverTime = ', floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS server_time'

/** Without values several statements may stand in one text. */
const rowsOf = async (runner: Pick<PostgresClient, 'query'>, text: string, values: readonly unknown[]) =>
  (await (values.length === 0 ? runner.query(text) : runner.query(text, [...values]))).rows

/** A connection that fails while we hold it fails its query, which is how we hear of it. */
function ignore(): void {}

function within<T>(answer: Promise<T>, until: number, late: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => {
        late()
        reject(unavailable('no answer came in time'))
      },
      Math.max(0, until - performance.now()),
    )
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

const closed = () => new MailError('CLOSED', 'The store is closed.', { retryable: false })

const exhausted = () =>
  unavailable('no connection of the pool came free in time; raise its max, or look for clients that are never released')

const noPool = () =>
  configurationError(
    'postgres({ pool }) was given a single client, or a pool whose clients cannot be released; give a Pool.',
  )
