import type { Deadline } from './deadline.ts'
import { MailError } from './errors.ts'
import { type TakenMessage, takeMessage } from './message/take.ts'
import { type CheckedSendOptions, checkSendOptions, refused, type SendOptions } from './options.ts'
import type { Settings } from './settings.ts'

/** One call as the caller made it: from here on nobody looks at the caller's objects again. */
export interface Intake {
  readonly kind: 'send' | 'queue'
  readonly message: TakenMessage
  readonly options: CheckedSendOptions
  /** Counts as a call under way until its `end`. */
  readonly deadline: Deadline
}

/**
 * Takes a call in. Synchronous, and before anything is awaited: what the caller does to its objects afterwards changes
 * nothing (INVARIANTS P6).
 *
 * @throws MailError `CLOSED`, `VALIDATION_ERROR`, `UNSUPPORTED_FEATURE`
 */
export function takeIn(
  { state, timeout, root, underWay }: Settings,
  kind: Intake['kind'],
  message: unknown,
  given: SendOptions,
): Intake {
  if (state.closed) throw closed()
  const options = checkSendOptions(given, timeout)
  if (options.sendAt !== undefined && kind === 'send') {
    throw refused('options.sendAt', 'Is for enqueue, which can wait; send goes now.')
  }
  if (options.transaction !== undefined && kind === 'send') {
    throw refused('options.transaction', 'Is for enqueue; a mail that was sent cannot be rolled back.')
  }
  const taken = takeMessage(message, options.tenant === undefined ? root.limits : undefined)
  return { kind, message: taken, options, deadline: underWay.begin(options.timeout, options.signal) }
}

export const closed = () => new MailError('CLOSED', 'The mailer is closed; nothing was sent.', { retryable: false })
