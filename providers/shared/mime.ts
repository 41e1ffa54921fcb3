import type { Delivery, Mailbox } from '../../src/provider.ts'

const importanceHeaders = {
  high: [
    { key: 'Importance', value: 'high' },
    { key: 'X-Priority', value: '1' },
  ],
  normal: [],
  low: [
    { key: 'Importance', value: 'low' },
    { key: 'X-Priority', value: '5' },
  ],
} as const

/**
 * The delivery's message as MIME bytes: CRLF line ends, no line over 998 octets, header bytes ASCII (a mailbox whose
 * local part is not ASCII excepted). Bcc is never in it. The message id travels as `X-Sendwright-Id`, each tag as an
 * `X-Sendwright-Tag`, metadata as JSON in `X-Sendwright-Metadata`, visible to recipients.
 */
export async function compose(delivery: Delivery): Promise<Buffer> {
  const { default: MailComposer } = await import('nodemailer/lib/mail-composer')
  const { message } = delivery
  const calendar = message.calendar
  const headers = [
    ...message.headers.map(({ name, value }) => ({ key: name, value })),
    { key: 'X-Sendwright-Id', value: delivery.id },
    ...message.tags.map((tag) => ({ key: 'X-Sendwright-Tag', value: tag })),
    ...importanceHeaders[message.importance ?? 'normal'],
  ]
  if (Object.keys(message.metadata).length > 0) {
    headers.push({ key: 'X-Sendwright-Metadata', value: JSON.stringify(message.metadata) })
  }
  const node = new MailComposer({
    from: addressOf(message.from),
    to: message.to.map(addressOf),
    cc: message.cc.map(addressOf),
    replyTo: message.replyTo.map(addressOf),
    subject: message.subject,
    text: message.text,
    html: message.html,
    messageId: delivery.messageId,
    date: new Date(delivery.createdAt),
    inReplyTo: message.inReplyTo,
    references: [...message.references],
    headers,
    attachments: message.attachments.map(({ filename, content, contentType, contentId }) => ({
      filename,
      content: Buffer.from(content.buffer, content.byteOffset, content.byteLength),
      contentType,
      contentTransferEncoding: 'base64' as const,
      contentDisposition: contentId === undefined ? ('attachment' as const) : ('inline' as const),
      cid: contentId,
    })),
    icalEvent: calendar && { method: calendar.method, content: calendar.content, filename: calendar.filename },
    normalizeHeaderKey: headerCase(message.headers.map(({ name }) => name)),
    newline: '\r\n',
    disableFileAccess: true,
    disableUrlAccess: true,
  }).compile()
  return node.build()
}

const addressOf = ({ name, address }: Mailbox) => ({ name: name ?? '', address })

/** Keeps the caller's spelling of custom header names. */
function headerCase(names: readonly string[]): (key: string) => string {
  const spelling = new Map(names.map((name) => [name.toLowerCase(), name]))
  return (key) => spelling.get(key.toLowerCase()) ?? key
}
