import { type Call, withCall } from '../call.ts'
import type { Deadline } from '../deadline.ts'
import type { Delivery } from '../delivery.ts'
import { configurationError, MailError } from '../errors.ts'
import { mailboxKey } from '../message/address.ts'
import type { Parts } from '../parts.ts'
import { blocked } from '../prepare.ts'
import { failover } from '../routing/route.ts'
import type { QueuedWork, Row } from '../stores/store.ts'
import type { TenantContext } from '../tenants/context.ts'

/** The tenant as it is now, or why there is none to send for. */
export async function contextOf({ tenants }: Parts, row: Row, deadline: Deadline): Promise<TenantContext | MailError> {
  try {
    const context = await deadline.within(Promise.resolve(tenants.resolve(row.tenant)))
    return context.mode === 'blocked' ? blocked() : context
  } catch (error) {
    if (deadline.cause !== undefined) return new MailError('SEND_FAILED', 'The tenant’s config did not come in time.')
    return error instanceof MailError ? error : configurationError('The tenant has no valid config.')
  }
}

/** The delivery a queued row stands for. */
export function deliveryOf(row: Row, work: QueuedWork, context: TenantContext, deadline: Deadline): Delivery {
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
