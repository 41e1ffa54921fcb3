import { longestForLimit } from '../dispatch/conclude.ts'
import { MailError } from '../errors.ts'
import type { Entry } from '../ledger/entry.ts'
import type { Parts } from '../parts.ts'
import type { Receipt } from '../receipt.ts'
import { isWaiting } from '../stores/row-status.ts'
import type { Held, Row } from '../stores/store.ts'
import type { EngineStats, EnqueueOptions, Job, QueueEngine } from './engine.ts'
import { startEngine } from './engine-start.ts'
import { runHeld, settleHeld } from './held.ts'
import { Jobs, type WaitingRow } from './jobs.ts'
import { type Hold, LocalQueue } from './local-queue.ts'
import { Resting } from './resting.ts'
import { SharedPause } from './shared-pause.ts'

export interface Worker {
  /** Takes nothing more; what is under way goes on. Resolves when that has ended. */
  stop(): Promise<void>
}

export interface QueueStats {
  /** Whether this process dispatches the queue. */
  readonly working: boolean
  readonly paused: boolean
  /** Messages this process has taken from the ledger and not yet brought to an end. */
  readonly active: number
  /** Messages that wait in the store, queued or scheduled, whoever will take them. */
  readonly waiting: number
  /** What the engine says, if there is one. */
  readonly engine?: EngineStats
}

/** How somebody asked for work. */
interface Order {
  readonly concurrency: number
  readonly holds: boolean
}

/** Where rows come from this process only, it is told of each. */
const pollAlone = 30_000
/** How long a message another process queued may lie unseen. An engine tells sooner; then the slower look finds what it lost. */
const pollShared = 200
/** Milliseconds until a job comes again whose kind this version does not know; the most for one that was early. */
const again = 60_000
/** The same for one that this worker is paused for. */
const afterPause = 1_000

const isLimited = ({ status, lastError }: Row): boolean =>
  status === 'queued' && lastError?.code === 'SEND_LIMIT_EXCEEDED'

/** The dispatching half for queued messages: the same `finish` a direct send uses. */
export class QueueWork {
  readonly #parts: Parts
  readonly #finish: (entry: Entry) => Promise<Receipt>
  readonly #resting: Resting
  /** Whether nothing comes into the queue but from this process. */
  readonly #alone: boolean
  readonly #jobs: Jobs | undefined
  readonly #sharedPause: SharedPause | undefined
  readonly #orders = new Set<Order>()
  /** The worker that began by itself; it gives way to one that is asked for. */
  #unasked: Worker | undefined
  #local: LocalQueue | undefined
  #stopEngine: (() => Promise<void>) | undefined
  #ending: Promise<unknown> | undefined
  /** Somebody stopped the worker: only `work` starts it again. */
  #stopped = false
  #paused = false

  constructor(parts: Parts, finish: (entry: Entry) => Promise<Receipt>) {
    const { engine, clock, store } = parts
    this.#parts = parts
    this.#finish = finish
    this.#resting = new Resting(clock)
    this.#alone = store.guarantees.scope === 'process'
    this.#jobs = engine && new Jobs(engine, parts)
    this.#sharedPause = SharedPause.of(engine, clock)
  }

  get working(): boolean {
    return this.#local !== undefined
  }

