import { type DialectReply, type DialectRequest, ScriptedHttpServer } from './http-server.ts'
import { parseMail } from './parse-mail.ts'
import { readMailboxes, readText } from './read-mailboxes.ts'
import type { AcceptedMail, ScriptedServer } from './scripted-server.ts'

export interface SesServerOptions {
  /** The one access key that is let in. Default `AKIDEXAMPLE`; signatures are looked at for their form only. */
  readonly accessKeyId?: string
}

/** The send and account operations of the SES v2 API on loopback; give its `url` as `endpoint`. */
export function createSesServer({ accessKeyId = 'AKIDEXAMPLE' }: SesServerOptions = {}): Promise<ScriptedServer> {
  let count = 0
  return ScriptedHttpServer.start({
    handsOver: (method, path) => method === 'POST' && path === sendPath,
    refusal(kind, retryAfter) {
      if (kind === 'refuse') return errorReply(400, 'MessageRejected', 'Email refused by script.')
      if (kind === '4xx') return errorReply(404, 'NotFoundException', 'Configuration set does not exist.')
      if (kind === '5xx') return errorReply(503, 'ServiceUnavailable', 'Service is unavailable.')
      if (kind === 'login') return invalidToken
      const slow = errorReply(429, 'TooManyRequestsException', 'Maximum sending rate exceeded.')
      return { ...slow, headers: { ...slow.headers, 'Retry-After': String(retryAfter) } }
    },
    async answer(request) {
      const stranger = checkSignature(request, accessKeyId)
      if (stranger) return stranger
      if (request.path === accountPath) return reply(200, { SendingEnabled: true, ProductionAccessEnabled: true })
      if (request.path !== sendPath) return errorReply(404, 'UnknownOperationException', 'No such operation.')
      const input = inputOf(request.body)
      if (!input) return errorReply(400, 'BadRequestException', 'The body is no SendEmail request.')
      const providerMessageId = `0102018${(++count).toString(16).padStart(9, '0')}-scripted-000000`
      const mail = await mailOf(input, providerMessageId, request.body)
      return { ...reply(200, { MessageId: providerMessageId }), mails: [mail] }
    },
  })
}

const sendPath = '/v2/email/outbound-emails'
const accountPath = '/v2/email/account'

function reply(status: number, body: object): DialectReply {
  return { status, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
}

function errorReply(status: number, type: string, message: string): DialectReply {
  const { headers, ...rest } = reply(status, { message })
  return { ...rest, headers: { ...headers, 'x-amzn-ErrorType': type, 'x-amzn-RequestId': 'scripted' } }
}

const invalidToken = errorReply(
  403,
  'UnrecognizedClientException',
  'The security token included in the request is invalid.',
)

function checkSignature({ headers }: DialectRequest, accessKeyId: string): DialectReply | undefined {
  const form =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/[a-z0-9-]+\/ses\/aws4_request, SignedHeaders=[a-z0-9;-]+, Signature=[0-9a-f]{64}$/
  const found = form.exec(headers.authorization ?? '')
  if (!found) return errorReply(403, 'MissingAuthenticationTokenException', 'Missing Authentication Token')
  return found[1] === accessKeyId ? undefined : invalidToken
}

interface SendEmailInput {
  readonly FromEmailAddress?: string
  readonly ReplyToAddresses?: readonly string[]
  readonly Destination?: {
    readonly ToAddresses?: readonly string[]
    readonly CcAddresses?: readonly string[]
    readonly BccAddresses?: readonly string[]
  }
  readonly Content: {
    readonly Simple?: SesContent & {
      readonly Subject: { readonly Data: string }
      readonly Body: { readonly Text?: { readonly Data: string }; readonly Html?: { readonly Data: string } }
    }
    readonly Raw?: { readonly Data: string }
    readonly Template?: SesContent & { readonly TemplateName?: string }
  }
  readonly EmailTags?: readonly { readonly Name: string; readonly Value: string }[]
}

interface SesContent {
  readonly Headers?: readonly { readonly Name: string; readonly Value: string }[]
  readonly Attachments?: readonly {
    readonly FileName: string
    readonly RawContent: string
    readonly ContentType?: string
    readonly ContentDisposition?: string
    readonly ContentId?: string
  }[]
}

function inputOf(body: Buffer): SendEmailInput | undefined {
  try {
    const input = JSON.parse(body.toString()) as SendEmailInput
    return input.Content.Simple || input.Content.Raw || input.Content.Template ? input : undefined
  } catch {
    return undefined
  }
}

async function mailOf(input: SendEmailInput, providerMessageId: string, raw: Buffer): Promise<AcceptedMail> {
  const { ToAddresses = [], CcAddresses = [], BccAddresses = [] } = input.Destination ?? {}
  const { Simple, Raw, Template } = input.Content
  const to = await readMailboxes(...ToAddresses)
  const cc = await readMailboxes(...CcAddresses)
  const recipients = [...to, ...cc, ...(await readMailboxes(...BccAddresses))].map(({ address }) => address)
  const labels = labelsOf(input.EmailTags)
  if (Raw) {
    const bytes = Buffer.from(Raw.Data, 'base64')
    return { ...(await parseMail({ raw: bytes, providerMessageId, recipients })), ...labels, raw }
  }
  const { Headers = [], Attachments = [] } = Simple ?? Template ?? {}
  const [from] = await readMailboxes(input.FromEmailAddress ?? '')
  const text = Simple?.Body.Text?.Data
  const html = Simple?.Body.Html?.Data
  return {
    providerMessageId,
    recipients,
    from: from ?? { name: '', address: '' },
    to,
    cc,
    replyTo: await readMailboxes(...(input.ReplyToAddresses ?? [])),
    subject: Simple?.Subject.Data ?? '',
    ...(text === undefined ? {} : { text }),
    ...(html === undefined ? {} : { html }),
    headers: await headersOf(Headers),
    attachments: Attachments.map(({ FileName, RawContent, ContentType, ContentDisposition, ContentId }) => ({
      filename: FileName,
      contentType: ContentType ?? 'application/octet-stream',
      content: Buffer.from(RawContent, 'base64'),
      ...(ContentId === undefined ? {} : { contentId: ContentId }),
      inline: ContentDisposition === 'INLINE',
    })),
    ...labels,
    raw,
  }
}

async function headersOf(fields: NonNullable<SesContent['Headers']>): Promise<AcceptedMail['headers']> {
  const headers: Record<string, string[]> = {}
  for (const { Name, Value } of fields) {
    const name = Name.toLowerCase()
    if (name === 'x-sendwright-id') continue
    headers[name] = [...(headers[name] ?? []), await readText(Value)]
  }
  return headers
}

/** Our id, tags and metadata as they come back in events. */
function labelsOf(fields: SendEmailInput['EmailTags'] = []): Pick<AcceptedMail, 'sendwrightId' | 'tags' | 'metadata'> {
  const tags: string[] = []
  const metadata: Record<string, string> = {}
  let id: string | undefined
  for (const { Name, Value } of fields) {
    const value = Value.startsWith('b64_') ? Buffer.from(Value.slice(4), 'base64url').toString() : Value
    if (Name === 'sendwright_id') id = value
    else if (Name.startsWith('sw_t_')) tags.push(value)
    else if (Name.startsWith('sw_m_')) metadata[Name.slice(5)] = value
  }
  return { ...(id === undefined ? {} : { sendwrightId: id }), tags, metadata }
}
