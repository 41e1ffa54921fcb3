import { withCall } from './call.ts'
import type { Delivery } from './delivery.ts'
import { MailError } from './errors.ts'
import { domainOf } from './message/address.ts'
import { takeMessage } from './message/reader.ts'
import { checkSendOptions, refused, type SendOptions } from './options.ts'
import type { Parts } from './parts.ts'
import { BulkGroup } from './routing/bulk.ts'
import { failover, toRoute } from './routing/route.ts'
import type { Awaitable } from './stores/store.ts'
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
  const { clock, ids, read, state, underWay } = parts
  return async (input, options, kind, group) => {
    if (state.closed) throw closed()
    const checked = checkSendOptions(options, parts.timeout)
    if (checked.sendAt !== undefined && kind === 'send') {
      throw refused('options.sendAt', 'Is for enqueue, which can wait; send goes now.')
    }
    // Before anything is awaited: what the caller does to its objects afterwards changes nothing (INVARIANTS P6).
    const taken = takeMessage(input, checked.tenant === undefined ? parts.root.limits : undefined)
    const deadline = underWay.begin(checked.timeout, checked.signal)
    try {
      const resolved = contextFor(parts, checked.tenant)
      const context = resolved instanceof Promise ? await deadline.within(resolved) : resolved
      if (context.mode === 'blocked') throw blocked()
      const { message, recipients } = await read(taken, {
        limits: context.limits,
        signal: deadline.signal,
        ...(context.from ? { from: context.from } : {}),
      })
      deadline.check()
      const id = ids()
      const delivery: Delivery = {
        id,
        messageId: `<${id}@${domainOf(message.from.address)}>`,
        createdAt: clock.now(),
        ...(context.tenant === undefined ? {} : { tenant: context.tenant }),
        stream: checked.stream,
        // A call may ask for the sandbox; it cannot leave the one it is in.
        sandbox: checked.sandbox === true || parts.sandbox || context.mode === 'sandbox',
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
      // A stream cut short by the caller or by close is no fault of the message.
      if (deadline.cause === 'signal' || deadline.cause === 'close') deadline.check()
      throw error
    }
  }
}

/** Stands where a message needs somebody, while only its attachments are read. */
const nobody = 'nobody@sendwright.invalid'

/** Reads the attachments of a message that will be sent many times: a stream ends here, and bytes are copied once. */
export function sharing(parts: Parts): (message: object, options: SendOptions) => Promise<object> {
  return async (message, options) => {
    const { attachments } = message as { attachments?: unknown }
    if (attachments === undefined) return message
    if (parts.state.closed) throw closed()
    const checked = checkSendOptions(options, parts.timeout)
    const taken = takeMessage({ from: nobody, to: nobody, subject: '-', text: '-', attachments })
    const deadline = parts.underWay.begin(checked.timeout, checked.signal)
    try {
      const { limits } = await deadline.within(Promise.resolve(contextFor(parts, checked.tenant)))
      const read = await parts.read(taken, { limits, signal: deadline.signal })
      deadline.check()
      return { ...message, attachments: read.message.attachments }
    } finally {
      deadline.end()
    }
  }
}

function contextFor(parts: Parts, tenant: string | undefined): Awaitable<TenantContext> {
  if (tenant === undefined && parts.requireTenant) {
    throw new MailError(
      'TENANT_REQUIRED',
      'This mailer has tenants: name one in options.tenant, or use mailer.tenant(id).',
    )
  }
  return parts.tenants.resolve(tenant === undefined ? undefined : parts.tenantId(tenant))
}

export const blocked = () => new MailError('TENANT_BLOCKED', 'The tenant is blocked from sending.')

export const closed = () => new MailError('CLOSED', 'The mailer is closed; nothing was sent.', { retryable: false })
