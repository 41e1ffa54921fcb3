import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Policy } from './policy.ts'

/** Nothing is handed over at or after `notAfter`: a login code is worthless late (INVARIANTS D5). */
export const notAfter =
  (clock: Clock): Policy =>
  (next) =>
  (delivery) => {
    if (delivery.notAfter !== undefined && clock.now() >= delivery.notAfter) {
      throw new MailError('EXPIRED', 'notAfter passed before the message could be handed over.', { id: delivery.id })
    }
    return next(delivery)
  }
