import { setTimeout as sleep } from 'node:timers/promises'
import {
  MailError,
  type Mailer,
  type MessageFilter,
  type MessageRecord,
  type MessageStatus,
  type Receipt,
} from '../../src/index.ts'
import type { ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import type { Call, History } from './history.ts'
import { takenBy } from './post.ts'

const unfinished: readonly MessageStatus[] = ['queued', 'scheduled', 'dispatching']

/** Works until nothing waits, for at most `patience` milliseconds. */
export async function drain(mailer: Mailer, patience = 40_000): Promise<void> {
  const endsAt = Date.now() + patience
  while (Date.now() < endsAt) {
    // Said again, so that what was found abandoned meanwhile is not left until the worker looks by itself.
    mailer.work({ concurrency: 20 })
    const pages = await Promise.all(unfinished.map((status) => mailer.messages.list({ status, limit: 1 })))
    if (pages.every(({ items, cursor }) => items.length === 0 && cursor === undefined)) return
    await sleep(400)
  }
}

/** Makes a call and answers it as the history has it. */
export async function noted(facts: Omit<Call, 'receipt' | 'error'>, make: () => Promise<Receipt>): Promise<Call> {
  try {
    return { ...facts, receipt: await make() }
  } catch (error) {
    if (!(error instanceof MailError)) throw error
    return { ...facts, error: { code: error.code, ...(error.id === undefined ? {} : { id: error.id }) } }
  }
}

/** Reads everything there is to read, and resolves what is unknown as the servers' logs have it. */
export async function readAll(
  mailer: Mailer,
  posts: Readonly<Record<string, ScriptedSmtpServer>>,
  calls: readonly Call[],
): Promise<Omit<History, 'refused' | 'storeFailed'>> {
  const ledger = await listed(mailer)
  const held = await listed(mailer, { status: 'unknown' })
  const taken = takenBy(posts)
  const handedOver = new Set(taken.map(({ id }) => id))
  const told = calls.flatMap(({ receipt, error }) => receipt?.id ?? error?.id ?? [])
  const ids = new Set([...handedOver, ...told, ...ledger.map(({ id }) => id)])
  const gets = await inTurns([...ids], async (id) => [id, await mailer.messages.get(id)] as const)
  await inTurns(held, ({ id }) => mailer.resolve(id, handedOver.has(id) ? 'sent' : 'failed'))
  const ended = await inTurns(held, async ({ id }) => (await mailer.messages.get(id))!)
  const resolved = [...ended, ...(await listed(mailer, { status: 'unknown' }))]
  return { calls, taken, ledger, held, gets: new Map(gets), resolved }
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
export async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (let at = 0; at < items.length; at += 20) results.push(...(await Promise.all(items.slice(at, at + 20).map(work))))
  return results
}
