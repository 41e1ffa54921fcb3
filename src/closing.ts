import { refused } from './options.ts'
import type { Parts } from './parts.ts'
import type { QueueWork } from './queues/work.ts'
import type { Settings } from './settings.ts'
import type { Awaitable } from './stores/store.ts'
import { closeAll } from './tenants/open-providers.ts'

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
  /**
   * Ids of those accepted and not handed over that are lost with this process, of every tenant. Empty with a durable store,
   * which keeps them for the next worker.
   */
  readonly pending: readonly string[]
}

const defaultDeadline = 30_000
/** For hand-overs to settle once they were told to stop. */
const grace = 2_000

/** A second call answers the first one's manifest. @throws MailError `VALIDATION_ERROR` for a deadline that is none. */
export function closing(
  { state }: Settings,
  close: (deadline: number) => Awaitable<Manifest>,
): (options?: CloseOptions) => Promise<Manifest> {
  let closed: Awaitable<Manifest> | undefined
  return async (options) => {
    const { deadline = defaultDeadline } = options ?? {}
    if (!(typeof deadline === 'number' && deadline >= 0)) throw refused('options.deadline', 'Must be 0 ms or more.')
    // At once, whatever `close` has to wait for.
    state.closed = true
    closed ??= close(deadline)
    return closed
  }
}

/** Lets what is under way finish until `deadline`, then gives it up and frees everything. */
export async function closeDown(parts: Parts, queue: QueueWork, deadline: number): Promise<Manifest> {
  const { store, ledger, events, clock, root, openTenants, underWay } = parts
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
  const all = Promise.all([queue.stop(), underWay.idle()])
  await within(parts, left(), all)
  underWay.abort()
  await within(parts, grace, all)
  const pending = volatile ? await pendingIds(parts) : []
  forget()
  await within(parts, grace, Promise.all([closeAll(root.own.values()), openTenants.close(), ledger.lastWords.close()]))
  await within(parts, grace, parts.inFlight.close())
  try {
    await parts.engine?.close()
  } catch (error) {
    ledger.warn(error)
  }
  try {
    await store.close()
  } catch (error) {
    ledger.warn(error)
  }
  return { settled, unknown, pending }
}

/** Waits for `work`, at most `ms`. */
async function within({ clock }: Parts, ms: number, work: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<void>()
  const timer = clock.setTimeout(() => late.resolve(), Math.max(ms, 0))
  await Promise.race([work, late.promise])
  timer.cancel()
}

async function pendingIds({ store, ledger }: Parts): Promise<readonly string[]> {
  try {
    return (await store.waitingIds?.()) ?? []
  } catch (error) {
    ledger.warn(error)
    return []
  }
}
