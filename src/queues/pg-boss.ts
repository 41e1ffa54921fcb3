import { createHash } from 'node:crypto'
import type { JobWithMetadata, PgBoss } from 'pg-boss'
import { configurationError, MailError } from '../errors.ts'
import type { Transaction } from '../stores/store.ts'
import { isJob, type Job, type NewJob, type QueueEngine } from './engine.ts'
import { loadPeer } from './peer.ts'

export type PgBossOptions = SharedBoss | OwnBoss

export interface SharedBoss {
  /** A started `PgBoss`, which stays yours to stop, after the mailer. */
  readonly boss: BossLike
  /** Of the queue; processes that share it share the work. Default `sendwright`. */
  readonly name?: string
}

export interface OwnBoss {
  /** Of the database. A PgBoss is made and started at the first use, and stopped with the mailer. */
  readonly connectionString: string
  readonly name?: string
  /** Where pg-boss keeps its tables. Default `pgboss`, its own. */
  readonly schema?: string
  /** Whether the first use makes that schema, or brings it up to date. Default true. */
  readonly migrate?: boolean
  /** Most connections at a time. Default 10. */
  readonly max?: number
  /**
   * Whether a worker holds one more connection, on which it is told of each job at once. Turn it off behind PgBouncer in
   * transaction mode; then it looks twice a second. Default true.
   */
  readonly useListenNotify?: boolean
}

/** A `PgBoss` of pg-boss 12. */
export interface BossLike {
  readonly insert: (...args: never[]) => unknown
  readonly work: (...args: never[]) => unknown
  readonly offWork: (...args: never[]) => unknown
}

/** Only jobs that died are begun again, and what a job is about stands in the ledger: there is nothing to give up. */
const queueOptions = {
  retryLimit: 1_000,
  retryDelay: 0,
  // A process that lives says so every 30 s.
  heartbeatSeconds: 60,
  expireInSeconds: 3_600,
  deleteAfterSeconds: 3_600,
  notify: true,
}
const pace = {
  pollingIntervalSeconds: 0.5,
  notifyPollingIntervalSeconds: 2,
  burstWhenBatchFull: true,
  includeMetadata: true,
} as const

/** A handler at work, under every name pg-boss gave it: a new one after each pause. */
interface Shift {
  readonly begin: (boss: PgBoss) => Promise<string>
  readonly warn: ((error: unknown) => void) | undefined
  readonly ids: string[]
  /** The last attempt to begin. */
  begun: Promise<void>
}

/**
 * A queue in PostgreSQL, with pg-boss 12 (`npm install pg-boss`), for those who run it already. It can take part in the
 * application’s own transaction: `mailer.enqueue(message, { transaction: client })`, where the store is in the same
 * database. A pause holds in the process that asks for it. Counts of `stats` may be a minute old.
 *
 * @throws MailError `CONFIGURATION_ERROR` for options it cannot work with.
 *
 * @example
 * const mailer = createMailer({ …, queue: { engine: pgBoss({ boss: await new PgBoss(url).start() }) } })
 */
