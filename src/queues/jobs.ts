import { randomUUID } from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { EnqueueOptions, Job, QueueEngine } from './engine.ts'

/** What of a queued row an engine must know. */
export interface WaitingRow {
  readonly id: string
  readonly priority: number
  /** Milliseconds since 1970. */
  readonly dueAt?: number
}

/** A job for later than this comes early and is put off again: engines keep jobs for some time only. */
const longestDelay = 7 * 86_400_000
/** For a transaction the engine knows nothing of: before it commits, a worker would find nothing. */
const untilCommitted = 1_000

/** Tells an engine of work. Where it fails nothing is lost: a worker looks into the store for such rows. */
export class Jobs {
  readonly #engine: QueueEngine
  readonly #ledger: Ledger
  readonly #clock: Clock

  constructor(engine: QueueEngine, { ledger, clock }: { readonly ledger: Ledger; readonly clock: Clock }) {
    this.#engine = engine
    this.#ledger = ledger
    this.#clock = clock
  }

  /** @throws only where the engine is to write in the caller's transaction. */
  async tell({ id, priority, dueAt }: WaitingRow, { transaction }: EnqueueOptions = {}): Promise<void> {
    const { transactional } = this.#engine
    const soonest = transaction && !transactional ? untilCommitted : 0
    const delay = Math.min(Math.max(soonest, (dueAt ?? 0) - this.#clock.now()), longestDelay)
    const within = transaction && transactional ? { transaction } : {}
    try {
      await this.#engine.enqueue([{ kind: 'message', id, priority, delay, run: randomUUID() }], within)
    } catch (error) {
      if ('transaction' in within) throw error
      this.#ledger.warn(error, id)
    }
  }

  /** Leaves a job to whoever takes it in `delay` milliseconds. */
  async leave(job: Job, delay: number): Promise<void> {
    try {
      await this.#engine.enqueue([{ ...job, delay, run: randomUUID() }])
    } catch (error) {
      this.#ledger.warn(error)
    }
  }
}
