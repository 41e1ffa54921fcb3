import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import type { StoreTime } from './time.ts'

export type Durability = 'power-loss' | 'process-crash'

/** Bytes the write-ahead log may keep on disk once its content is in the database. */
const logKept = 64 * 1024 * 1024
/** Kilobytes of pages in memory: labels come in no order, and reading their pages again and again costs most. */
const cache = 16_000

/** One open database file. What it throws is SQLite's own error; a lock that another connection holds is never waited for. */
export class Connection {
  readonly time: StoreTime
  readonly #database: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

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
    return Number(this.#statement(sql).run(...values).changes)
  }

  /** The number of the row it inserted; undefined when a conflict kept it out. */
  insert(sql: string, ...values: SQLInputValue[]): number | undefined {
    const { changes, lastInsertRowid } = this.#statement(sql).run(...values)
    return Number(changes) === 0 ? undefined : Number(lastInsertRowid)
  }

  get<T extends object>(sql: string, ...values: SQLInputValue[]): T | undefined {
    return this.#statement(sql).get(...values) as T | undefined
  }

  all<T extends object>(sql: string, ...values: SQLInputValue[]): T[] {
    return this.#statement(sql).all(...values) as T[]
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

  /** Prepared once; `sql` is one of our constants, with plain `?` only: Node 22 cannot bind `?1`. */
  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }
}