export function pgBoss(options: PgBossOptions): QueueEngine {
  const { name, given, own } = checked(options)
  const shifts = new Set<Shift>()
  let opening: Promise<PgBoss> | undefined
  let closed = false
  let paused = false

  // Without a listener an error of its maintenance would end the process.
  const tell = (error: unknown) => {
    for (const { warn } of shifts) warn?.(error)
  }
  const open = async (): Promise<PgBoss> => {
    const boss = given ?? new (await load()).PgBoss(own)
    boss.on('error', tell)
    try {
      if (!given) await boss.start()
      await boss.createQueue(name, queueOptions)
      if (closed) throw isClosed()
      return boss
    } catch (error) {
      await leave(boss).catch(() => {})
      throw notStarted(error) ?? error
    }
  }
  const leave = async (boss: PgBoss): Promise<void> => {
    // Jobs that still run are left to others.
    if (!given) await boss.stop({ graceful: false })
    boss.off('error', tell)
  }
  const opened = async (): Promise<PgBoss> => {
    if (closed) throw isClosed()
    opening ??= open()
    const own = opening
    try {
      return await own
    } catch (error) {
      if (opening === own) opening = undefined
      throw error
    }
  }
  const rests = (shift: Shift): boolean => paused || !shifts.has(shift)
  const begin = async (shift: Shift): Promise<void> => {
    const boss = await opened()
    if (rests(shift) || shift.ids.length > 0) return
    const id = await shift.begin(boss)
    // It may have been paused or stopped meanwhile.
    if (rests(shift)) await boss.offWork(name, { id, wait: false })
    else shift.ids.push(id)
  }
  /** One at a time. */
  const beginSoon = (shift: Shift): Promise<void> => {
    shift.begun = shift.begun.catch(() => {}).then(() => begin(shift))
    return shift.begun
  }

  return {
    transactional: true,
    async enqueue(jobs, { transaction } = {}) {
      const boss = await opened()
      await boss.insert(name, jobs.map(insertOf), transaction ? { db: within(transaction) } : {})
    },
    async work(handler, { concurrency, warn }) {
      const run = async (jobs: readonly JobWithMetadata<unknown>[]): Promise<void> => {
        const inOrder = jobs.toSorted((a, b) => b.priority - a.priority || Number(a.createdOn) - Number(b.createdOn))
        await Promise.all(
          inOrder.map(async ({ data, priority }) => isJob(data) && handler({ kind: data.kind, id: data.id, priority })),
        )
      }
      // Two take turns, so that one that waits for its turn does not keep the other from looking. A batch of one would never
      // be taken for a sign that there is more.
      const sizes = { localConcurrency: Math.min(2, concurrency), batchSize: Math.max(2, concurrency) }
      const shift: Shift = {
        begin: (boss) => boss.work(name, { ...pace, ...sizes }, run),
        warn,
        ids: [],
        begun: Promise.resolve(),
      }
      shifts.add(shift)
      try {
        if (!paused) await beginSoon(shift)
      } catch (error) {
        shifts.delete(shift)
        throw error
      }
      return {
        async stop() {
          shifts.delete(shift)
          await shift.begun.catch(() => {})
          const boss = await opening?.catch(() => undefined)
          await Promise.all(shift.ids.map((id) => boss?.offWork(name, { id, wait: true })))
        },
      }
    },
    async pause() {
      paused = true
      // Where nothing was opened nothing works.
      const boss = await opening?.catch(() => undefined)
      const ids = [...shifts].flatMap((shift) => shift.ids.splice(0))
      await Promise.all(ids.map((id) => boss?.offWork(name, { id, wait: false })))
    },
    async resume() {
      if (!paused) return
      paused = false
      try {
        await Promise.all([...shifts].map(beginSoon))
      } catch (error) {
        paused = true
        throw error
      }
    },
    async stats() {
      const [counts] = await (await opened()).getQueueStats(name, { force: true })
      const { readyCount: waiting = 0, deferredCount: delayed = 0, activeCount: active = 0 } = counts ?? {}
      return { waiting, delayed, active }
    },
    async close() {
      closed = true
      const boss = await opening?.catch(() => undefined)
      if (boss) await leave(boss)
    },
  }
}

const load = () => loadPeer('pgBoss', 'pg-boss', () => import('pg-boss'))

function insertOf({ kind, id, run, delay = 0, priority = 0 }: NewJob) {
  const data: Job = { kind, id }
  return { id: uuidOf([kind, id, run]), data, priority, startAfter: Math.ceil(delay) / 1_000 }
}

/** The same for the same parts, in the form of a UUID made of a name. */
function uuidOf(parts: readonly string[]): string {
  const name = parts.map((part) => `${part.length}:${part}`).join('')
  const hex = createHash('sha256').update(name).digest('hex')
  const variant = ((Number.parseInt(hex[16]!, 16) & 3) | 8).toString(16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

const within = (transaction: Transaction) => ({
  executeSql: (text: string, values: unknown[] = []) => transaction.query(text, values),
})

function checked(options: PgBossOptions) {
  const { name = 'sendwright', boss, ...own } = { ...options } as Partial<SharedBoss & OwnBoss>
  if (typeof name !== 'string' || !/^[\w.-]{1,200}$/.test(name)) {
    throw configurationError('pgBoss({ name }) is a text of letters, digits, _, . and -.')
  }
  if (boss !== undefined) {
    if (typeof (boss as Partial<BossLike> | null)?.work !== 'function') throw configurationError(needs)
    return { name, given: boss as unknown as PgBoss, own: {} }
  }
  if (typeof own.connectionString !== 'string') throw configurationError(needs)
  return { name, given: undefined, own: { schedule: false, useListenNotify: true, ...own } }
}

const needs = 'pgBoss takes { boss }, a started PgBoss, or the { connectionString } of a database.'

const isClosed = () => new MailError('CLOSED', 'The queue engine is closed.', { retryable: false })

/** pg-boss’s own complaint, as an error that says what to do. */
const notStarted = (error: unknown): MailError | undefined =>
  error instanceof Error && /not opened/.test(error.message)
    ? configurationError('pgBoss({ boss }) takes a PgBoss that was started: await boss.start().')
    : undefined
