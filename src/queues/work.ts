import { randomUUID } from 'node:crypto'
import { laterRun } from '../dispatch/conclude.ts'
import { MailError } from '../errors.ts'
import type { Entry } from '../ledger/entry.ts'
import { ended, freesKey, givenUp } from '../ledger/row.ts'
import type { Parts } from '../parts.ts'
import { refund } from '../policies/quota.ts'
import type { Receipt } from '../receipt.ts'
import { isWaiting } from '../stores/row-status.ts'
import type { Held, Row } from '../stores/store.ts'
import type { EngineStats, EnqueueOptions, Job } from './engine.ts'
import { startEngine } from './engine-start.ts'
import { LocalQueue } from './local-queue.ts'
import { contextOf, deliveryOf } from './queued-delivery.ts'
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

export interface QueueWork {
  readonly working: boolean
  /** `holds`: the worker keeps the process alive until it is stopped, where work may come from other processes. */
  work(concurrency: number, holds?: boolean): Worker
  /** Tells whoever dispatches that a row was written that waits. Never rejects for an engine that fails. */
  waits(row: WaitingRow, options?: EnqueueOptions): Promise<void>
  pause(): Promise<void>
  resume(): Promise<void>
  stats(): Promise<QueueStats>
  /** Goes on until nothing is due any more, at most `ms`. */
  drain(ms: number): Promise<void>
  /** Takes nothing more; resolves when what is under way has ended. */
  stop(): Promise<void>
}

/** What of a queued row an engine must know. */
export interface WaitingRow {
  readonly id: string
  readonly priority: number
  /** Milliseconds since 1970. */
  readonly dueAt?: number
}

const whenTenantsFail = 60_000
/** Where rows come from this process only, it is told of each. */
const pollAlone = 30_000
/** How long a message another process queued may lie unseen. An engine tells sooner; then the slower look finds what it lost. */
const pollShared = 200
/** A job for later than this comes early and is put off again: engines keep jobs for some time only. */
const longestDelay = 7 * 86_400_000
/** For a transaction the engine knows nothing of: before it commits, a worker would find nothing. */
const untilCommitted = 1_000

