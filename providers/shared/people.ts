import type { Delivery, Mailbox } from '../../src/provider.ts'

/** The recipients of the envelope by field, each with the name the message gives it. */
export interface People {
  readonly to: readonly Mailbox[]
  readonly cc: readonly Mailbox[]
  readonly bcc: readonly Mailbox[]
}

export function peopleOf({ envelope, message }: Delivery): People {
  const named = new Map<string, Mailbox>()
  for (const mailbox of [...message.bcc, ...message.cc, ...message.to]) named.set(mailbox.address, mailbox)
  const people = { to: [] as Mailbox[], cc: [] as Mailbox[], bcc: [] as Mailbox[] }
  for (const { address, field } of envelope.recipients) people[field].push(named.get(address) ?? { address })
  return people
}

/** Whether To and Cc show somebody the envelope does not mail, or nobody is left to stand in To. */
export function showsOthers({ envelope, message }: Delivery): boolean {
  const mailed = new Set(envelope.recipients.map((recipient) => recipient.address))
  return (
    [...message.to, ...message.cc].some((mailbox) => !mailed.has(mailbox.address)) ||
    !envelope.recipients.some((recipient) => recipient.field === 'to')
  )
}
