import { callOf } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import { MailError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { PaceChange } from '../routing/pace.ts'
import type { Policy } from './policy.ts'

/** Longer than this nobody waits here: another provider may be free, and the queue has patience. */
const longest = 1_000

/** Slows down for a provider that throttles us, before it has to say so again and again. */
export const pacing =
  (events: Events): Policy =>
  (next) =>
  async (delivery) => {
    const { context, deadline, patient = false } = callOf(delivery)
    const { provider } = delivery.attempt!
    const pace = context.pace(provider)
    const { wait } = pace
    // A call whose time is up although nothing slows it down is not throttled.
    if (wait > 0 && ((wait > longest && !patient) || wait >= deadline.remaining)) throw tooFast(provider, wait)
    pace.take()
    if (wait > 0) {
      await deadline.wait(wait)
      deadline.check()
    }
    try {
      const receipt = await next(delivery)
      tell(events, delivery, pace.passed())
      return receipt
    } catch (error) {
      if (error instanceof MailError && error.kind === 'throttled')
        tell(events, delivery, pace.throttled(error.retryAfter))
      throw error
    }
  }

function tell(events: Events, { tenant, attempt }: Delivery, change: PaceChange): void {
  if (change === undefined) return
  const { provider } = attempt!
  events.emit('health', { provider, state: change, kind: 'throttled', ...(tenant === undefined ? {} : { tenant }) })
}

const tooFast = (provider: string, retryAfter: number) =>
  new MailError(
    'SEND_LIMIT_EXCEEDED',
    `Provider '${provider}' throttles; its next place is free in ${Math.ceil(retryAfter)} ms.`,
    { retryable: true, retryAfter },
  )
