import type { AddressInput, Answer, Capabilities, Delivery, Mailbox, Provider } from '../src/provider.ts'
import { configurationError, handOverError } from '../src/provider.ts'
import { answerOf, answerOfError, type Secrets, verdictOf, wordsOf } from './nodemailer/outcome.ts'
import { headersOf, idHeader } from './shared/carried.ts'
import { compose } from './shared/mime.ts'
import { closedOptions } from './shared/options.ts'
import { peopleOf } from './shared/people.ts'
import { refuseOptions } from './shared/provider-options.ts'

export interface NodemailerOptions {
  /**
   * What `nodemailer.createTransport` makes, or what it takes: a URL, options, a transport. One that was made elsewhere
   * stays open at `close`, since others may use it.
   */
  readonly transport: NodemailerTransporter | string | object
  /** Stands in when message, tenant and mailer have no from. */
  readonly from?: AddressInput
  /** What the service behind the transport can be told. The defaults promise little for transports that build no MIME. */
  readonly capabilities?: Partial<Capabilities>
}

/** What is used of a nodemailer transporter. */
export interface NodemailerTransporter {
  sendMail(mail: object): Promise<unknown>
  verify?(): Promise<unknown>
  close?(): void
  readonly transporter?: { readonly name?: string }
}

/** No switches of its own; any is refused. */
export type NodemailerProviderOptions = Readonly<Record<string, never>>

/** nodemailer's own that send MIME bytes to whom the envelope names: they are given ours. */
const byteTransports = new Set(['SMTP', 'SMTP (pool)', 'Sendmail', 'StreamTransport'])
/** Its own that read fields besides, and mail the envelope too. */
const envelopeTransports = new Set([...byteTransports, 'SESTransport', 'JSONTransport'])

const mimeCapabilities: Capabilities = {
  recipients: 100,
  bytes: 25_000_000,
  headers: Number.POSITIVE_INFINITY,
  replyTo: Number.POSITIVE_INFINITY,
  attachments: true,
  inline: true,
  calendar: true,
  tags: 10,
  metadata: 'header',
  nonAsciiLocalPart: 'never',
  envelope: true,
  bulk: 1,
  native: [],
}

// What becomes of the rest is each transport's own affair, and nothing may be dropped in silence.
const otherCapabilities: Capabilities = {
  ...mimeCapabilities,
  calendar: false,
  tags: false,
  metadata: false,
  envelope: false,
}

/**
 * Any nodemailer transport as a provider: dozens of services at once. What can be said of its outcomes is what the
 * transport reports: a refusal in so many words is `rejected` or `failed`; a lost connection, an abort or an error without
 * a reply is `unknown`, since the transport cannot tell before from after. Where that matters, `smtp` knows.
 *
 * @throws MailError `CONFIGURATION_ERROR` for unknown or wrong options.
 */
export function nodemailer(options: NodemailerOptions): Provider<NodemailerProviderOptions> {
  closedOptions('nodemailer', options, ['transport', 'from', 'capabilities'])
  const { transport, from } = options
  if ((typeof transport !== 'string' && typeof transport !== 'object') || !transport) {
    throw configurationError('nodemailer: transport must be a transporter, or what createTransport takes')
  }
  const ready = isTransporter(transport) ? transport : undefined
  const kind = nameOf(transport)
  const secrets = secretsOf(transport)
  const running = new Set<Promise<unknown>>()
  let made: Promise<NodemailerTransporter> | undefined
  const open = async () => {
    if (ready) return ready
    made ??= import('nodemailer').then(
      ({ createTransport }) => createTransport(transport as string) as NodemailerTransporter,
    )
    try {
      return await made
    } catch {
      made = undefined
      throw handOverError({
        outcome: 'failed',
        kind: 'configuration',
        reason: 'nodemailer could not make the transport',
      })
    }
  }

  async function handOver(delivery: Delivery, signal: AbortSignal, timeout: number): Promise<Answer> {
    const transporter = await open()
    const mail = mailOf(delivery, kind)
    if (signal.aborted) {
      throw handOverError({ outcome: 'failed', kind: 'aborted', reason: 'given up before the hand-over' })
    }
    // Ends the transport's work at the deadline too, where it listens.
    const abort = new AbortController()
    const sendMail = async () => transporter.sendMail({ ...mail, signal: abort.signal })
    const sending = sendMail().then(
      (info) => answerOf(info, delivery, secrets),
      (error) => answerOfError(error, delivery, secrets),
    )
    try {
      return await settled(sending, 'unknown', timeout, signal)
    } catch (error) {
      abort.abort()
      throw error
    }
  }

  return {
    name: 'nodemailer',
    capabilities: Object.freeze({
      ...(envelopeTransports.has(kind) ? mimeCapabilities : otherCapabilities),
      ...options.capabilities,
    }),
    ...(from === undefined ? {} : { from }),

    send(delivery, { signal, timeout }) {
      const result = handOver(delivery, signal, timeout)
      const done: Promise<unknown> = result.catch(() => {}).finally(() => running.delete(done))
      running.add(done)
      return result
    },

    refuse: (delivery, given) => refuseOptions({}, delivery, 'nodemailer', given),

    async verify({ signal }) {
      const transporter = await open()
      const checked = Promise.resolve(transporter.verify?.()).catch((error) => {
        throw handOverError({ ...verdictOf(error), outcome: 'failed', reason: wordsOf(error), secrets })
      })
      await settled(checked, 'failed', verifyTimeout, signal)
    },

    async close() {
      const closing = made
      made = undefined
      await Promise.allSettled(running)
      const transporter = await closing?.catch(() => undefined)
      transporter?.close?.()
    },
  }
}