/** The dispatching half for queued messages: the same `finish` a direct send uses. */
export function queueWork(parts: Parts, finish: (entry: Entry) => Promise<Receipt>): QueueWork {
  const { ledger, clock, store, engine } = parts
  const resting = new Resting(clock)
  /** Whether nothing comes into the queue but from this process. */
  const alone = store.guarantees.scope === 'process'
  const poll = alone || engine ? pollAlone : pollShared
  let local: LocalQueue | undefined
  let stopEngine: (() => Promise<void>) | undefined
  /** Somebody stopped the worker: only `work` starts it again. */
  let stopped = false
  let paused = false
  const sharedPause = SharedPause.of(engine)

  const waits: QueueWork['waits'] = async ({ id, priority, dueAt }, { transaction } = {}) => {
    local?.wake()
    if (!local && parts.work && !stopped && !parts.state.closed) work(parts.concurrency)
    if (!engine) return
    const soonest = transaction && !engine.transactional ? untilCommitted : 0
    const delay = Math.min(Math.max(soonest, (dueAt ?? 0) - clock.now()), longestDelay)
    const within = transaction && engine.transactional ? { transaction } : {}
    try {
      await engine.enqueue([{ kind: 'message', id, priority, delay, run: randomUUID() }], within)
    } catch (error) {
      if ('transaction' in within) throw error
      // The row is safe, and a worker looks for such rows.
      ledger.warn(error, id)
    }
  }
  const run = async (held: Held): Promise<void> => {
    try {
      const { row, delay = 0 } = await runHeld(parts, held, finish)
      if (row.status === 'queued' && row.lastError?.code === 'SEND_LIMIT_EXCEEDED') resting.add(row.tenant, delay)
      else resting.forget(row.tenant)
      if (row.status === 'queued') await waits(row)
    } catch (error) {
      // The row tells what became of the message; nobody waits for this promise.
      if (!(error instanceof MailError) || error.receipt === undefined) ledger.warn(error, held.row.id)
    }
  }
  const giveBack = async (held: Held): Promise<void> => {
    const row = ledger.asFound(held.row)
    try {
      await settleHeld(parts, held, row)
      if (isWaiting(row)) await waits(row)
    } catch (error) {
      ledger.warn(error, row.id)
    }
  }
  /** A job of the engine's: it may be late, early or a repeat, so the ledger decides whether there is anything to do. */
  const runJob = async ({ kind, id }: Job): Promise<void> => {
    if (kind !== 'message') return
    try {
      const held = await store.takeover(id, ['queued', 'scheduled'], ledger.lease(2 * parts.timeout))
      if (!held) return
      const early = (held.row.dueAt ?? 0) - clock.now()
      if (early <= 0) return await run(held)
      await ledger.settleHeld(held, held.row, { delay: early })
      await waits(held.row)
    } catch (error) {
      ledger.warn(error, id)
    }
  }
  const work: QueueWork['work'] = (concurrency, holds = false) => {
    stopped = false
    if (local) return workerOf(local)
    const { durability } = store.guarantees
    const holdsProcess = holds && !alone ? 'always' : durability === 'none' ? 'waiting' : 'never'
    const queue = new LocalQueue({
      ledger,
      clock,
      run,
      giveBack,
      concurrency,
      timeout: parts.timeout,
      holdsProcess,
      poll,
      resting,
      ...(sharedPause ? { sharedPause } : {}),
    })
    local = queue
    if (paused) queue.pause()
    else queue.wake()
    if (!engine) return workerOf(queue)
    const warn = (error: unknown) => ledger.warn(error)
    // Jobs and rows found in the store pass one gate. A job that was not begun is another worker's.
    const handle = (job: Job) =>
      queue.admit(
        () => runJob(job),
        () => engine.enqueue([{ ...job, run: randomUUID() }]).catch(warn),
      )
    stopEngine = startEngine(() => engine.work(handle, { concurrency, warn }), clock, warn)
    return workerOf(queue)
  }
  const stop = async (): Promise<void> => {
    const ending = [local?.stop(), stopEngine?.()]
    local = undefined
    stopEngine = undefined
    await Promise.all(ending)
  }
  const workerOf = (started: LocalQueue): Worker => ({
    async stop() {
      if (local !== started) return started.stop()
      stopped = true
      await stop()
    },
  })
  return {
    get working() {
      return local !== undefined
    },
    work,
    waits,
    async pause() {
      if (sharedPause) return sharedPause.set(true)
      paused = true
      local?.pause()
      await engine?.pause()
    },
    async resume() {
      await sharedPause?.set(false)
      paused = false
      local?.resume()
      if (!sharedPause) await engine?.resume()
    },
    async stats() {
      const [told, waiting] = await Promise.all([engine?.stats(), store.waiting()])
      const isPaused = paused || ((await sharedPause?.ask()) ?? false)
      return {
        working: local !== undefined,
        paused: isPaused,
        active: local?.active ?? 0,
        waiting,
        ...(told ? { engine: told } : {}),
      }
    },
    drain: (ms) => local?.drain(ms) ?? Promise.resolve(),
    stop,
  }
}

/** Writes a row that was taken and is not worked on; one nobody will dispatch again gives its quota back. */
export async function settleHeld({ ledger, store }: Parts, held: Held, row: Row, delay = 0): Promise<void> {
  if (!(await ledger.settleHeld(held, row, { release: freesKey(row), remove: !row.accepted, delay }))) return
  if (freesKey(row)) await refund(store, held.row.work?.taken ?? [], givenUp(held.row, row))
}

/** Brings a taken row to its end, or to its next wait. Answers it as it was last written. */
async function runHeld(
  parts: Parts,
  held: Held,
  finish: (entry: Entry) => Promise<Receipt>,
): Promise<Pick<Entry, 'row'> & Partial<Pick<Entry, 'delay'>>> {
  const { ledger, clock, retry, underWay } = parts
  const row = ledger.asFound(held.row)
  const { work } = row
  if ((row.status !== 'queued' && row.status !== 'scheduled') || !work) {
    await settleHeld(parts, held, row)
    return { row }
  }
  const deadline = underWay.begin(work.timeout)
  try {
    const context = await contextOf(parts, row, deadline)
    if (context instanceof MailError) {
      const lastError = { code: context.code, reason: context.message }
      const now = clock.now()
      const later = context.retryable
        ? { dueAt: now + whenTenantsFail, runs: row.runs }
        : laterRun({ clock, schedule: retry.schedule }, row, context)
      const next: Row = later ? { ...row, ...later, status: 'queued', lastError } : ended(row, 'failed', lastError)
      await settleHeld(parts, held, next, later ? later.dueAt - now : 0)
      return { row: next }
    }
    const entry = ledger.adopt({ row, fence: held.fence }, deliveryOf(row, work, context, deadline))
    await finish(entry)
    return entry
  } finally {
    deadline.end()
  }
}
