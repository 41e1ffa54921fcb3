import { withCall } from './call.ts'
import type { Delivery } from './delivery.ts'
import { MailError } from './errors.ts'
import { inTurn } from './in-turn.ts'
import { type Intake, takeIn } from './intake.ts'
import { domainOf } from './message/address.ts'
import type { SendOptions } from './options.ts'
import type { Parts } from './parts.ts'
import { BulkGroup } from './routing/bulk.ts'
import { failover, toRoute } from './routing/route.ts'
import type { Awaitable } from './stores/store.ts'
import type { TenantContext } from './tenants/context.ts'

/** Makes of what was taken in the delivery that goes through accept. */
export type Prepare = (intake: Intake, group?: object) => Promise<Delivery>

/** Loose becomes strict here, once. */
export function preparing(parts: Parts): Prepare {
  const { clock, ids, read } = parts
  return async ({ kind, message: taken, options, deadline }, group) => {
    try {
      const resolved = contextFor(parts, options.tenant)
      const context = resolved instanceof Promise ? await deadline.within(resolved) : resolved
      if (context.mode === 'blocked') throw blocked()
      if (options.transaction && !parts.store.within) throw noTransactions()
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
        stream: options.stream,
        // A call may ask for the sandbox; it cannot leave the one it is in.
        sandbox: options.sandbox === true || parts.sandbox || context.mode === 'sandbox',
        ...(options.notAfter === undefined ? {} : { notAfter: options.notAfter }),
        message,
        envelope: Object.freeze({ from: message.from.address, recipients }),
      }
      const route = options.route === undefined ? undefined : toRoute(options.route)
      return withCall(delivery, {
        context,
        deadline,
        kind,
        priority: options.priority,
        onUnknown: options.onUnknown,
        timeout: options.timeout,
        suppressed: [],
        taken: [],
        ...(options.idempotencyKey === undefined ? {} : { idempotencyKey: options.idempotencyKey }),
        ...(options.sendAt === undefined ? {} : { sendAt: options.sendAt }),
        ...(options.transaction === undefined ? {} : { transaction: inTurn(options.transaction) }),
        ...(options.provider === undefined ? {} : { provider: options.provider }),
        // A queued message keeps names, not functions: the order is drawn now.
        ...(route === undefined
          ? {}
          : { route: kind === 'send' ? route : failover(...route.order(delivery, parts.random)) }),
        ...(group instanceof BulkGroup ? { bulk: group } : {}),
      })
    } catch (error) {
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
  return async (message, given) => {
    const { attachments } = message as { attachments?: unknown }
    if (attachments === undefined) return message
    const standIn = { from: nobody, to: nobody, subject: '-', text: '-', attachments }
    const { message: taken, options, deadline } = takeIn(parts, 'send', standIn, given)
    try {
      const { limits } = await deadline.within(Promise.resolve(contextFor(parts, options.tenant)))
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

const noTransactions = () =>
  new MailError(
    'UNSUPPORTED_FEATURE',
    'options.transaction: This store cannot write in your transaction; postgres({ pool }) can.',
    { issues: [{ path: 'options.transaction', code: 'unsupported', message: 'Use the PostgreSQL store.' }] },
  )

export const blocked = () => new MailError('TENANT_BLOCKED', 'The tenant is blocked from sending.')
