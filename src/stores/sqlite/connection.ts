import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from 'node:sqlite'
import type { StoreTime } from './time.ts'

export type Durability = 'power-loss' | 'process-crash'

/** Bytes the write-ahead log may keep on disk once its content is in the database. */
const logKept = 64 * 1024 * 1024
/** Kilobytes of pages in memory: labels come in no order, and reading their pages again and again costs most. */
const cache = 16_000

type Values = readonly SQLOutputValue[]

/** Asked for arrays: the objects that `node:sqlite` makes take several times as long. */
interface Prepared {
  readonly statement: StatementSync
  readonly columns: readonly string[]
}

/**
 * One open database file. What it throws is SQLite's own error; a lock that another connection holds is never waited for.
 *
 * Statements that run often have no parameter in a LIMIT and none that is compared with `state`: SQLite prepares such a
 * statement anew at every binding, to see which plan fits. Nor do any have numbered parameters, which Node 22 cannot bind.
 */
export class Connection {
  readonly time: StoreTime
  readonly #database: DatabaseSync
  readonly #statements = new Map<string, Prepared>()

  constructor(path: string, time: StoreTime) {
    this.time = time
    this.#database = new DatabaseSync(path, { timeout: 0 })
  }

  /** @returns the journal mode the file is in now; where it is not `wal`, the file system cannot have it. */
  configure(durability: Durability): string {
    const { journal_mode } = this.#database.prepare('PRAGMA journal_mode = WAL').get() as { journal_mode: string }
    this.exec(`PRAGMA synchronous = ${durability === 'power-loss' ? 'FULL' : 'NORMAL'}`)
    // Where fsync leaves what was written in the cache of the drive (macOS), this asks for more.
    if (durability === 'power-loss') this.exec('PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON')
    this.exec(`PRAGMA journal_size_limit = ${logKept}; PRAGMA temp_store = MEMORY; PRAGMA cache_size = ${-cache}`)
    return journal_mode
  }

  /** Whether a transaction is open: SQLite ends it by itself when there is no room or the disk fails. */
  get inTransaction(): boolean {
    return this.#database.isTransaction
  }

  exec(sql: string): void {
    this.#database.exec(sql)
  }

  /** How many rows it changed. */
  run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#prepared(sql).statement.run(...values).changes)
  }

  /** The number of the row it inserted; undefined when a conflict kept it out. */
  insert(sql: string, ...values: SQLInputValue[]): number | undefined {
    const { changes, lastInsertRowid } = this.#prepared(sql).statement.run(...values)
    return Number(changes) === 0 ? undefined : Number(lastInsertRowid)
  }

  get<T extends object>(sql: string, ...values: SQLInputValue[]): T | undefined {
    const { statement, columns } = this.#prepared(sql)
    const found = statement.get(...values) as unknown as Values | undefined
    return found && (rowOf(columns, found) as T)
  }

  all<T extends object>(sql: string, ...values: SQLInputValue[]): T[] {
    const { statement, columns } = this.#prepared(sql)
    const found = statement.all(...values) as unknown as Values[]
    return found.map((one) => rowOf(columns, one) as T)
  }

  /** Several reads of one and the same state. */
  snapshot<T>(read: () => T): T {
    if (this.inTransaction) return read()
    this.run('BEGIN')
    try {
      return read()
    } finally {
      if (this.inTransaction) this.run('COMMIT')
    }
  }

  close(): void {
    this.#statements.clear()
    this.#database.close()
  }

  /** Prepared once; `sql` is one of our constants. */
  #prepared(sql: string): Prepared {
    let prepared = this.#statements.get(sql)
    if (!prepared) {
      const statement = this.#database.prepare(sql)
      statement.setReturnArrays(true)
      prepared = { statement, columns: statement.columns().map(({ name }) => name) }
      this.#statements.set(sql, prepared)
    }
    return prepared
  }
}

function rowOf(columns: readonly string[], values: Values): Record<string, SQLOutputValue> {
  const row: Record<string, SQLOutputValue> = {}
  for (const [i, column] of columns.entries()) row[column] = values[i]!
  return row
}
