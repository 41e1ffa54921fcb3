import { type DialectReply, ScriptedHttpServer } from './http-server.ts'
import { readText } from './read-mailboxes.ts'
import type { AcceptedAddress, AcceptedMail, ScriptedServer } from './scripted-server.ts'

export interface SendGridServerOptions {
  /** The one key that is let in. Default `SG.scripted`. */
  readonly apiKey?: string
}

/** Mail Send and the scopes of SendGrid's v3 API on loopback; give its `url` as `endpoint`. */
export function createSendGridServer({ apiKey = 'SG.scripted' }: SendGridServerOptions = {}): Promise<ScriptedServer> {
  let count = 0
  return ScriptedHttpServer.start({
    handsOver: (method, path) => method === 'POST' && path === sendPath,
    refusal(kind, retryAfter) {
      if (kind === 'refuse') return errorReply(400, 'The content is refused by script.', 'content.0.value')
      if (kind === '4xx') return errorReply(404, 'not found')
      if (kind === '5xx') return errorReply(503, 'service unavailable')
      if (kind === 'login') return strange
      return { ...errorReply(429, 'too many requests'), headers: { 'Retry-After': String(retryAfter) } }
    },
    async answer({ path, headers, body }) {
      if (headers.authorization !== `Bearer ${apiKey}`) return strange
      if (path === '/v3/scopes') return { status: 200, body: JSON.stringify({ scopes: ['mail.send'] }) }
      if (path !== sendPath) return errorReply(404, 'not found')
      const request = requestOf(body)
      if (!request) return errorReply(400, 'Bad Request')
      if (request.mail_settings?.sandbox_mode?.enable) return { status: 200 }
      const id = `scripted.${++count}`
      const mails = await Promise.all(request.personalizations.map((group) => mailOf(request, group, id, body)))
      return { status: 202, headers: { 'X-Message-Id': id }, mails }
    },
  })
}

const sendPath = '/v3/mail/send'

function errorReply(status: number, message: string, field: string | null = null): DialectReply {
  return {
    status,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ errors: [{ message, field, help: null }] }),
  }
}

const strange = errorReply(401, 'The provided authorization grant is invalid, expired, or revoked')

interface Person {
  readonly email: string
  readonly name?: string
}

interface Personal {
  readonly headers?: Readonly<Record<string, string>>
  readonly custom_args?: Readonly<Record<string, string>>
}

interface Personalization extends Personal {
  readonly to: readonly Person[]
  readonly cc?: readonly Person[]
  readonly bcc?: readonly Person[]
}

interface MailSend extends Personal {
  readonly personalizations: readonly Personalization[]
  readonly from: Person
  readonly reply_to?: Person
  readonly reply_to_list?: readonly Person[]
  readonly subject?: string
  readonly content?: readonly { readonly type: string; readonly value: string }[]
  readonly attachments?: readonly {
    readonly content: string
    readonly filename: string
    readonly type?: string
    readonly disposition?: string
    readonly content_id?: string
  }[]
  readonly categories?: readonly string[]
  readonly mail_settings?: { readonly sandbox_mode?: { readonly enable?: boolean } }
}

function requestOf(body: Buffer): MailSend | undefined {
  try {
    const request = JSON.parse(body.toString()) as MailSend
    return request.from.email && request.personalizations.every(({ to }) => to.length > 0) ? request : undefined
  } catch {
    return undefined
  }
}

/** What the readers of one personalization get. */
async function mailOf(
  request: MailSend,
  group: Personalization,
  providerMessageId: string,
  raw: Buffer,
): Promise<AcceptedMail> {
  const { to, cc = [], bcc = [] } = group
  const { content = [], attachments = [], reply_to, reply_to_list = reply_to ? [reply_to] : [] } = request
  const part = (type: string) => content.find((one) => one.type.split(';', 1)[0] === type)
  const text = part('text/plain')?.value
  const html = part('text/html')?.value
  const calendar = part('text/calendar')
  const variables = variablesOf({ ...request.custom_args, ...group.custom_args })
  return {
    providerMessageId,
    recipients: [...to, ...cc, ...bcc].map(({ email }) => email),
    from: await addressOf(request.from),
    to: await Promise.all(to.map(addressOf)),
    cc: await Promise.all(cc.map(addressOf)),
    replyTo: await Promise.all(reply_to_list.map(addressOf)),
    subject: request.subject ?? '',
    ...(text === undefined ? {} : { text }),
    ...(html === undefined ? {} : { html }),
    headers: await headersOf({ ...request.headers, ...group.headers }),
    attachments: attachments.map(({ content: bytes, filename, type, disposition, content_id }) => ({
      filename,
      contentType: type ?? 'application/octet-stream',
      content: Buffer.from(bytes, 'base64'),
      ...(content_id === undefined ? {} : { contentId: content_id }),
      inline: disposition === 'inline',
    })),
    ...(calendar
      ? { calendar: { method: /method=(\w+)/.exec(calendar.type)?.[1] ?? '', content: calendar.value } }
      : {}),
    tags: request.categories ?? [],
    ...variables,
    raw,
  }
}

async function addressOf({ name = '', email }: Person): Promise<AcceptedAddress> {
  return { name: await readText(name), address: email }
}

async function headersOf(fields: Readonly<Record<string, string>>): Promise<AcceptedMail['headers']> {
  const headers = Object.entries(fields).filter(([name]) => name.toLowerCase() !== 'message-id')
  return Object.fromEntries(
    await Promise.all(headers.map(async ([name, value]) => [name.toLowerCase(), [await readText(value)]])),
  )
}

function variablesOf(args: Readonly<Record<string, string>>): Pick<AcceptedMail, 'sendwrightId' | 'metadata'> {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(args)) if (name.startsWith('sw_m_')) metadata[name.slice(5)] = value
  return { ...(args.sendwright_id === undefined ? {} : { sendwrightId: args.sendwright_id }), metadata }
}
