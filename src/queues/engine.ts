import type { Awaitable, Transaction } from '../stores/store.ts'

/** A piece of work by name. What it is stands in the ledger, never in the engine. */
export interface Job {
  readonly kind: 'message' | 'webhook'
  readonly id: string
  /** -10 to 10; higher ones first. Default 0. */
  readonly priority?: number
}

export interface NewJob extends Job {
  /** Milliseconds from now before which it is not run. Default 0. */
  readonly delay?: number
  /** Tells this job from earlier ones of the same message: the same job twice may be dropped, a later run may not. */
  readonly run: string
}

export interface EngineStats {
  readonly waiting: number
  readonly delayed: number
  readonly active: number
}

export interface EngineWorker {
  /** Takes nothing more; resolves when what runs has ended. */
  stop(): Promise<void>
}

export interface EngineWorkOptions {
  /** Jobs run at a time. */
  readonly concurrency: number
  /** Told of what goes wrong beside the calls, such as a connection that was lost. */
  readonly warn?: (error: unknown) => void
}

/**
 * Carries jobs between processes: `bullmq` and `pgBoss` make one. It decides when work is begun and nothing else: the
 * ledger lets each job take effect once, whatever the engine runs twice, and finds what the engine lost. Retries are the
 * ledger's too, so a handler never rejects and an engine repeats only what died.
 */
export interface QueueEngine {
  /** Whether `enqueue` can write in the application's own transaction. Default false. */
  readonly transactional?: boolean
  /** Resolves when the engine has the jobs as safely as it can. */
  enqueue(jobs: readonly NewJob[], options?: EnqueueOptions): Promise<void>
  /**
   * Gives jobs to `handler`, which never rejects. A job is done when that resolves: somebody has begun the work by then, and
   * the ledger knows of it.
   */
  work(handler: (job: Job) => Promise<void>, options: EngineWorkOptions): Awaitable<EngineWorker>
  /** No worker takes another job until `resume`: in any process, or without `paused` in this one. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Whether any process has paused the engine. Absent where a pause holds in the process that asked for it. */
  paused?(): Promise<boolean>
  /** Frees what the engine opened itself. */
  close(): Promise<void>
  stats(): Promise<EngineStats>
}

export interface EnqueueOptions {
  /** The application's own transaction, for an engine that is `transactional`. */
  readonly transaction?: Transaction
}

/** Whether what an engine kept is a job: others may write to its server too. */
export function isJob(given: unknown): given is Job {
  const { kind, id } = (typeof given === 'object' && given !== null ? given : {}) as Partial<Job>
  return (kind === 'message' || kind === 'webhook') && typeof id === 'string'
}
