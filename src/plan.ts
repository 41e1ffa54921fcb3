import { callOf } from './call.ts'
import type { Delivery } from './delivery.ts'
import { candidates } from './dispatch/candidates.ts'
import { type Issue, MailError, type MailErrorCode } from './errors.ts'
import { encodedSize } from './message/size.ts'
import { compose, type Policy } from './policies/policy.ts'
import { hitsAmong, lookAt, withoutSuppressed } from './policies/suppression.ts'
import type { Receipt, RecipientField } from './receipt.ts'
import type { MailStore, Window } from './stores/store.ts'

/** What `send` would do with a message, found without handing over, counting or keeping anything. */
export interface Plan {
  /** `refuse` with `refusal` saying why. */
  readonly verdict: 'send' | 'sandbox' | 'refuse'
  readonly refusal?: { readonly code: MailErrorCode; readonly message: string; readonly issues: readonly Issue[] }
  /** The provider that would be asked first. */
  readonly provider?: string
  /** Every provider of the route in the order it would be tried, and what it could not carry. */
  readonly route: readonly {
    readonly provider: string
    readonly usable: boolean
    readonly issues: readonly Issue[]
    /** Milliseconds until its breaker lets mail through again. */
    readonly resting?: number
  }[]
  /** Mailboxes that would be handed over. */
  readonly recipients: readonly { readonly address: string; readonly field: RecipientField }[]
  readonly removed: readonly { readonly address: string; readonly field: RecipientField; readonly reason: string }[]
  /** What would be taken from each limit. */
  readonly limits: readonly {
    readonly name: 'quota' | 'provider'
    readonly cost: number
    readonly windows: readonly Window[]
  }[]
  /** About how many bytes the encoded message takes. */
  readonly bytes: number
}

/** Runs the checks of accept that only look. Custom policies are not run: nobody knows what they do. */
export async function planOf(delivery: Delivery, checks: readonly Policy[], store: MailStore): Promise<Plan> {
  const { context } = callOf(delivery)
  const { keys, scopes } = lookAt(delivery)
  const hits = hitsAmong(delivery, await store.suppress.hasMany(delivery.tenant, keys, scopes))
  const removed = delivery.envelope.recipients
    .filter(({ address }) => hits.has(address))
    .map(({ address, field }) => ({ address, field, reason: hits.get(address)!.reason }))

  let left = delivery
  let refusal: Plan['refusal']
  try {
    await compose(checks, nothing)(delivery)
    left = withoutSuppressed(delivery, hits)
  } catch (error) {
    if (!(error instanceof MailError)) throw error
    refusal = { code: error.code, message: error.message, issues: error.issues }
  }
  const route = routeOf(left)
  const first =
    route.find(({ usable, resting }) => usable && resting === undefined) ?? route.find(({ usable }) => usable)
  const cost = left.envelope.recipients.length
  const budget = first && context.budget(first.provider)
  return {
    verdict: refusal ? 'refuse' : delivery.sandbox ? 'sandbox' : 'send',
    ...(refusal ? { refusal } : {}),
    ...(first && !refusal ? { provider: first.provider } : {}),
    route,
    recipients: left.envelope.recipients.map(({ address, field }) => ({ address, field })),
    removed,
    limits: [
      ...context.quotas.map(({ windows }) => ({ name: 'quota', cost, windows }) as const),
      ...(budget ? [{ name: 'provider', cost, windows: budget.windows } as const] : []),
    ],
    bytes: encodedSize(left.message),
  }
}

function routeOf(delivery: Delivery): Plan['route'] {
  const { context } = callOf(delivery)
  try {
    return candidates(delivery).map(({ name, issues }) => {
      const resting = context.breaker(name).wait
      return { provider: name, usable: issues.length === 0, issues, ...(resting > 0 ? { resting } : {}) }
    })
  } catch (error) {
    if (error instanceof MailError) return []
    throw error
  }
}

const nothing = async (delivery: Delivery): Promise<Receipt> => ({
  id: delivery.id,
  status: 'queued',
  messageId: delivery.messageId,
  from: delivery.message.from.address,
  subject: delivery.message.subject,
  recipients: [],
  attempts: [],
  sandbox: delivery.sandbox,
  replayed: false,
  createdAt: new Date(delivery.createdAt).toISOString(),
})
