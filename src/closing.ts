import { callOf } from './call.ts'
import type { Parts } from './parts.ts'
import type { QueueWork } from './queues/work.ts'
import type { MailStore } from './stores/store.ts'

export interface CloseOptions {
  /** Milliseconds to let what is under way finish. Default 30,000. */
  readonly deadline?: number
}

/** What `close` leaves behind. */
export interface Manifest {
  /** Messages that reached a final state since `close` was called. */
  readonly settled: number
  /** Ids of those given up after their hand-over had begun: they may have been sent. */
  readonly unknown: readonly string[]
  /** Ids of those accepted and not handed over: safe in a durable store, lost with this one otherwise. */
  readonly pending: readonly string[]
}

const defaultDeadline = 30_000
/** For hand-overs to settle once they were told to stop. */
const grace = 2_000

/** A second call answers the first one's manifest. */
export function closing(parts: Parts, queue: QueueWork): (options?: CloseOptions) => Promise<Manifest> {
  let closed: Promise<Manifest> | undefined
  return (options = {}) => {
    closed ??= close(parts, queue, options.deadline ?? defaultDeadline)
    return closed
  }
}

async function close(parts: Parts, queue: QueueWork, deadline: number): Promise<Manifest> {
  const { ledger, store, events, clock, root, openTenants, state } = parts
  state.closed = true
  let settled = 0
  const unknown: string[] = []
  const forget = events.on('settled', ({ id, status }) => {
    if (status === 'unknown') unknown.push(id)
    else settled++
  })
  const volatile = store.guarantees.durability === 'none'
  const endsAt = clock.monotonic() + deadline
  const left = () => endsAt - clock.monotonic()
  // A queue that dies with the process is worth emptying; what a durable store holds is safe where it is.
  if (volatile && queue.working) await queue.drain(left())
  queue.stop()
  await until(parts, left())
  for (const entry of ledger.open.values()) callOf(entry.delivery).deadline.abort('close')
  await until(parts, grace)
  const pending = volatile ? await pendingIds(store) : []
  forget()
  await Promise.allSettled([...root.own.values()].map((provider) => provider.close?.()))
  await openTenants.close()
  await store.close()
  return { settled, unknown, pending }
}

/** Waits for everything this process works on, at most `ms`. */
async function until({ ledger, clock }: Parts, ms: number): Promise<void> {
  if (ledger.open.size === 0 || ms <= 0) return
  const late = Promise.withResolvers<void>()
  const timer = clock.setTimeout(() => late.resolve(), ms)
  const all = Promise.all([...ledger.open.values()].map((entry) => entry.finished()))
  await Promise.race([all, late.promise])
  timer.cancel()
}

async function pendingIds(store: MailStore): Promise<string[]> {
  const ids: string[] = []
  if (!store.guarantees.list) return ids
  for (const status of ['queued', 'scheduled'] as const) {
    let cursor: string | undefined
    do {
      const page = await store.list({ index: { status }, limit: 1_000, ...(cursor === undefined ? {} : { cursor }) })
      ids.push(...page.items.map(({ id }) => id))
      cursor = page.cursor
    } while (cursor !== undefined)
  }
  return ids
}
