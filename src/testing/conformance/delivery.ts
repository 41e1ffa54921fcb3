import { systemClock } from '../../clock.ts'
import type { Delivery, Recipient } from '../../delivery.ts'
import { messageIds } from '../../ids.ts'
import { mailboxKey } from '../../message/address.ts'
import type { Mailbox, MessageSnapshot } from '../../message/message.ts'
import type { RecipientField } from '../../receipt.ts'

const newId = messageIds(systemClock)

/** A deep-frozen delivery as the mailer passes it on; what is not given is ordinary. */
export function deliveryOf(given: Partial<MessageSnapshot> = {}, recipients?: readonly Recipient[]): Delivery {
  const id = newId()
  const message: MessageSnapshot = {
    from: { name: 'Acme', address: 'hello@acme.example' },
    to: [{ name: 'Ada', address: 'ada@example.com' }],
    cc: [],
    bcc: [],
    replyTo: [],
    subject: 'Your order',
    text: 'It is on its way.',
    attachments: [],
    headers: [],
    tags: [],
    metadata: {},
    references: [],
    providerOptions: {},
    ...given,
  }
  return frozen({
    id,
    messageId: `<${id}@acme.example>`,
    createdAt: Date.now(),
    stream: 'transactional',
    sandbox: false,
    message,
    envelope: { from: message.from.address, recipients: recipients ?? everybody(message) },
    attempt: { number: 1, provider: 'main' },
  })
}

/** The mailboxes of to, cc and bcc as the envelope has them. */
export const everybody = ({ to, cc, bcc }: MessageSnapshot): Recipient[] => [
  ...recipientsOf(to, 'to'),
  ...recipientsOf(cc, 'cc'),
  ...recipientsOf(bcc, 'bcc'),
]

const recipientsOf = (mailboxes: readonly Mailbox[], field: RecipientField): Recipient[] =>
  mailboxes.map(({ address }) => ({ address, key: mailboxKey(address) ?? address.toLowerCase(), field }))

/** Every byte value, and the sequences transfers trip over: dots, line ends, invalid UTF-8. */
export function awkwardBytes(length: number): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8)) % 256)
  bytes.set(Buffer.from('\r\n.\r\n\r\n--=_\n.\r\0\xff\xfe', 'latin1').subarray(0, length))
  return bytes
}

/** Bytes cannot be frozen; the suite compares them instead. */
function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  for (const part of Object.values(value)) frozen(part)
  return Object.freeze(value)
}
