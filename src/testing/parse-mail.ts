import { configurationError } from '../errors.ts'
import type { AcceptedAddress, AcceptedMail } from './scripted-server.ts'

export interface RawMail {
  readonly raw: Uint8Array
  readonly providerMessageId: string
  readonly recipients: readonly string[]
  readonly envelopeFrom?: string
}

/** Headers with a field of their own in `AcceptedMail`, and those about MIME itself. */
const ownFields: ReadonlySet<string> = new Set([
  'from',
  'to',
  'cc',
  'reply-to',
  'subject',
  'message-id',
  'date',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
  'content-disposition',
  'x-sendwright-id',
  'x-sendwright-tag',
  'x-sendwright-metadata',
])

/**
 * MIME bytes as a reader sees them, through `postal-mime`, which shares no code with what composes them. Throws
 * `CONFIGURATION_ERROR` naming the package when it is not installed.
 */
export async function parseMail({ raw, providerMessageId, recipients, envelopeFrom }: RawMail): Promise<AcceptedMail> {
  const { default: PostalMime, decodeWords } = await loadParser()
  const mail = await PostalMime.parse(raw, { forceRfc822Attachments: true })
  const headers: Record<string, string[]> = Object.create(null)
  for (const { key, value } of mail.headers) {
    headers[key] ??= []
    headers[key].push(decodeWords(value))
  }
  const isCalendar = ({ method }: { readonly method?: string | undefined }) => method !== undefined
  const calendar = mail.attachments.find(isCalendar)
  const metadata = headers['x-sendwright-metadata']?.[0]
  const id = headers['x-sendwright-id']?.[0]
  return {
    providerMessageId,
    ...(id === undefined ? {} : { sendwrightId: id }),
    recipients,
    ...(envelopeFrom === undefined ? {} : { envelopeFrom }),
    from: mailboxesOf(mail.from === undefined ? [] : [mail.from])[0] ?? { name: '', address: '' },
    to: mailboxesOf(mail.to),
    cc: mailboxesOf(mail.cc),
    replyTo: mailboxesOf(mail.replyTo),
    subject: mail.subject ?? '',
    ...(mail.text === undefined ? {} : { text: mail.text }),
    ...(mail.html === undefined ? {} : { html: mail.html }),
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => !ownFields.has(name))),
    attachments: mail.attachments
      .filter((part) => !isCalendar(part))
      .map(({ filename, mimeType, content, contentId, disposition }) => ({
        ...(filename === null ? {} : { filename }),
        contentType: mimeType,
        content: bytesOf(content),
        ...(contentId === undefined ? {} : { contentId: contentId.replace(/^<|>$/g, '') }),
        inline: disposition === 'inline',
      })),
    ...(calendar?.method === undefined
      ? {}
      : { calendar: { method: calendar.method, content: Buffer.from(bytesOf(calendar.content)).toString() } }),
    tags: headers['x-sendwright-tag'] ?? [],
    metadata: metadata === undefined ? {} : (JSON.parse(metadata) as Record<string, string>),
    raw,
  }
}

async function loadParser(): Promise<typeof import('postal-mime')> {
  try {
    return await import('postal-mime')
  } catch {
    throw configurationError('reading accepted mail needs the package postal-mime: npm install --save-dev postal-mime')
  }
}

type ParsedAddress = AcceptedAddress & { readonly group?: undefined }

function mailboxesOf(
  addresses: readonly (ParsedAddress | { readonly name: string; readonly group: readonly AcceptedAddress[] })[] = [],
): AcceptedAddress[] {
  return addresses
    .flatMap((entry) => (entry.group === undefined ? [entry] : entry.group))
    .map(({ name, address }) => ({ name, address }))
}

const bytesOf = (content: ArrayBuffer | Uint8Array | string) =>
  typeof content === 'string' ? Buffer.from(content) : new Uint8Array(content)
