import { callOf } from '../call.ts'
import { MailError } from '../errors.ts'
import type { Policy } from './policy.ts'

/** Counts mailboxes that would really be handed over, each once, over to, cc and bcc (INVARIANTS P4). */
export const recipientLimit: Policy = (next) => (delivery) => {
  const limit = callOf(delivery).context.limits.recipients
  const count = delivery.envelope.recipients.length
  if (count > limit) {
    throw new MailError(
      'RECIPIENT_LIMIT_EXCEEDED',
      `The message is for ${count} mailboxes; at most ${limit} are allowed. Send several messages, or use sendMerge.`,
      {
        issues: [
          { path: 'to', code: 'too_many', message: `${count} mailboxes over to, cc and bcc; at most ${limit}.` },
        ],
      },
    )
  }
  return next(delivery)
}
