import type { Transaction } from './connection.ts'
import { Connection } from './connection.ts'
import type { Cutoff } from './cutoff.ts'
import { loginSource } from './login.ts'
import type { SmtpSettings } from './options.ts'
import type { Failure, Transcript } from './outcome.ts'

interface Waiter {
  readonly resolve: (connection: Connection | undefined) => void
}

/**
 * A bounded set of connections. Whoever finds none free waits in line, in order, and may leave it at any time.
 * An idle connection keeps no process alive.
 */
export class Pool {
  readonly #settings: SmtpSettings
  readonly #login: ReturnType<typeof loginSource> | undefined
  readonly #limit: number
  readonly #messages: number
  readonly #idleTime: number
  /** The last one used is at the end and goes first: those not needed grow old. */
  readonly #idle: { readonly connection: Connection; readonly timer: NodeJS.Timeout }[] = []
  /** Insertion order is the line; leaving it is one deletion. */
  readonly #waiting = new Set<Waiter>()
  /** They wait for the answer to RSET, with nobody's message. */
  readonly #clearing = new Set<Connection>()
  /** Idle ones and those that say QUIT included. */
  #open = 0
  #closing = false
  #onEmpty: (() => void) | undefined

  constructor(settings: SmtpSettings) {
    const { pool } = settings
    this.#settings = settings
    this.#login = settings.auth && loginSource(settings.auth)
    this.#limit = pool ? pool.connections : Number.POSITIVE_INFINITY
    this.#messages = pool ? pool.messages : 1
    this.#idleTime = pool ? pool.idle : 0
  }

  /** Hands one message over on a free connection. Never rejects. */
  async handOver(transaction: Transaction, cutoff: Cutoff): Promise<Transcript> {
    const idle = await this.#acquire(cutoff)
    cutoff.onCut = undefined
    if (idle === 'cut') return failed({ stage: 'connect', cause: cutoff.cause ?? 'aborted' })
    if (idle !== undefined) {
      const transcript = await this.#sendOn(idle, transaction, cutoff)
      if (!mayBeReplaced(idle, transcript) || cutoff.cause !== undefined) {
        this.#release(idle, transcript)
        return transcript
      }
      // The server had let go of the idle connection before a byte of the message went: its place goes to a new one.
      idle.destroy()
    }
    const opened = await this.#connect(cutoff)
    if (!(opened instanceof Connection)) {
      this.#vacate()
      return failed(opened)
    }
    const transcript = await this.#sendOn(opened, transaction, cutoff)
    this.#release(opened, transcript)
    return transcript
  }

  /** Opens a connection of its own, logs in and says QUIT. */
  async verify(cutoff: Cutoff): Promise<Failure | undefined> {
    this.#open++
    const opened = await this.#connect(cutoff)
    if (opened instanceof Connection) await opened.quit()
    this.#vacate()
    return opened instanceof Connection ? undefined : opened
  }

  /** Ends idle connections at once and the others when their message is through. */
  async close(): Promise<void> {
    this.#closing = true
    for (const { connection, timer } of this.#idle.splice(0)) {
      clearTimeout(timer)
      connection.onIdleEnd = undefined
      this.#retire(connection)
    }
    for (const connection of this.#clearing) connection.destroy()
    if (this.#open === 0) return
    const previous = this.#onEmpty
    await new Promise<void>((resolve) => {
      this.#onEmpty = () => {
        previous?.()
        resolve()
      }
    })
  }

  /** An idle connection; undefined for the right to open one; `cut` when the caller gave up first. */
  async #acquire(cutoff: Cutoff): Promise<Connection | undefined | 'cut'> {
    if (cutoff.cause !== undefined) return 'cut'
    const idle = this.#idle.pop()
    if (idle !== undefined) {
      clearTimeout(idle.timer)
      idle.connection.onIdleEnd = undefined
      idle.connection.unpark()
      return idle.connection
    }
    if (this.#open < this.#limit) {
      this.#open++
      return undefined
    }
    return new Promise((resolve) => {
      const waiter: Waiter = { resolve }
      this.#waiting.add(waiter)
      cutoff.onCut = () => {
        this.#waiting.delete(waiter)
        resolve('cut')
      }
    })
  }

  async #connect(cutoff: Cutoff): Promise<Connection | Failure> {
    const connection = await Connection.create(this.#settings, cutoff.timeout)
    cutoff.onCut = () => connection.destroy(cutoff.cause)
    if (cutoff.cause !== undefined) connection.destroy(cutoff.cause)
    const failure = await connection.open(this.#settings.tls, this.#login)
    cutoff.onCut = undefined
    if (failure === undefined) return connection
    connection.destroy()
    return failure
  }

  async #sendOn(connection: Connection, transaction: Transaction, cutoff: Cutoff): Promise<Transcript> {
    cutoff.onCut = () => connection.destroy(cutoff.cause)
    if (cutoff.cause !== undefined) connection.destroy(cutoff.cause)
    const transcript = await connection.send(transaction)
    cutoff.onCut = undefined
    return transcript
  }

  #release(connection: Connection, { failure }: Transcript): void {
    const again = connection.alive && connection.used < this.#messages && !failure?.reply?.startsWith('503')
    if (!again) {
      if (failure === undefined) this.#retire(connection)
      else {
        connection.destroy()
        this.#vacate()
      }
      return
    }
    if (failure === undefined) this.#give(connection)
    else void this.#clear(connection)
  }

  async #clear(connection: Connection): Promise<void> {
    if (this.#closing && this.#waiting.size === 0) {
      this.#retire(connection)
      return
    }
    this.#clearing.add(connection)
    const clean = await connection.reset()
    this.#clearing.delete(connection)
    if (clean) this.#give(connection)
    else this.#vacate()
  }

  #give(connection: Connection): void {
    const next = this.#nextWaiter()
    if (next !== undefined) next.resolve(connection)
    else if (this.#closing) this.#retire(connection)
    else this.#rest(connection)
  }

  #rest(connection: Connection): void {
    connection.park()
    const leave = () => {
      clearTimeout(entry.timer)
      connection.onIdleEnd = undefined
      const at = this.#idle.indexOf(entry)
      if (at !== -1) this.#idle.splice(at, 1)
      this.#retire(connection)
    }
    const entry = { connection, timer: setTimeout(leave, this.#idleTime).unref() }
    connection.onIdleEnd = leave
    this.#idle.push(entry)
  }

  #retire(connection: Connection): void {
    void connection.quit().then(() => this.#vacate())
  }

  /** One place is free: the next in line may open a connection. */
  #vacate(): void {
    const next = this.#nextWaiter()
    if (next !== undefined) {
      next.resolve(undefined)
      return
    }
    this.#open--
    if (this.#open === 0) this.#onEmpty?.()
  }

  #nextWaiter(): Waiter | undefined {
    const [next] = this.#waiting
    if (next !== undefined) this.#waiting.delete(next)
    return next
  }
}

const failed = (failure: Failure): Transcript => ({ failure, refused: new Map() })

/** Certain that nothing was handed over, on a connection that had served before. */
function mayBeReplaced(connection: Connection, { failure, refused }: Transcript): boolean {
  if (connection.used < 2 || failure === undefined || refused.size > 0) return false
  if (failure.stage === 'body' || failure.stage === 'end') return false
  return failure.reply === undefined ? failure.cause === 'lost' : failure.reply.startsWith('421')
}
