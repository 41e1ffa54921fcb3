import { existsSync, statSync } from 'node:fs'
import { continueTime, keepTime } from './boots.ts'
import { Connection, type Durability } from './connection.ts'
import { migrate, migrations } from './schema.ts'
import { isBusy, openingError, refusal, storeError, unavailable } from './sqlite-error.ts'
import type { StoreTime } from './time.ts'

interface Opened {
  readonly connection: Connection
  readonly device: number
  readonly inode: number
}

/** The file of a store: opened when it is needed first, and only ever the one that was opened then. */
export class Database {
  readonly path: string
  readonly #durability: Durability
  readonly #time: StoreTime
  #opened: Opened | undefined
  /** Once a store was open here, a file without one is another file, and an empty store would forget who is suppressed. */
  #known = false

  constructor(path: string, durability: Durability, time: StoreTime) {
    this.path = path
    this.#durability = durability
    this.#time = time
  }

  /**
   * The open connection.
   *
   * @throws what `isBusy` knows while other processes are in the way; else a MailError: `CONFIGURATION_ERROR` for a file
   * that is no store of ours and cannot become one, `STORE_UNAVAILABLE` when it was a store and is gone.
   */
  connection(): Connection {
    if (this.#opened && !this.#isInPlace(this.#opened)) {
      this.close()
      throw unavailable(this.path, 'was removed or replaced while it was open; nothing was written. Put it back')
    }
    this.#opened ??= this.#open()
    return this.#opened.connection
  }

  /** Begins a write transaction: no other connection writes until its end, which is the caller's to bring about. */
  begin(connection: Connection): void {
    connection.run('BEGIN IMMEDIATE')
    if (keepTime(connection) !== migrations.length) throw this.#newer()
  }

  close(): void {
    this.#opened?.connection.close()
    this.#opened = undefined
  }

  #open(): Opened {
    if (this.#known && !existsSync(this.path)) throw unavailable(this.path, 'is gone. Put the file back')
    let connection: Connection | undefined
    try {
      connection = new Connection(this.path, this.#time)
      const mode = connection.configure(this.#durability)
      if (mode !== 'wal') {
        throw refusal(
          this.path,
          `cannot have a write-ahead log (its journal mode stays "${mode}"): put it on a local disk, not on a network file system`,
        )
      }
      this.#prepare(connection)
      const { dev: device, ino: inode } = statSync(this.path)
      this.#known = true
      return { connection, device, inode }
    } catch (error) {
      connection?.close()
      if (isBusy(error)) throw error
      throw this.#known ? storeError(error, this.path) : openingError(error, this.path)
    }
  }

  #prepare(connection: Connection): void {
    connection.run('BEGIN IMMEDIATE')
    if (this.#known && !connection.get(`SELECT 1 FROM sqlite_schema WHERE name = 'sendwright_store'`)) {
      throw unavailable(this.path, 'was replaced by a file that holds no store. Put the store back')
    }
    if (migrate(connection) !== undefined) throw this.#newer()
    continueTime(connection)
    connection.run('COMMIT')
  }

  #newer(): Error {
    return refusal(
      this.path,
      'was written by a newer release of Sendwright, and this one does not know its layout. Run the newer release',
    )
  }

  #isInPlace({ device, inode }: Opened): boolean {
    const found = statSync(this.path, { throwIfNoEntry: false })
    return found?.dev === device && found.ino === inode
  }
}
