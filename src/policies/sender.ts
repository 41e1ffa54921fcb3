import { callOf } from '../call.ts'
import { MailError } from '../errors.ts'
import { domainOf, mailboxKey } from '../message/address.ts'
import type { Policy } from './policy.ts'

/** Only domains and addresses in `senders` may stand in From (INVARIANTS A7). Without a list, any may. */
export const senderAuthorisation: Policy = (next) => (delivery) => {
  const { senders } = callOf(delivery).context
  const { address } = delivery.message.from
  if (senders && !senders.has(domainOf(address)) && !senders.has(mailboxKey(address) ?? '')) {
    throw new MailError(
      'SENDER_NOT_ALLOWED',
      'from is neither a domain nor an address in `senders`; add it or change from.',
      {
        issues: [{ path: 'from', code: 'sender_not_allowed', message: 'Is not in `senders`.' }],
      },
    )
  }
  return next(delivery)
}