  /** `holds`: the worker keeps the process alive until it is stopped, where work may come from other processes. */
  work(concurrency: number, holds = false): Worker {
    const order: Order = { concurrency, holds }
    this.#stopped = false
    this.#orders.add(order)
    this.#local ??= this.#begin()
    void this.#unasked?.stop()
    this.#unasked = undefined
    this.#resize()
    return {
      stop: async () => {
        if (this.#orders.delete(order)) {
          if (this.#orders.size > 0) return this.#resize()
          this.#stopped = true
        }
        // Whoever stops it again waits for the same end.
        if (this.#orders.size === 0) await this.stop()
      },
    }
  }

  /** Tells whoever dispatches that a row was written that waits. Never rejects for an engine that fails. */
  async waits(row: WaitingRow, options?: EnqueueOptions): Promise<void> {
    const { work, concurrency, state } = this.#parts
    this.wake()
    if (!this.#local && work && !this.#stopped && !state.closed) this.#unasked = this.work(concurrency)
    await this.#jobs?.tell(row, options)
  }

  /** Lets the worker look what is due, and when the next will be. */
  wake(): void {
    this.#local?.wake()
  }

  async pause(): Promise<void> {
    if (this.#sharedPause) return this.#sharedPause.set(true)
    this.#paused = true
    this.#local?.pause()
    await this.#parts.engine?.pause()
  }

  async resume(): Promise<void> {
    await this.#sharedPause?.set(false)
    this.#paused = false
    this.#local?.resume()
    if (!this.#sharedPause) await this.#parts.engine?.resume()
  }

  async stats(): Promise<QueueStats> {
    const { engine, store } = this.#parts
    const [told, waiting] = await Promise.all([engine?.stats(), store.waiting()])
    return {
      working: this.working,
      paused: this.#paused || ((await this.#sharedPause?.ask()) ?? false),
      active: this.#local?.active ?? 0,
      waiting,
      ...(told ? { engine: told } : {}),
    }
  }

  /** Goes on until nothing is due any more, at most `ms`. */
  async drain(ms: number): Promise<void> {
    await this.#local?.drain(ms)
  }

  /** Takes nothing more; resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#ending = Promise.all([this.#ending, this.#local?.stop(), this.#stopEngine?.()])
    this.#local = undefined
    this.#stopEngine = undefined
    this.#orders.clear()
    await this.#ending
  }

  get #concurrency(): number {
    return Math.max(...[...this.#orders].map(({ concurrency }) => concurrency))
  }

  #resize(): void {
    const holds = [...this.#orders].some((order) => order.holds) && !this.#alone
    const isVolatile = this.#parts.store.guarantees.durability === 'none'
    const hold: Hold = holds ? 'always' : isVolatile ? 'waiting' : 'never'
    this.#local?.resize(this.#concurrency, hold)
  }

  #begin(): LocalQueue {
    const { ledger, clock, timeout, tenants, engine } = this.#parts
    const queue = new LocalQueue({
      ledger,
      clock,
      run: (held) => this.#run(held),
      giveBack: (held) => this.#giveBack(held),
      concurrency: this.#concurrency,
      shared: tenants.hasTenants,
      timeout,
      holdsProcess: 'never',
      poll: this.#alone || engine ? pollAlone : pollShared,
      resting: this.#resting,
      ...(this.#sharedPause ? { sharedPause: this.#sharedPause } : {}),
    })
    if (this.#paused) queue.pause()
    if (engine) this.#stopEngine = this.#startEngine(engine, queue)
    return queue
  }

  #startEngine(engine: QueueEngine, queue: LocalQueue): () => Promise<void> {
    const { ledger, clock } = this.#parts
    const concurrency = this.#concurrency
    const warn = (error: unknown) => ledger.warn(error)
    // Jobs and rows found in the store pass one gate. A job that was not begun is another worker's.
    const handle = (job: Job) =>
      queue.admit(
        (begun) => this.#runJob(job, begun),
        async () => this.#jobs?.leave(job, queue.stopped ? 0 : afterPause),
      )
    return startEngine(() => engine.work(handle, { concurrency, warn }), clock, warn)
  }

  async #run(held: Held): Promise<void> {
    try {
      const { row, delay = 0 } = await runHeld(this.#parts, held, this.#finish)
      const limited = isLimited(row)
      if (limited) this.#resting.add(row.tenant, delay, isLimited(held.row))
      else this.#resting.forget(row.tenant)
      // Who waits for a limit is found in the store, in order: an engine would bring them all at once, again and again.
      if (limited) this.wake()
      else if (row.status === 'queued') await this.waits(row)
    } catch (error) {
      // The row tells what became of the message; nobody waits for this promise.
      if (!(error instanceof MailError) || error.receipt === undefined) this.#parts.ledger.warn(error, held.row.id)
    }
  }

  async #giveBack(held: Held): Promise<void> {
    const { ledger } = this.#parts
    const row = ledger.asFound(held.row)
    try {
      await settleHeld(this.#parts, held, row)
      if (isWaiting(row)) await this.waits(row)
    } catch (error) {
      ledger.warn(error, row.id)
    }
  }

  /** A job of the engine's: it may be late, early or a repeat, so the ledger decides whether there is anything to do. */
  async #runJob(job: Job, begun: () => void): Promise<void> {
    const { ledger, clock, store, retry, timeout } = this.#parts
    if (job.kind !== 'message') return this.#jobs?.leave(job, again)
    try {
      const held = await store.takeover(job.id, ['queued', 'scheduled'], ledger.lease(2 * timeout))
      if (!held) return
      const { row } = held
      const early = (row.dueAt ?? 0) - clock.now()
      if (early > 0 && row.status === 'scheduled') {
        await ledger.settleHeld(held, row, { delay: early })
        return await this.waits(row)
      }
      if (early > 0 || this.#resting.has(row.tenant)) {
        // By the wall clock, which may have been set since it was put off: never longer than it can have been put off.
        const longest = isLimited(row) ? longestForLimit : Math.max(retry.schedule[row.runs - 1] ?? 0, again)
        await ledger.settleHeld(held, row, { delay: Math.min(Math.max(early, this.#resting.next() ?? 0), longest) })
        return this.wake()
      }
      begun()
      await this.#run(held)
    } catch (error) {
      ledger.warn(error, job.id)
    }
  }
}
