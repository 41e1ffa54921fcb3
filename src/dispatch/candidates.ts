import { callOf } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import { type Issue, MailError } from '../errors.ts'
import type { Provider } from '../provider.ts'
import { lookAt } from '../routing/route.ts'
import { uncarried } from './carry.ts'

export interface Candidate {
  readonly name: string
  readonly provider: Provider
  /** What of the delivery it cannot carry; empty when it can. */
  readonly issues: readonly Issue[]
}

/**
 * The providers this delivery may go through, in order. Without `random` it only looks: no route takes a turn.
 *
 * @throws MailError `NO_PROVIDER` when nothing is configured or a name on the route is unknown.
 */
export function candidates(delivery: Delivery, random?: () => number): readonly Candidate[] {
  const { context, provider, route = context.route } = callOf(delivery)
  const names =
    provider !== undefined ? [provider] : route && (random ? route.order(delivery, random) : lookAt(route, delivery))
  if (!names || names.length === 0) {
    throw new MailError(
      'NO_PROVIDER',
      context.tenant === undefined
        ? 'The mailer has no provider; give createMailer at least one in `providers`.'
        : 'The tenant has neither providers of its own nor a route that names the mailer’s.',
    )
  }
  return names.map((name) => {
    const found = context.provider(name)
    if (!found) throw new MailError('NO_PROVIDER', 'The route names a provider that is not in `providers`.')
    return { name, provider: found, issues: uncarried(found, delivery, delivery.message.providerOptions[name]) }
  })
}
