import { withCall } from './call.ts'
import { Deadline } from './deadline.ts'
import type { Delivery } from './delivery.ts'
import { BulkGroup } from './dispatch/bulk.ts'
import { failover, toRoute } from './dispatch/route.ts'
import { MailError } from './errors.ts'
import { domainOf } from './message/address.ts'
import { takeMessage } from './message/reader.ts'
import { checkSendOptions, refused, type SendOptions } from './options.ts'
import type { Parts } from './parts.ts'
import type { TenantContext } from './tenants/context.ts'

/** Makes of a caller's message and options the delivery that goes through accept. */
export type Prepare = (
  message: unknown,
  options: SendOptions,
  kind: 'send' | 'queue',
  group?: object,
) => Promise<Delivery>

/** Loose becomes strict here, once; after it nobody looks at the caller's objects again. */
export function preparing(parts: Parts): Prepare {
  const { clock, ids, read, state } = parts
  return async (input, options, kind, group) => {
    if (state.closed) throw closed()
    const checked = checkSendOptions(options, parts.timeout)
    if (checked.sendAt !== undefined && kind === 'send') {
      throw refused('options.sendAt', 'Is for enqueue, which can wait; send goes now.')
    }
    // Before anything is awaited: what the caller does to its objects afterwards changes nothing (INVARIANTS P6).
    const taken = takeMessage(input, checked.tenant === undefined ? parts.root.limits : undefined)
    const context = await contextFor(parts, checked.tenant)
    const deadline = new Deadline(clock, checked.timeout, checked.signal)
    try {
      const { message, recipients } = await read(taken, {
        limits: context.limits,
        signal: deadline.signal,
        ...(context.from ? { from: context.from } : {}),
      })
      const id = ids()
      const delivery: Delivery = {
        id,
        messageId: `<${id}@${domainOf(message.from.address)}>`,
        createdAt: clock.now(),
        ...(context.tenant === undefined ? {} : { tenant: context.tenant }),
        stream: checked.stream,
        sandbox: checked.sandbox ?? (parts.sandbox || context.mode === 'sandbox'),
        ...(checked.notAfter === undefined ? {} : { notAfter: checked.notAfter }),
        message,
        envelope: Object.freeze({ from: message.from.address, recipients }),
      }
      const route = checked.route === undefined ? undefined : toRoute(checked.route)
      return withCall(delivery, {
        context,
        deadline,
        kind,
        priority: checked.priority,
        onUnknown: checked.onUnknown,
        timeout: checked.timeout,
        suppressed: [],
        taken: [],
        ...(checked.idempotencyKey === undefined ? {} : { idempotencyKey: checked.idempotencyKey }),
        ...(checked.sendAt === undefined ? {} : { sendAt: checked.sendAt }),
        ...(checked.provider === undefined ? {} : { provider: checked.provider }),
        // A queued message keeps names, not functions: the order is drawn now.
        ...(route === undefined
          ? {}
          : { route: kind === 'send' ? route : failover(...route.order(delivery, parts.random)) }),
        ...(group instanceof BulkGroup ? { bulk: group } : {}),
      })
    } catch (error) {
      deadline.end()
      throw error
    }
  }
}

async function contextFor(parts: Parts, tenant: string | undefined): Promise<TenantContext> {
  if (tenant === undefined && parts.requireTenant) {
    throw new MailError(
      'TENANT_REQUIRED',
      'This mailer has tenants: name one in options.tenant, or use mailer.tenant(id).',
    )
  }
  const context = await parts.tenants.resolve(tenant === undefined ? undefined : parts.tenantId(tenant))
  if (context.mode === 'blocked') throw new MailError('TENANT_BLOCKED', 'The tenant is blocked from sending.')
  return context
}

export const closed = () => new MailError('CLOSED', 'The mailer is closed; nothing was sent.', { retryable: false })