const verifyTimeout = 30_000

function isTransporter(transport: unknown): transport is NodemailerTransporter {
  return typeof transport === 'object' && transport !== null && 'sendMail' in transport
}

/** Of a URL or plain options nodemailer makes one of its own transports. */
function nameOf(transport: unknown): string {
  if (isTransporter(transport)) return transport.transporter?.name ?? ''
  return typeof fieldInherited(transport, 'send') === 'function' ? String(fieldInherited(transport, 'name')) : 'SMTP'
}

function fieldInherited(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
}

/** Settles with the caller's patience; what the transport says later changes nothing. */
function settled<T>(
  work: Promise<T>,
  outcome: 'failed' | 'unknown',
  timeout: number,
  signal?: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (kind: 'aborted' | 'timeout', reason: string) => reject(handOverError({ outcome, kind, reason }))
    const onAbort = () => stop('aborted', 'given up by the caller')
    const timer = setTimeout(() => stop('timeout', 'no answer within the deadline'), timeout)
    signal?.addEventListener('abort', onAbort, { once: true })
    const clean = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    work.then(resolve, reject).finally(clean)
  })
}

/**
 * nodemailer's mail data. Its own transports mail the envelope, and Bcc is in no header; others read bcc alone. Fields go
 * along with our bytes, which stand in for what nodemailer would make of them.
 */
function mailOf(delivery: Delivery, kind: string): object {
  const { message, envelope, id, messageId, createdAt } = delivery
  const { calendar } = message
  const byEnvelope = envelopeTransports.has(kind)
  const people = byEnvelope ? message : peopleOf(delivery)
  return {
    from: addressOf(message.from),
    to: people.to.map(addressOf),
    cc: people.cc.map(addressOf),
    ...(byteTransports.has(kind) ? { raw: composed(delivery) } : {}),
    ...(byEnvelope
      ? { envelope: { from: envelope.from, to: envelope.recipients.map(({ address }) => address) } }
      : { bcc: people.bcc.map(addressOf) }),
    replyTo: message.replyTo.map(addressOf),
    subject: message.subject,
    ...(message.text === undefined ? {} : { text: message.text }),
    ...(message.html === undefined ? {} : { html: message.html }),
    messageId,
    date: new Date(createdAt),
    ...(message.inReplyTo === undefined ? {} : { inReplyTo: message.inReplyTo }),
    references: [...message.references],
    headers: mailHeadersOf(delivery, id),
    attachments: message.attachments.map(({ filename, content, contentType, contentId }) => ({
      filename,
      content: Buffer.from(content.buffer, content.byteOffset, content.byteLength),
      contentType,
      contentDisposition: contentId === undefined ? 'attachment' : 'inline',
      ...(contentId === undefined ? {} : { cid: contentId }),
    })),
    ...(calendar ? { icalEvent: { ...calendar } } : {}),
    disableFileAccess: true,
    disableUrlAccess: true,
  }
}

function composed(delivery: Delivery): Buffer {
  try {
    return compose(delivery)
  } catch {
    throw handOverError({ outcome: 'failed', kind: 'content', reason: 'the message could not be composed' })
  }
}

const addressOf = ({ name, address }: Mailbox) => ({ name: name ?? '', address })

function mailHeadersOf({ message }: Delivery, id: string) {
  // nodemailer writes the thread itself.
  const headers = headersOf({ ...message, inReplyTo: undefined, references: [] } as typeof message)
  headers.push({ name: idHeader, value: id })
  for (const tag of message.tags) headers.push({ name: 'X-Sendwright-Tag', value: tag })
  if (Object.keys(message.metadata).length > 0) {
    headers.push({ name: 'X-Sendwright-Metadata', value: JSON.stringify(message.metadata) })
  }
  return headers.map(({ name, value }) => ({ key: name, value }))
}

/** What a server might echo. */
function secretsOf(transport: unknown): Secrets {
  const password = typeof transport === 'string' ? URL.parse(transport)?.password : undefined
  const holders = [
    transport,
    fieldInherited(transport, 'options'),
    fieldInherited(fieldInherited(transport, 'transporter'), 'options'),
  ]
  const names = ['pass', 'accessToken', 'clientSecret', 'refreshToken', 'privateKey']
  const auths = holders.map((holder) => fieldInherited(holder, 'auth'))
  const found = auths.flatMap((auth) => names.map((name) => fieldInherited(auth, name)))
  return [password, ...found.filter((secret) => typeof secret === 'string')]
}
