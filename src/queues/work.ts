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
import { type Hold, LocalQueue } from './local-queue.ts'
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
  /** Lets the worker look what is due, and when the next will be. */
  wake(): void
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
/** An engine's job that was early, or of a kind this version does not know, comes again after that. */
const again = 60_000
/** A job that this worker is paused for. */
const pausedFor = 1_000
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
  /** Those who asked for work, and how; without one it was the mailer's own options. */
  const handles = new Set<{ readonly concurrency: number; readonly holds: boolean }>()
  /** The worker that began by itself; it gives way to one that is asked for. */
  let unasked: Worker | undefined
  let stopEngine: (() => Promise<void>) | undefined
  /** Somebody stopped the worker: only `work` starts it again. */
  let stopped = false
  let paused = false
  const sharedPause = SharedPause.of(engine, clock)

  const waits: QueueWork['waits'] = async ({ id, priority, dueAt }, { transaction } = {}) => {
    local?.wake()
    if (!local && parts.work && !stopped && !parts.state.closed) unasked = work(parts.concurrency)
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
      const limited = row.status === 'queued' && row.lastError?.code === 'SEND_LIMIT_EXCEEDED'
      if (limited) resting.add(row.tenant, delay)
      else resting.forget(row.tenant)
      // Who waits for a limit is found in the store, in order: an engine would bring them all at once, again and again.
      if (limited) local?.wake()
      else if (row.status === 'queued') await waits(row)
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
  const runJob = async (job: Job, begun: () => void): Promise<void> => {
    const { kind, id } = job
    if (kind !== 'message') return hintAgain(job, again)
    try {
      const held = await store.takeover(id, ['queued', 'scheduled'], ledger.lease(2 * parts.timeout))
      if (!held) return
      const { row } = held
      const early = (row.dueAt ?? 0) - clock.now()
      if (early > 0) {
        // The wall clock may have been set since it was put off.
        await ledger.settleHeld(held, row, { delay: row.status === 'queued' ? Math.min(early, again) : early })
        return row.status === 'queued' ? local?.wake() : await waits(row)
      }
      if (resting.has(row.tenant)) {
        await ledger.settleHeld(held, row, { delay: resting.next() ?? 0 })
        return local?.wake()
      }
      begun()
      await run(held)
    } catch (error) {
      ledger.warn(error, id)
    }
  }
  const hintAgain = async (job: Job, delay: number): Promise<void> => {
    try {
      await engine?.enqueue([{ ...job, delay, run: randomUUID() }])
    } catch (error) {
      ledger.warn(error)
    }
  }
  const work: QueueWork['work'] = (concurrency, holds = false) => {
    stopped = false
    const handle = { concurrency, holds }
    handles.add(handle)
    local ??= begin()
    if (unasked) void unasked.stop()
    unasked = undefined
    resize()
    return {
      async stop() {
        if (!handles.delete(handle)) return
        if (handles.size > 0) return resize()
        stopped = true
        await stop()
      },
    }
  }
  const resize = (): void => {
    const { durability } = store.guarantees
    const holds = [...handles].some((handle) => handle.holds) && !alone
    const hold: Hold = holds ? 'always' : durability === 'none' ? 'waiting' : 'never'
    local?.resize(Math.max(...[...handles].map(({ concurrency }) => concurrency)), hold)
  }
  const begin = (): LocalQueue => {
    const { concurrency, timeout } = parts
    const shared = parts.tenants.hasTenants
    const queue = new LocalQueue({
      ledger,
      clock,
      run,
      giveBack,
      concurrency,
      shared,
      timeout,
      holdsProcess: 'never',
      poll,
      resting,
      ...(sharedPause ? { sharedPause } : {}),
    })
    if (paused) queue.pause()
    if (!engine) return queue
    const warn = (error: unknown) => ledger.warn(error)
    // Jobs and rows found in the store pass one gate. A job that was not begun is another worker's.
    const handle = (job: Job) =>
      queue.admit(
        (begun) => runJob(job, begun),
        () => hintAgain(job, queue.stopped ? 0 : pausedFor),
      )
    const most = Math.max(...[...handles].map((one) => one.concurrency))
    stopEngine = startEngine(() => engine.work(handle, { concurrency: most, warn }), clock, warn)
    return queue
  }
  const stop = async (): Promise<void> => {
    const ending = [local?.stop(), stopEngine?.()]
    local = undefined
    stopEngine = undefined
    handles.clear()
    await Promise.all(ending)
  }
  return {
    get working() {
      return local !== undefined
    },
    work,
    waits,
    wake: () => local?.wake(),
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
