import { setTimeout as sleep } from 'node:timers/promises'
import { MailError, type Mailer, type MessageFilter, type MessageRecord, type MessageStatus } from '../../src/index.ts'
import type { ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import { type Ground, open } from './ground.ts'
import type { Call, History } from './history.ts'
import { planned } from './planned.ts'
import { takenBy } from './post.ts'
import { mailerOn, type Servers } from './scenario.ts'

export interface Remains {
  readonly ground: Ground
  readonly servers: Servers
  readonly posts: Readonly<Record<string, ScriptedSmtpServer>>
  readonly seed: number
  readonly calls: readonly Call[]
}

/** Milliseconds; what is not settled or held by then counts as left. */
const patience = 40_000

/**
 * A fresh mailer on the store the dead left behind: works until nothing waits, repeats every call that had a key, and reads
 * everything there is to read.
 */
export async function finish(remains: Remains): Promise<Omit<History, 'refused' | 'storeFailed'>> {
  const { ground, servers, posts, calls } = remains
  const { store, free } = await open(ground)
  const mailer = mailerOn(store, servers, { queue: { work: true, concurrency: 20 } })
  try {
    await drain(mailer)
    const repeats = await repeatAll(mailer, remains)
    await drain(mailer)
    const ledger = await listed(mailer)
    const held = await listed(mailer, { status: 'unknown' })
    const taken = takenBy(posts)
    const all = [...calls, ...repeats]
    const ids = new Set([...taken.map(({ id }) => id), ...all.flatMap(({ receipt, error }) => receipt?.id ?? error?.id ?? [])])
    const gets = new Map(await inTurns([...ids, ...ledger.map(({ id }) => id)], async (id) => [id, await mailer.messages.get(id)]))
    const handedOver = new Set(taken.map(({ id }) => id))
    await inTurns(held, ({ id }) => mailer.resolve(id, handedOver.has(id) ? 'sent' : 'failed'))
    const resolved = [...(await inTurns(held, async ({ id }) => (await mailer.messages.get(id))!)), ...(await listed(mailer, { status: 'unknown' }))]
    return { calls: all, taken, ledger, held, gets: gets as History['gets'], resolved }
  } finally {
    await mailer.close()
    await free()
  }
}

const unfinished: readonly MessageStatus[] = ['queued', 'scheduled', 'dispatching']

async function drain(mailer: Mailer): Promise<void> {
  const endsAt = Date.now() + patience
  while (Date.now() < endsAt) {
    // Says the work again, so that what was found abandoned meanwhile is not left until the worker looks by itself.
    mailer.work({ concurrency: 20 })
    const pages = await Promise.all(unfinished.map((status) => mailer.messages.list({ status, limit: 1 })))
    if (pages.every(({ items, cursor }) => items.length === 0 && cursor === undefined)) return
    await sleep(100)
  }
}

/** Whoever repeats a call with its key, however late, hears what became of the first. */
async function repeatAll(mailer: Mailer, { seed, calls }: Remains): Promise<Call[]> {
  const keyed = new Set(calls.flatMap(({ key, subject }) => (key === undefined ? [] : Number(subject.split(' ')[1]))))
  return inTurns([...keyed], async (number) => {
    const { verb, subject, key, message, options } = planned(seed, number)
    const facts = { process: 'last', verb, subject, key: key! }
    try {
      return { ...facts, receipt: await mailer[verb](message, { ...options, timeout: 10_000 }) }
    } catch (error) {
      if (!(error instanceof MailError)) throw error
      return { ...facts, error: { code: error.code, ...(error.id === undefined ? {} : { id: error.id }) } }
    }
  })
}

async function listed(mailer: Mailer, filter: MessageFilter = {}): Promise<MessageRecord[]> {
  const found: MessageRecord[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await mailer.messages.list({ ...filter, limit: 500, ...(cursor === undefined ? {} : { cursor }) })
    found.push(...page.items)
    cursor = page.cursor
    if (cursor === undefined) return found
  }
}

/** A few at a time. */
async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (let at = 0; at < items.length; at += 20) results.push(...(await Promise.all(items.slice(at, at + 20).map(work))))
  return results
}
