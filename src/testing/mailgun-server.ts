import { type DialectReply, ScriptedHttpServer } from './http-server.ts'
import { parseMail } from './parse-mail.ts'
import { readMailboxes, readText } from './read-mailboxes.ts'
import type { AcceptedAddress, AcceptedAttachment, AcceptedMail, ScriptedServer } from './scripted-server.ts'

export interface MailgunServerOptions {
  /** The one key that is let in. Default `key-scripted`. */
  readonly apiKey?: string
  /** The one sending domain of the account. Default `mg.example.com`. */
  readonly domain?: string
}

/** Mailgun's two send operations and the domain look-up on loopback; give its `url` as `endpoint`. */
export function createMailgunServer(options: MailgunServerOptions = {}): Promise<ScriptedServer> {
  const { apiKey = 'key-scripted', domain = 'mg.example.com' } = options
  const login = `Basic ${Buffer.from(`api:${apiKey}`).toString('base64')}`
  const sendPaths = new Set([`/v3/${domain}/messages`, `/v3/${domain}/messages.mime`])
  let count = 0
  return ScriptedHttpServer.start({
    handsOver: (method, path) => method === 'POST' && /^\/v3\/[^/]+\/messages(\.mime)?$/.test(path),
    refusal(kind, retryAfter) {
      if (kind === 'refuse') return errorReply(400, 'The content is refused by script.')
      if (kind === '4xx') return errorReply(404, 'Domain not found')
      if (kind === '5xx') return errorReply(503, 'Service unavailable')
      if (kind === 'login') return forbidden
      const words = `Domain ${domain} is not allowed to send: account-requests-per-sec limit exceeded`
      const slow = errorReply(429, `${words}, try again after ${retryAfter} seconds`)
      return { ...slow, headers: { ...slow.headers, 'Retry-After': String(retryAfter) } }
    },
    async answer({ path, headers, body }) {
      if (headers.authorization !== login) return forbidden
      if (path === `/v4/domains/${domain}`) return jsonReply(200, { domain: { name: domain, state: 'active' } })
      if (!sendPaths.has(path)) return errorReply(404, 'Domain not found')
      const form = await formOf(body, headers['content-type'])
      if (!form) return errorReply(400, 'The body is no form')
      if (form.getAll('to').length === 0) return errorReply(400, 'to parameter is missing')
      const mime = form.get('message')
      const fallback = `<scripted.${++count}@${domain}>`
      const mails = mime === null ? await mailsOf(form, fallback, body) : [await mimeMailOf(form, mime, fallback, body)]
      const id = `<${mails[0]?.providerMessageId}>`
      return { ...jsonReply(200, { id, message: 'Queued. Thank you.' }), mails }
    },
  })
}

