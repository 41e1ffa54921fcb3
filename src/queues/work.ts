import { type Call, withCall } from '../call.ts'
import type { Deadline } from '../deadline.ts'
import type { Delivery } from '../delivery.ts'
import { configurationError, MailError } from '../errors.ts'
import type { Entry } from '../ledger/entry.ts'
import { abandoned, ended, freesKey } from '../ledger/row.ts'
import { mailboxKey } from '../message/address.ts'
import type { Parts } from '../parts.ts'
import { refund } from '../policies/quota.ts'
import { blocked } from '../prepare.ts'
import type { Receipt } from '../receipt.ts'
import { failover } from '../routing/route.ts'
import type { Held, QueuedWork, Row } from '../stores/store.ts'
import type { TenantContext } from '../tenants/context.ts'
import { LocalQueue } from './local-queue.ts'

export interface Worker {
  /** Takes nothing more; what is under way goes on. */
  stop(): void
}

export interface QueueWork {
  readonly working: boolean
  work(concurrency: number): Worker
  /** Tells the worker, if there is one, that a row was accepted. */
  wake(): void
  /** Goes on until nothing is due any more, at most `ms`. */
  drain(ms: number): Promise<void>
  /** Takes nothing more; resolves when what is under way has ended. */
  stop(): Promise<void>
}

const whenTenantsFail = 60_000

/** The dispatching half for queued messages: the same `finish` a direct send uses. */
export function queueWork(parts: Parts, finish: (entry: Entry) => Promise<Receipt>): QueueWork {
  const { ledger, clock, store } = parts
  let local: LocalQueue | undefined
  /** Somebody stopped the worker: only `work` starts it again. */
  let paused = false

  const run = async (held: Held): Promise<void> => {
    try {
      await runHeld(parts, held, finish)
    } catch (error) {
      // The row tells what became of the message; nobody waits for this promise.
      if (!(error instanceof MailError) || error.receipt === undefined) ledger.warn(error, held.row.id)
    }
  }
  const giveBack = async (held: Held): Promise<void> => {
    const row = held.row.status === 'dispatching' ? abandoned(held.row) : held.row
    await settleHeld(parts, held, row).catch((error) => ledger.warn(error, row.id))
  }
  const work: QueueWork['work'] = (concurrency) => {
    paused = false
    local ??= new LocalQueue({
      ledger,
      clock,
      run,
      giveBack,
      concurrency,
      timeout: parts.timeout,
      holdsProcess: store.guarantees.durability === 'none',
    })
    const started = local
    started.wake()
    return {
      stop() {
        void started.stop()
        if (local !== started) return
        local = undefined
        paused = true
      },
    }
  }
  return {
    get working() {
      return local !== undefined
    },
    work,
    wake() {
      if (local) local.wake()
      else if (parts.work && !paused && !parts.state.closed) work(parts.concurrency)
    },
    drain: (ms) => local?.drain(ms) ?? Promise.resolve(),
    async stop() {
      const stopped = local?.stop()
      local = undefined
      await stopped
    },
  }
}

/** Writes a row that was taken and is not worked on; one nobody will dispatch again gives its quota back. */
export async function settleHeld({ ledger, store }: Parts, held: Held, row: Row, delay = 0): Promise<void> {
  if (!(await ledger.settleHeld(held, row, { release: freesKey(row), remove: !row.accepted, delay }))) return
  if (!freesKey(row)) return
  const untouched = row.recipients.filter(({ status }) => status === 'failed').length
  await refund(store, held.row.work?.taken ?? [], untouched)
}

async function runHeld(parts: Parts, held: Held, finish: (entry: Entry) => Promise<Receipt>): Promise<void> {
  const { ledger, clock, underWay } = parts
  const row = held.row.status === 'dispatching' ? abandoned(held.row) : held.row
  const { work } = row
  if ((row.status !== 'queued' && row.status !== 'scheduled') || !work) return settleHeld(parts, held, row)
  const deadline = underWay.begin(work.timeout)
  try {
    const context = await contextOf(parts, row, deadline)
    if (context instanceof MailError) {
      const lastError = { code: context.code, reason: context.message }
      if (!context.retryable) return await settleHeld(parts, held, ended(row, 'failed', lastError))
      const later: Row = { ...row, status: 'queued', dueAt: clock.now() + whenTenantsFail, lastError }
      return await settleHeld(parts, held, later, whenTenantsFail)
    }
    const entry = ledger.adopt({ row, fence: held.fence }, deliveryOf(row, work, context, deadline))
    await finish(entry)
  } finally {
    deadline.end()
  }
}

/** The tenant as it is now, or why there is none to send for. */
async function contextOf({ tenants }: Parts, row: Row, deadline: Deadline): Promise<TenantContext | MailError> {
  try {
    const context = await deadline.within(Promise.resolve(tenants.resolve(row.tenant)))
    return context.mode === 'blocked' ? blocked() : context
  } catch (error) {
    if (deadline.cause !== undefined) return new MailError('SEND_FAILED', 'The tenant’s config did not come in time.')
    return error instanceof MailError ? error : configurationError('The tenant has no valid config.')
  }
}

/** The delivery a queued row stands for. */
function deliveryOf(row: Row, work: QueuedWork, context: TenantContext, deadline: Deadline): Delivery {
  const { message } = work
  const facts: Call = {
    context,
    deadline,
    kind: 'queue',
    priority: row.priority,
    onUnknown: work.onUnknown,
    timeout: work.timeout,
    suppressed: [],
    taken: work.taken,
    ...(work.provider === undefined ? {} : { provider: work.provider }),
    ...(work.route === undefined ? {} : { route: failover(...work.route) }),
  }
  const mailed = row.recipients.filter(({ status }) => status !== 'suppressed')
  const delivery: Delivery = {
    id: row.id,
    messageId: row.messageId,
    createdAt: row.createdAt,
    ...(row.tenant === undefined ? {} : { tenant: row.tenant }),
    stream: row.stream,
    sandbox: row.sandbox,
    ...(row.notAfter === undefined ? {} : { notAfter: row.notAfter }),
    message,
    envelope: Object.freeze({
      from: message.from.address,
      recipients: Object.freeze(
        mailed.map(({ address, field }) => ({ address, field, key: mailboxKey(address) ?? address })),
      ),
    }),
  }
  return withCall(delivery, facts)
}
