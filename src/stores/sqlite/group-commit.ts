import { MailError } from '../../errors.ts'
import type { Connection } from './connection.ts'
import type { Database } from './database.ts'
import { isBusy, storeError, unavailable } from './sqlite-error.ts'

/** Less than the checked wrapper waits: what its caller was told has failed must not happen later. */
const longestWait = 1_800
/** Operations in one transaction, and milliseconds after which it takes no more of them, so that the event loop goes on. */
const mostOperations = 256
const longestTurn = 8
const longestPause = 5
const sweepsAgainAfter = 60_000

interface Operation {
  readonly run: (connection: Connection) => unknown
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
  readonly deadline: number
  company: Company
}

/**
 * How an operation shares a transaction: as it is; with a savepoint, once one beside it has failed; or not at all, once
 * SQLite ended the transaction in the middle.
 */
type Company = 'any' | 'guarded' | 'alone'

/**
 * Writes of one store, several in a transaction: what was asked for in one turn of the event loop is run and committed
 * together, and nobody hears of success before the commit (INVARIANTS D3). An operation that fails leaves the others alone.
 */
export class GroupCommit {
  readonly #database: Database
  /** Runs at the end of each transaction, told how many operations were in it. */
  readonly #afterwards: (connection: Connection, operations: number) => void
  #waiting: Operation[] = []
  #turn: NodeJS.Immediate | undefined
  #pause: NodeJS.Timeout | undefined
  /** Of this process's own clock. */
  #sweepsFrom = 0
  #closing: Promise<void> | undefined
  #emptied: (() => void) | undefined

  constructor(database: Database, afterwards: (connection: Connection, operations: number) => void) {
    this.#database = database
    this.#afterwards = afterwards
  }

  /** Resolves when what `run` wrote is committed. `run` is synchronous, and may run again when the commit did not happen. */
  write<T>(run: (connection: Connection) => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closing) throw closed()
      this.#waiting.push({ run, resolve, reject, deadline: performance.now() + longestWait, company: 'any' })
      this.#schedule()
    })
  }

  /** Reads what is committed: at once, or as soon as no other connection is in the way. */
  read<T>(run: (connection: Connection) => T): T | Promise<T> {
    try {
      return this.#read(run)
    } catch (error) {
      if (!isBusy(error)) throw storeError(error, this.#database.path)
      return this.#readLater(run, performance.now() + longestWait)
    }
  }

  /** Writes what waits, takes nothing more, and closes the file. */
  close(): Promise<void> {
    this.#closing ??= this.#finish()
    return this.#closing
  }

  async #finish(): Promise<void> {
    if (this.#waiting.length > 0) {
      await new Promise<void>((resolve) => {
        this.#emptied = resolve
      })
    }
    this.#database.close()
  }

  #read<T>(run: (connection: Connection) => T): T {
    if (this.#closing) throw closed()
    return run(this.#database.connection())
  }

  async #readLater<T>(run: (connection: Connection) => T, deadline: number): Promise<T> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, pause()))
      try {
        return this.#read(run)
      } catch (error) {
        if (!isBusy(error) || performance.now() >= deadline) throw storeError(error, this.#database.path)
      }
    }
  }

  #schedule(): void {
    if (this.#turn || this.#pause || this.#waiting.length === 0) return
    this.#turn = setImmediate(() => {
      this.#turn = undefined
      this.#flush()
    })
  }

  #flush(): void {
    this.#dropLate()
    const batch = this.#takeBatch()
    try {
      if (batch.length > 0) this.#waiting.unshift(...this.#transact(this.#database.connection(), batch))
    } catch (error) {
      if (isBusy(error)) this.#retryLater(batch)
      else for (const { reject } of batch) reject(storeError(error, this.#database.path))
    }
    this.#schedule()
    if (this.#waiting.length === 0) this.#emptied?.()
  }

  #takeBatch(): Operation[] {
    const alone = this.#waiting.findIndex(({ company }) => company === 'alone')
    if (alone === 0) return this.#waiting.splice(0, 1)
    return this.#waiting.splice(0, Math.min(mostOperations, alone === -1 ? mostOperations : alone))
  }

  #retryLater(batch: readonly Operation[]): void {
    this.#waiting.unshift(...batch)
    this.#pause = setTimeout(() => {
      this.#pause = undefined
      this.#flush()
    }, pause())
  }

  #dropLate(): void {
    const now = performance.now()
    if (!this.#waiting.some(({ deadline }) => deadline <= now)) return
    const late = this.#waiting.filter(({ deadline }) => deadline <= now)
    this.#waiting = this.#waiting.filter(({ deadline }) => deadline > now)
    for (const { reject } of late) {
      reject(
        unavailable(
          this.#database.path,
          `could not be written for ${longestWait} ms: another process holds it locked, or this one was held up. Nothing was written; look for either`,
        ),
      )
    }
  }

  /** @returns the operations that are still to be done. */
  #transact(connection: Connection, batch: readonly Operation[]): readonly Operation[] {
    const ends: (() => void)[] = []
    try {
      this.#database.begin(connection)
      const started = performance.now()
      for (const operation of batch) {
        const end = this.#run(connection, operation)
        if (!end) return inCompany('guarded', batch)
        if (!connection.inTransaction) {
          end()
          return inCompany(
            'alone',
            batch.filter((other) => other !== operation),
          )
        }
        ends.push(end)
        if (performance.now() - started >= longestTurn) break
      }
      if (!this.#sweep(connection, ends.length)) return batch
      connection.run('COMMIT')
    } finally {
      if (connection.inTransaction) connection.run('ROLLBACK')
    }
    for (const end of ends) end()
    return batch.slice(ends.length)
  }

  /** False when it cost the transaction. What goes wrong here is no caller's failure; it is left for later. */
  #sweep(connection: Connection, operations: number): boolean {
    if (performance.now() < this.#sweepsFrom) return true
    connection.run('SAVEPOINT sweep')
    try {
      this.#afterwards(connection, operations)
    } catch (error) {
      if (isBusy(error)) throw error
      this.#sweepsFrom = performance.now() + sweepsAgainAfter
      if (!connection.inTransaction) return false
      connection.run('ROLLBACK TO sweep')
    }
    connection.run('RELEASE sweep')
    return true
  }

  /** @returns what tells the caller, once it is certain; undefined when what it wrote has to be undone first. */
  #run(connection: Connection, { run, resolve, reject, company }: Operation): (() => void) | undefined {
    const guarded = company !== 'any'
    if (guarded) connection.run('SAVEPOINT operation')
    try {
      const value = run(connection)
      if (guarded) connection.run('RELEASE operation')
      return () => resolve(value as never)
    } catch (error) {
      if (isBusy(error)) throw error
      // Errors of our own are thrown before anything is written.
      if (!guarded && !(error instanceof MailError)) return undefined
      if (guarded && connection.inTransaction) {
        connection.run('ROLLBACK TO operation')
        connection.run('RELEASE operation')
      }
      return () => reject(storeError(error, this.#database.path))
    }
  }
}

function inCompany(company: Company, operations: readonly Operation[]): readonly Operation[] {
  for (const operation of operations) operation.company = company
  return operations
}

/** Milliseconds, each time others, so that processes that met once do not meet again. */
const pause = () => 1 + Math.random() * (longestPause - 1)

const closed = () => new MailError('CLOSED', 'The SQLite store is closed.', { retryable: false })
