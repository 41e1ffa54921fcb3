import { type Call, withCall } from '../call.ts'
import { Deadline } from '../deadline.ts'
import type { Delivery } from '../delivery.ts'
import { failover } from '../dispatch/route.ts'
import { MailError } from '../errors.ts'
import type { Entry } from '../ledger/entry.ts'
import { abandoned } from '../ledger/row.ts'
import { mailboxKey } from '../message/address.ts'
import type { Parts } from '../parts.ts'
import type { Receipt } from '../receipt.ts'
import type { Held, QueuedWork, Row } from '../stores/store.ts'
import type { TenantContext } from '../tenants/context.ts'
import { LocalQueue } from './local-queue.ts'

export interface Worker {
  /** Takes nothing more; what is under way goes on. */
  stop(): void
}

export interface QueueWork {
  readonly working: boolean
  work(options?: { readonly concurrency?: number }): Worker
  /** Tells the worker, if there is one, that a row was accepted. */
  wake(): void
  /** Goes on until nothing is due any more, at most `ms`. */
  drain(ms: number): Promise<void>
  stop(): void
}

const whenTenantsFail = 60_000

/** The dispatching half for queued messages: the same `finish` a direct send uses. */
export function queueWork(parts: Parts, finish: (entry: Entry) => Promise<Receipt>): QueueWork {
  const { ledger, clock, store } = parts
  let local: LocalQueue | undefined

  const run = async (held: Held): Promise<void> => {
    try {
      await runHeld(parts, held, finish)
    } catch (error) {
      // The row tells what became of the message; nobody waits for this promise.
      if (!(error instanceof MailError) || error.receipt === undefined) ledger.warn(error, held.row.id)
    }
  }
  const work: QueueWork['work'] = ({ concurrency = parts.concurrency } = {}) => {
    local ??= new LocalQueue({
      ledger,
      clock,
      run,
      concurrency,
      timeout: parts.timeout,
      holdsProcess: store.guarantees.durability === 'none',
    })
    const started = local
    started.wake()
    return {
      stop() {
        started.stop()
        if (local === started) local = undefined
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
      else if (parts.work && !parts.state.closed) work()
    },
    drain: (ms) => local?.drain(ms) ?? Promise.resolve(),
    stop() {
      local?.stop()
      local = undefined
    },
  }
}

async function runHeld(parts: Parts, held: Held, finish: (entry: Entry) => Promise<Receipt>): Promise<void> {
  const { ledger, tenants, clock } = parts
  const row = held.row.status === 'dispatching' ? abandoned(held.row) : held.row
  const { work } = row
  if (row.status === 'unknown' || row.status === 'failed' || !work) {
    await ledger.settleHeld(held, row, { release: row.status === 'failed' })
    return
  }
  let context: TenantContext
  try {
    context = await tenants.resolve(row.tenant)
    if (context.mode === 'blocked') throw new MailError('TENANT_BLOCKED', 'The tenant is blocked from sending.')
  } catch (error) {
    const failure =
      error instanceof MailError ? error : new MailError('CONFIGURATION_ERROR', 'The tenant has no valid config.')
    const lastError = { code: failure.code, reason: failure.message }
    if (failure.retryable) {
      await ledger.settleHeld(held, { ...row, status: 'queued', dueAt: clock.now() + whenTenantsFail, lastError })
    } else await ledger.settleHeld(held, { ...row, status: 'failed', lastError }, { release: true })
    return
  }
  const deadline = new Deadline(clock, work.timeout)
  try {
    await finish(ledger.adopt({ row, fence: held.fence }, deliveryOf(row, work, context, deadline)))
  } finally {
    deadline.end()
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
