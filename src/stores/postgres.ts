import type { Clock } from '../clock.ts'
import { configurationError } from '../errors.ts'
import type { MessageStatus } from '../receipt.ts'
import { type KeyvAdapter, keyvAdapter } from './keyv-adapter.ts'
import { Connections } from './postgres/connections.ts'
import { Database, type Durability, deadline } from './postgres/database.ts'
import { PostgresEntries } from './postgres/entries.ts'
import { Functions } from './postgres/functions.ts'
import { Limits } from './postgres/limits.ts'
import { Lists } from './postgres/lists.ts'
import { Marks } from './postgres/marks.ts'
import { checkedSchema, printedMigration } from './postgres/migration.ts'
import { checkedPool, type PostgresPool } from './postgres/pool.ts'
import { Queue } from './postgres/queue.ts'
import { QueueGauge, queueFull } from './postgres/queue-gauge.ts'
import { full, Rows } from './postgres/rows.ts'
import { ServerClock } from './postgres/server-clock.ts'
import { Suppressions } from './postgres/suppressions.ts'
import { timeOf } from './postgres/time.ts'
import { isWaiting } from './row-status.ts'
import type {
  Claim,
  ClaimOptions,
  Due,
  DueOptions,
  Guarantees,
  Held,
  Lease,
  ListQuery,
  Look,
  MailStore,
  Renewed,
  Row,
  RowPage,
  SettleOptions,
  Transaction,
} from './store.ts'

export type { PostgresClient, PostgresPool, PostgresResult } from './postgres/pool.ts'

export interface PostgresStoreOptions {
  /**
   * A `pg` Pool, which stays yours: it is never ended, and its `error` event, which an idle connection that breaks raises,
   * needs a listener of yours. Give it a `connectionTimeoutMillis`, so that it gives up servers that do not answer.
   */
  readonly pool: PostgresPool
  /** Where the store keeps its tables and functions, and nothing else should. Default `sendwright`. */
  readonly schema?: string
  /**
   * Whether the first call makes the schema, or brings it up to date; many processes may do so at once. Default true. With
   * false it is only looked at, and every call is refused until `postgresMigration` was run.
   */
  readonly migrate?: boolean
  /**
   * What the server is set up for, checked at the first call. Default `power-loss`, which needs `fsync` and
   * `synchronous_commit`; `process-crash` says that the server may lose its last moments.
   */
  readonly durability?: Durability
  /** Messages that may wait in the queue; those beyond are refused with `QUEUE_FULL`. About. Default 1,000,000. */
  readonly maxQueued?: number
  /** For tests: instead of the server's clock. */
  readonly clock?: Clock
}

/**
 * A store in PostgreSQL 13 or later, for any number of processes and hosts: tables of its own in a schema of its own, and one
 * round trip for every verb. Works through PgBouncer in transaction mode. Time is the server's. The store also serves as a
 * Keyv adapter for the application's other data: `new Keyv({ store })`.
 *
 * Nothing connects before the first call. A call that finds no connection, no answer or a lock in its way for more than a
 * second and a half fails with `STORE_UNAVAILABLE`, and the server will not do it later. `CONFIGURATION_ERROR` at the first
 * call says what must be changed in the database.
 *
 * @throws MailError `CONFIGURATION_ERROR` for options it cannot work with.
 *
 * @example
 * const pool = new Pool({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 1_000 })
 * pool.on('error', (error) => console.error(error))
 * const store = postgres({ pool })
 */
export function postgres(options: PostgresStoreOptions): MailStore & KeyvAdapter {
  const {
    pool,
    schema = 'sendwright',
    migrate = true,
    durability = 'power-loss',
    maxQueued = 1_000_000,
    clock,
  } = {
    ...options,
  }
  if (typeof migrate !== 'boolean') throw configurationError('postgres({ migrate }) is true or false.')
  if (durability !== 'power-loss' && durability !== 'process-crash') {
    throw configurationError("postgres({ durability }) is 'power-loss' or 'process-crash'.")
  }
  if (!(typeof maxQueued === 'number' && maxQueued > 0)) {
    throw configurationError('postgres({ maxQueued }) must be a positive number.')
  }
  const store = new PostgresStore(new Connections(checkedPool(pool), new ServerClock()), {
    schema: checkedSchema(schema),
    migrate,
    durability,
    maxQueued: Math.min(Math.floor(maxQueued), 2 ** 50),
    clock,
  })
  return Object.assign(store, keyvAdapter(store.entries))
}

/**
 * The SQL that makes the store's schema, or brings it up to date, for those who run migrations themselves: `psql -f` takes
 * it. It is one transaction, and running it again changes nothing.
 *
 * @throws MailError `CONFIGURATION_ERROR` for a schema that is no plain name.
 */
