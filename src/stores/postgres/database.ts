import { configurationError } from '../../errors.ts'
import type { Transaction } from '../store.ts'
import type { Connections } from './connections.ts'
import { longestCall } from './connections.ts'
import { codeOf, isMissing, newerCode, storeError, unavailable } from './failure.ts'
import { migrations, migrationText } from './migration.ts'
import type { Call, Query } from './pool.ts'

export type Durability = 'power-loss' | 'process-crash'

export interface DatabaseOptions {
  readonly schema: string
  readonly migrate: boolean
  readonly durability: Durability
}

export interface CallOptions {
  /** When it is of no use any more, on the clock of `performance`. Default: `deadline()`. */
  readonly until?: number
  /** Of the application's, to run it in. */
  readonly transaction?: Transaction | undefined
}

/** When a verb that begins now must have ended. */
export const deadline = (): number => performance.now() + longestCall

/** A migration of a large store, and of one that another process migrates, may take a while, in milliseconds. */
const longestPreparation = 30_000

/** The store's schema in the user's database: looked at, and made or migrated, before the first call. */
export class Database {
  readonly #connections: Connections
  readonly #options: DatabaseOptions
  #isPrepared = false
  #preparing: Promise<void> | undefined

  constructor(connections: Connections, options: DatabaseOptions) {
    this.#connections = connections
    this.#options = options
  }

  /** One call of the store. @throws MailError, and nothing else. */
  async call<T>(task: (call: Call) => Promise<T>, { until = deadline(), transaction }: CallOptions = {}): Promise<T> {
    try {
      if (!this.#isPrepared) await this.#ready(until)
      if (transaction) return await this.#connections.callOn(transaction, task, until)
      return await this.#connections.call(task, until)
    } catch (error) {
      if (isMissing(error)) this.#isPrepared = false
      throw storeError(error, this.#options.schema)
    }
  }

  async close(): Promise<void> {
    await this.#connections.close()
  }

  async #ready(until: number): Promise<void> {
    this.#preparing ??= this.#prepare().finally(() => {
      this.#preparing = undefined
    })
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(unavailable('its schema is still being made or migrated')),
        Math.max(0, until - performance.now()),
      )
    })
    await Promise.race([this.#preparing, late]).finally(() => clearTimeout(timer))
  }

  async #prepare(): Promise<void> {
    await this.#migrate()
    this.#isPrepared = true
  }

  async #migrate(): Promise<void> {
    const { migrate, schema } = this.#options
    const version = await this.#connections.lend(deadline(), (query) => this.#check(query))
    if (version === migrations.length) return
    if (version > migrations.length) throw newer(schema)
    if (!migrate) throw notMigrated(schema, version)
    try {
      await this.#connections.lend(performance.now() + longestPreparation, (query) => query(migrationText(schema), []))
    } catch (error) {
      throw codeOf(error) === newerCode ? newer(schema) : error
    }
  }

  /** The version of the store that is there; 0 for none. */
  async #check(query: Query): Promise<number> {
    const { schema, durability } = this.#options
    const [facts] = await query(factsQuery, [`"${schema}".migrations`])
    this.#connections.learn(facts!.server_time)
    if (facts!.encoding !== 'UTF8') {
      throw configurationError(`The database is encoded in ${facts!.encoding}; the store needs one in UTF8.`)
    }
    if (facts!.isolation !== 'read committed') {
      throw configurationError(
        `Transactions are ${facts!.isolation} by default here; the store needs: ALTER ROLE … SET default_transaction_isolation = 'read committed'.`,
      )
    }
    if (durability === 'power-loss' && (facts!.fsync !== 'on' || facts!.commit === 'off')) {
      throw configurationError(
        `The server may lose what it has confirmed when its power fails (fsync is ${facts!.fsync}, synchronous_commit is ${facts!.commit}): turn both on, or say so with postgres({ durability: 'process-crash' }).`,
      )
    }
    if (facts!.made !== true) return 0
    const [row] = await query(`SELECT coalesce(max(version), 0) AS version FROM "${schema}".migrations`, [])
    return Number(row!.version)
  }
}

const factsQuery = `SELECT current_setting('server_encoding') AS encoding,
  current_setting('transaction_isolation') AS isolation,
  current_setting('fsync') AS fsync,
  current_setting('synchronous_commit') AS commit,
  to_regclass($1) IS NOT NULL AS made,
  floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS server_time`

const newer = (schema: string) =>
  configurationError(
    `Schema "${schema}" was made by a newer release of Sendwright, and this one does not know its layout. Run the newer release, or give another schema.`,
  )

const notMigrated = (schema: string, version: number) =>
  configurationError(
    `Schema "${schema}" holds ${version === 0 ? 'no store' : `a store of version ${version}`}, version ${migrations.length} is needed, and migrate is false. Print the migration with postgresMigration({ schema: '${schema}' }) and run it with psql, or leave migrate on.`,
  )
