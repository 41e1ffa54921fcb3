import type { Delivery, Envelope, Recipient } from '../../src/delivery.ts'
import type { Mailbox, MessageSnapshot } from '../../src/message/message.ts'
import type { RecipientField } from '../../src/receipt.ts'

export interface DeliveryInput extends Partial<Omit<Delivery, 'message' | 'envelope'>> {
  readonly message?: Partial<MessageSnapshot>
  /** Default: from, and everybody in to, cc and bcc. */
  readonly envelope?: Partial<Envelope>
}

let made = 0

/** A delivery as the mailer would pass it to a provider; everything not given is ordinary. */
export function deliveryOf({ message: given = {}, envelope, ...rest }: DeliveryInput = {}): Delivery {
  made++
  const message: MessageSnapshot = {
    from: { name: 'Acme', address: 'hello@acme.example' },
    to: [{ name: 'Ada', address: 'ada@example.com' }],
    cc: [],
    bcc: [],
    replyTo: [],
    subject: 'Your order',
    ...(given.html === undefined ? { text: 'It is on its way.' } : {}),
    attachments: [],
    headers: [],
    tags: [],
    metadata: {},
    references: [],
    providerOptions: {},
    ...given,
  }
  const number = made.toString(16).padStart(12, '0')
  return {
    id: `msg_01900000-0000-7000-8000-${number}`,
    messageId: `<${number}@acme.example>`,
    createdAt: Date.UTC(2026, 0, 2, 3, 4, 5),
    stream: 'transactional',
    sandbox: false,
    message,
    envelope: {
      from: envelope?.from ?? message.from.address,
      recipients: envelope?.recipients ?? [
        ...recipientsOf(message.to, 'to'),
        ...recipientsOf(message.cc, 'cc'),
        ...recipientsOf(message.bcc, 'bcc'),
      ],
    },
    ...rest,
  }
}

const recipientsOf = (mailboxes: readonly Mailbox[], field: RecipientField): Recipient[] =>
  mailboxes.map(({ address }) => ({ address, key: address.toLowerCase(), field }))