export function postgresMigration({ schema = 'sendwright' }: { readonly schema?: string } = {}): string {
  return printedMigration(checkedSchema(schema))
}

interface CheckedOptions {
  readonly schema: string
  readonly migrate: boolean
  readonly durability: Durability
  readonly maxQueued: number
  readonly clock: Clock | undefined
}

class PostgresStore implements MailStore {
  readonly guarantees: Guarantees
  readonly suppress: Suppressions
  readonly limits: Limits
  readonly counters: MailStore['counters']
  readonly entries: PostgresEntries
  readonly #database: Database
  readonly #rows: Rows
  readonly #lists: Lists
  readonly #queue: Queue
  readonly #gauge: QueueGauge
  readonly #maxQueued: number
  readonly #marks: Marks
  readonly #clock: Clock | undefined

  constructor(connections: Connections, { schema, migrate, durability, maxQueued, clock }: CheckedOptions) {
    const time = () => timeOf(clock)
    const functions = new Functions(schema)
    this.guarantees = { scope: 'cluster', durability, list: true }
    this.#clock = clock
    this.#maxQueued = maxQueued
    this.#database = new Database(connections, { schema, migrate, durability })
    this.#rows = new Rows(functions)
    this.#lists = new Lists(this.#rows, functions)
    this.#queue = new Queue(this.#database, this.#rows, functions)
    this.#gauge = new QueueGauge(maxQueued, (most) => this.#queue.waiting(most))
    this.#marks = new Marks(this.#database, functions, time)
    this.suppress = new Suppressions(this.#database, functions, time)
    this.limits = new Limits(this.#database, functions, time)
    this.entries = new PostgresEntries(this.#database, functions, time)
    this.counters = this.#marks.counters
  }

  claim(row: Row, options: ClaimOptions, transaction?: Transaction): Promise<Claim> {
    const adds = isWaiting(row) && !options.lease
    return this.#adding(
      adds,
      ({ state }) => state === 'claimed',
      (isFull, until) =>
        this.#database.call((call) => this.#rows.claim(call, timeOf(this.#clock), row, options, isFull), {
          until,
          transaction,
        }),
    )
  }

  renew(row: Row, fence: number, leaseMs: number, look?: Look): Promise<Renewed | undefined> {
    return this.#database.call((call) => this.#rows.renew(call, timeOf(this.#clock), row, fence, leaseMs, look))
  }

  settle(row: Row, fence: number, options: SettleOptions = {}, transaction?: Transaction): Promise<boolean> {
    const adds = isWaiting(row) && !options.remove
    return this.#adding(
      adds,
      (settled) => settled,
      (isFull, until) =>
        this.#database.call((call) => this.#rows.settle(call, timeOf(this.#clock), row, fence, options, isFull), {
          until,
          transaction,
        }),
    )
  }

  within(transaction: Transaction): Pick<MailStore, 'claim' | 'settle'> {
    return {
      claim: (row, options) => this.claim(row, options, transaction),
      settle: (row, fence, options) => this.settle(row, fence, options, transaction),
    }
  }

  takeover(id: string, states: readonly MessageStatus[], lease: Lease): Promise<Held | undefined> {
    return this.#database.call((call) => this.#rows.takeover(call, timeOf(this.#clock), id, states, lease))
  }

  read(id: string): Promise<Row | undefined> {
    return this.#database.call((call) => this.#rows.read(call, timeOf(this.#clock), id))
  }

  find(by: { readonly messageId: string } | { readonly providerMessageId: string }): Promise<Row | undefined> {
    return this.#database.call((call) => this.#rows.find(call, timeOf(this.#clock), by))
  }

  list(query: ListQuery): Promise<RowPage> {
    return this.#database.call((call) => this.#lists.list(call, timeOf(this.#clock), query))
  }

  due(count: number, lease: Lease, options: DueOptions = {}): Promise<Due> {
    return this.#queue.due(timeOf(this.#clock), count, lease, options)
  }

  waiting(): Promise<number> {
    return this.#queue.waiting(this.#maxQueued)
  }

  once(id: string, ttl: number): Promise<boolean> {
    return this.#marks.once(id, ttl)
  }

  async close(): Promise<void> {
    await this.#database.close()
  }

  /** A write that may add a row to the queue, for which there must be room. */
  async #adding<T>(
    adds: boolean,
    added: (answer: T) => boolean,
    write: (isFull: boolean, until: number) => Promise<T | typeof full>,
  ): Promise<T> {
    const until = deadline()
    const hasPlace = adds && (await this.#gauge.take())
    let used = false
    try {
      const answer = await write(adds && !hasPlace, until)
      if (answer === full) throw queueFull(this.#maxQueued)
      used = added(answer)
      return answer
    } finally {
      if (hasPlace && !used) this.#gauge.giveBack()
    }
  }
}
