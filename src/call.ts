import type { Deadline } from './deadline.ts'
import type { Delivery, Recipient } from './delivery.ts'
import { configurationError } from './errors.ts'
import type { BulkGroup } from './routing/bulk.ts'
import type { Route } from './routing/route.ts'
import type { Found, RowRecipient, Taken, Transaction } from './stores/store.ts'
import type { TenantContext } from './tenants/context.ts'

const call = Symbol('call')

/** What the mailer knows about a delivery beside what policies see. It travels with every copy of the delivery. */
export interface Call {
  readonly context: TenantContext
  readonly deadline: Deadline
  /** `send` dispatches in this call; `queue` leaves it to a worker. */
  readonly kind: 'send' | 'queue'
  readonly idempotencyKey?: string
  /** What is queued is written in it. */
  readonly transaction?: Transaction
  /** Wall time before which the queue leaves it alone. */
  readonly sendAt?: number
  readonly priority: number
  /** Only this provider, or this route instead of the tenant's. */
  readonly provider?: string
  readonly route?: Route
  readonly onUnknown: 'hold' | 'resend'
  readonly timeout: number
  /** Set for a merge: hand-overs of one group may leave together. */
  readonly bulk?: BulkGroup
  /** What the claim of the key found out about suppressions on the way. */
  readonly found?: Found
  /** Those accept took out of the envelope. */
  readonly suppressed: readonly RowRecipient[]
  /** Set when no provider has room: this attempt waits for its provider's budget. */
  readonly patient?: boolean
  /** What accept took from quotas. */
  readonly taken: readonly Taken[]
}

type Called = Delivery & { readonly [call]?: Call }

export function withCall(delivery: Delivery, facts: Call): Delivery {
  return Object.freeze({ ...delivery, [call]: facts } as Delivery)
}

export function changeCall(delivery: Delivery, change: Partial<Call>): Delivery {
  return withCall(delivery, { ...callOf(delivery), ...change })
}

/** @throws MailError `CONFIGURATION_ERROR` when a custom policy made a delivery from nothing. */
export function callOf(delivery: Delivery): Call {
  const facts = (delivery as Called)[call]
  if (!facts) {
    throw configurationError(
      'A policy must pass on the delivery it was given, or a copy: next({ ...delivery, message }).',
    )
  }
  return facts
}

/** The delivery for fewer people. With `hide`, those left out vanish from To and Cc too. */
export function narrow(delivery: Delivery, keep: (recipient: Recipient) => boolean, hide: boolean): Delivery {
  const recipients = delivery.envelope.recipients.filter(keep)
  if (recipients.length === delivery.envelope.recipients.length) return delivery
  const narrowed: Delivery = {
    ...delivery,
    envelope: Object.freeze({ ...delivery.envelope, recipients: Object.freeze(recipients) }),
  }
  if (!hide) return Object.freeze(narrowed)
  const gone = new Set(
    delivery.envelope.recipients.filter((recipient) => !keep(recipient)).map(({ address }) => address),
  )
  const left = <T extends { address: string }>(list: readonly T[]) =>
    Object.freeze(list.filter(({ address }) => !gone.has(address)))
  const { message } = delivery
  return Object.freeze({
    ...narrowed,
    message: Object.freeze({ ...message, to: left(message.to), cc: left(message.cc), bcc: left(message.bcc) }),
  })
}