function jsonReply(status: number, body: object): DialectReply {
  return { status, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
}

const errorReply = (status: number, message: string) => jsonReply(status, { message })
const forbidden: DialectReply = { status: 401, headers: { 'Content-Type': 'text/plain' }, body: 'Forbidden' }

async function formOf(body: Buffer, type = ''): Promise<FormData | undefined> {
  try {
    return await new Response(new Uint8Array(body), { headers: { 'Content-Type': type } }).formData()
  } catch {
    return undefined
  }
}

type Variables = Readonly<Record<string, string>>

/** One mail, or one for each recipient when there are recipient variables: then nobody sees anybody. */
async function mailsOf(form: FormData, fallback: string, raw: Buffer): Promise<AcceptedMail[]> {
  const [to, cc, bcc] = await Promise.all(['to', 'cc', 'bcc'].map((name) => readMailboxes(...texts(form, name))))
  const everybody = { to: to ?? [], cc: cc ?? [], bcc: bcc ?? [] }
  const variables = form.get('recipient-variables')
  if (typeof variables !== 'string') return [await mailOf(form, everybody, {}, fallback, raw)]
  const own = JSON.parse(variables) as Readonly<Record<string, Variables>>
  return Promise.all(
    everybody.to.map((one) => mailOf(form, { to: [one], cc: [], bcc: [] }, own[one.address] ?? {}, fallback, raw)),
  )
}

interface Everybody {
  readonly to: readonly AcceptedAddress[]
  readonly cc: readonly AcceptedAddress[]
  readonly bcc: readonly AcceptedAddress[]
}

async function mailOf(
  form: FormData,
  { to, cc, bcc }: Everybody,
  variables: Variables,
  fallback: string,
  raw: Buffer,
): Promise<AcceptedMail> {
  const fill = (value: string) => value.replace(/%recipient\.([\w-]+)%/g, (whole, name) => variables[name] ?? whole)
  const one = (name: string) => texts(form, name).map(fill)[0]
  const text = one('text')
  const html = one('html')
  const [from = { name: '', address: '' }] = await readMailboxes(one('from') ?? '')
  const headers = await headersOf(form, fill)
  return {
    providerMessageId: (one('h:Message-Id') ?? fallback).replace(/^<|>$/g, ''),
    recipients: [...to, ...cc, ...bcc].map(({ address }) => address),
    from,
    to,
    cc,
    replyTo: await readMailboxes(one('h:Reply-To') ?? ''),
    subject: one('subject') ?? '',
    ...(text === undefined ? {} : { text }),
    ...(html === undefined ? {} : { html }),
    headers,
    attachments: [...(await filesOf(form, 'attachment')), ...(await filesOf(form, 'inline'))],
    ...labelsOf(form, fill),
    raw,
  }
}

async function mimeMailOf(form: FormData, mime: File | string, fallback: string, raw: Buffer): Promise<AcceptedMail> {
  const bytes = typeof mime === 'string' ? Buffer.from(mime) : Buffer.from(await mime.arrayBuffer())
  const id = /^message-id:\s*<([^>]+)>/im.exec(bytes.toString('latin1'))?.[1] ?? fallback.slice(1, -1)
  const recipients = (await readMailboxes(...texts(form, 'to'))).map(({ address }) => address)
  const mail = await parseMail({ raw: bytes, providerMessageId: id, recipients })
  return { ...mail, ...labelsOf(form, (value) => value), raw }
}

function texts(form: FormData, name: string): string[] {
  return form.getAll(name).filter((value) => typeof value === 'string')
}

async function headersOf(form: FormData, fill: (value: string) => string): Promise<AcceptedMail['headers']> {
  const headers: Record<string, string[]> = {}
  for (const [field, value] of form) {
    const name = field.slice(2).toLowerCase()
    if (!field.startsWith('h:') || typeof value !== 'string' || name === 'message-id' || name === 'reply-to') continue
    headers[name] = [...(headers[name] ?? []), await readText(fill(value))]
  }
  return headers
}

async function filesOf(form: FormData, field: 'attachment' | 'inline'): Promise<AcceptedAttachment[]> {
  const files = form.getAll(field).filter((value) => typeof value !== 'string')
  const inline = field === 'inline'
  return Promise.all(
    files.map(async (file) => ({
      filename: file.name,
      contentType: file.type,
      content: new Uint8Array(await file.arrayBuffer()),
      ...(inline ? { contentId: file.name } : {}),
      inline,
    })),
  )
}

function labelsOf(
  form: FormData,
  fill: (value: string) => string,
): Pick<AcceptedMail, 'sendwrightId' | 'tags' | 'metadata'> {
  const metadata: Record<string, string> = {}
  for (const [field, value] of form) {
    if (field.startsWith('v:sw_m_') && typeof value === 'string') metadata[field.slice(7)] = fill(value)
  }
  const id = texts(form, 'v:sendwright_id')[0]
  return { ...(id === undefined ? {} : { sendwrightId: fill(id) }), tags: texts(form, 'o:tag'), metadata }
}
