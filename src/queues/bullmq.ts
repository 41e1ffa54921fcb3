import { createHash } from 'node:crypto'
import type { Job as BullJob, ConnectionOptions, Queue, Worker } from 'bullmq'
import { configurationError, MailError } from '../errors.ts'
import { OpenQueue, Running, stopWorker } from './bullmq/connections.ts'
import { isJob, type NewJob, type QueueEngine } from './engine.ts'
import { loadPeer } from './peer.ts'

export interface BullmqOptions {
  /**
   * What BullMQ connects with: `{ url }` or `{ host, port, … }`, which needs the package `ioredis`, or a client of ioredis
   * (made with `maxRetriesPerRequest: null`) or node-redis, which stays yours to close.
   */
  readonly connection: object
  /** Of the queue; processes that share it share the work. Default `sendwright`. */
  readonly name?: string
  /** What its keys begin with; on a cluster in braces, `{bull}`. Default `bull`, BullMQ’s own. */
  readonly prefix?: string
  /**
   * Milliseconds after which a job whose process died is begun again; a living process renews it. At least 1,000.
   * Default 60,000.
   */
  readonly lockDuration?: number
}

/** What a job is about stands in the ledger, so there is nothing an engine could give up. */
const maxStalledCount = 1_000
const defaultJobOptions = {
  attempts: 1,
  // Kept for a while, so that a command the client sends twice adds one job.
  removeOnComplete: { age: 300, count: 10_000 },
  removeOnFail: { age: 86_400, count: 1_000 },
}

/**
 * A queue in Redis or Valkey, with BullMQ 6 (`npm install bullmq ioredis`). The server should keep what it is given:
 * `maxmemory-policy noeviction`, `appendonly yes`. While it is down messages are accepted all the same; the mailer warns, and
 * workers find them in the store.
 *
 * Nothing connects before the first use. Connections keep the process alive until the mailer is closed.
 *
 * @throws MailError `CONFIGURATION_ERROR` for options it cannot work with.
 *
 * @example
 * const mailer = createMailer({ …, queue: { engine: bullmq({ connection: { url: process.env.REDIS_URL } }) } })
 */
export function bullmq(options: BullmqOptions): QueueEngine {
  const { name, lockDuration, ...shared } = checked(options)
  const workers = new Set<Worker>()
  let opening: Promise<OpenQueue> | undefined
  let closed = false

  const open = async (): Promise<OpenQueue> => {
    const { Queue } = await load()
    return new OpenQueue(new Queue(name, { ...shared, defaultJobOptions }))
  }
  const live = async (): Promise<Queue> => {
    if (closed) throw new MailError('CLOSED', 'The queue engine is closed.', { retryable: false })
    opening ??= open()
    const own = opening
    const opened = await own
    try {
      return await opened.live()
    } catch (error) {
      if (error instanceof MailError) throw error
      // It will not connect any more: the next call tries a new one.
      if (opening === own) opening = undefined
      await opened.close()
      throw withoutIoredis(error) ?? error
    }
  }

  return {
    async enqueue(jobs) {
      const queue = await live()
      await queue.addBulk(jobs.map(bulkJobOf))
    },
    async work(handler, { concurrency, warn }) {
      const { Worker } = await load()
      if (retries(shared.connection)) throw impatient()
      const running = new Running()
      const run = async ({ id = '', data, opts }: BullJob<unknown>): Promise<void> => {
        if (!isJob(data)) return
        const priority = 10 - (opts.priority ?? 10)
        await running.run(id, handler({ kind: data.kind, id: data.id, priority }))
      }
      const timing = { lockDuration, stalledInterval: lockDuration / 2, maxStalledCount }
      const worker = new Worker(name, run, { ...shared, ...timing, concurrency })
      worker.on('error', (error) => warn?.(error))
      worker.on('completed', ({ id }) => running.note(id))
      worker.on('failed', (job) => running.note(job?.id))
      workers.add(worker)
      return {
        async stop() {
          await stopWorker(worker, running)
          workers.delete(worker)
        },
      }
    },
    pause: async () => (await live()).pause(),
    resume: async () => (await live()).resume(),
    paused: async () => (await live()).isPaused(),
    async stats() {
      const queue = await live()
      const counts = await queue.getJobCounts('waiting', 'prioritized', 'delayed', 'active')
      const { waiting = 0, prioritized = 0, delayed = 0, active = 0 } = counts
      return { waiting: waiting + prioritized, delayed, active }
    },
    async close() {
      closed = true
      // Those that did not stop in time: what they hold is begun again by others.
      await Promise.all([...workers].map((worker) => worker.close(true)))
      const opened = await opening?.catch(() => undefined)
      await opened?.close()
    },
  }
}

const load = () => loadPeer('bullmq', 'bullmq', () => import('bullmq'))

function bulkJobOf({ kind, id, run, delay = 0, priority = 0 }: NewJob) {
  const parts = [kind, id, run].map((part) => `${part.length}:${part}`)
  const jobId = `${kind}-${createHash('sha256').update(parts.join('')).digest('hex')}`
  // BullMQ takes 0 first and 20 last.
  return { name: kind, data: { kind, id }, opts: { jobId, delay: Math.ceil(delay), priority: 10 - priority } }
}

/** Whether it is a client of ioredis that gives up commands, which a worker’s wait for jobs would not survive. */
function retries(connection: object): boolean {
  const { defineCommand, options } = connection as {
    readonly defineCommand?: unknown
    readonly options?: { readonly maxRetriesPerRequest?: unknown }
  }
  return typeof defineCommand === 'function' && typeof options?.maxRetriesPerRequest === 'number'
}

function checked(options: BullmqOptions) {
  const { connection, name = 'sendwright', prefix, lockDuration = 60_000 } = { ...options }
  if (typeof connection !== 'object' || connection === null) {
    throw configurationError('bullmq({ connection }) is { url }, { host, port } or a client of ioredis or node-redis.')
  }
  if (!isName(name) || name.includes(':')) throw configurationError('bullmq({ name }) is a text without colons.')
  if (prefix !== undefined && !isName(prefix)) throw configurationError('bullmq({ prefix }) is a text.')
  if (!(Number.isInteger(lockDuration) && lockDuration >= 1_000)) {
    throw configurationError('bullmq({ lockDuration }) is a whole number of milliseconds from 1,000.')
  }
  return {
    connection: connection as ConnectionOptions,
    name,
    lockDuration,
    ...(prefix === undefined ? {} : { prefix }),
  }
}

const isName = (name: unknown): name is string => typeof name === 'string' && name !== ''

const impatient = () =>
  configurationError('bullmq: a worker needs a client of ioredis that was made with maxRetriesPerRequest: null.')

/** BullMQ’s own complaint, as an error that says what to do. */
const withoutIoredis = (error: unknown): MailError | undefined =>
  error instanceof Error && error.message.includes("load the optional 'ioredis' package")
    ? configurationError('bullmq({ connection }) needs the package ioredis: npm install ioredis, or give it a client.')
    : undefined
