import type { SESv2Client } from '@aws-sdk/client-sesv2'
import type { AddressInput, Answer, Capabilities, HandOverFailure, Provider } from '../src/provider.ts'
import { configurationError, handOverError, type MailError } from '../src/provider.ts'
import { payloadOf, refuseDelivery } from './ses/payload.ts'
import type { SesProviderOptions } from './ses/provider-options.ts'
import { type Call, Exchange, type HttpAnswer } from './shared/exchange.ts'
import { lazy, loadPeer } from './shared/load.ts'
import { closedOptions, optionalToken, tokenOption, urlOption } from './shared/options.ts'
import { fieldOf, meaningOfStatus, parseJson, retryAfterOf, textOf } from './shared/status.ts'

export type { SesProviderOptions } from './ses/provider-options.ts'

export interface SesOptions {
  /** `eu-west-1`. Default: `AWS_REGION`. */
  readonly region?: string
  /** Keys, or a function that gets them. Default: the SDK's chain (environment, profiles, roles). */
  readonly credentials?: SesCredentials | (() => Promise<SesCredentials>)
  /** Base URL, for tests and private endpoints. Default: the region's. */
  readonly endpoint?: string
  /** For mails that name none in `providerOptions`. Open, click and delivery events need one. */
  readonly configurationSetName?: string
  /** The SES tenant all mail of this instance belongs to. */
  readonly tenantName?: string
  /** Stands in when message, tenant and mailer have no from. */
  readonly from?: AddressInput
  /** A ready `SESv2Client` instead of `region`, `credentials` and `endpoint`; its retries and transport are not used. */
  readonly client?: SesClient
}

export interface SesCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

/** What is used of an `SESv2Client`. */
export interface SesClient {
  readonly config: object
  readonly middlewareStack: object
}

const capabilities: Capabilities = {
  recipients: 50,
  bytes: 40_000_000,
  headers: Number.POSITIVE_INFINITY,
  replyTo: 50,
  attachments: true,
  inline: true,
  calendar: true,
  tags: 20,
  metadata: 'events',
  nonAsciiLocalPart: 'never',
  envelope: true,
  bulk: 1,
  native: ['templates', 'tracking', 'unsubscribe', 'subaccounts', 'pools'],
}

/**
 * Amazon SES through the v2 API and `@aws-sdk/client-sesv2`, which is loaded at the first send. Message-ID and Date are
 * SES's own. Our id travels as the message tag `sendwright_id` and a header; tags (`sw_t_1` …) and metadata (`sw_m_…`) as
 * message tags, so that recipients see neither and event publishing brings them back.
 *
 * @throws MailError `CONFIGURATION_ERROR` for unknown, missing or wrong options.
 */
export function ses(options: SesOptions = {}): Provider<SesProviderOptions> {
  const settings = settingsOf(options)
  const exchange = new Exchange()
  const load = lazy(() => loadClient(settings))
  const secrets = secretsOf(settings.credentials)

  /** One command through the SDK's signing and serialising, over our exchange. */
  async function run(call: Call, command: SesCommand, client: SesClient): Promise<void> {
    const configuration = { ...client.config, requestHandler: handler }
    await command.resolveMiddleware(client.middlewareStack, configuration, { abortSignal: call.signal, call })(command)
  }

  return {
    name: 'ses',
    capabilities,
    ...(settings.from === undefined ? {} : { from: settings.from }),

    async send(delivery, context) {
      const answer = await exchange.run(
        context,
        async (call) => {
          const { sdk, client } = await load()
          const input = payloadOf(delivery, context.options ?? {}, settings)
          await run(call, new sdk.SendEmailCommand(input) as unknown as SesCommand, client)
        },
        unprepared,
      )
      return answerOf(answer, secrets)
    },

    refuse: refuseDelivery,

    /** Needs the permission `ses:GetAccount`. */
    async verify({ signal }) {
      const start = async (call: Call) => {
        const { sdk, client } = await load()
        await run(call, new sdk.GetAccountCommand({}) as unknown as SesCommand, client)
      }
      const answer = await exchange.run(signal === undefined ? {} : { signal }, start, unprepared)
      if (answer.status !== 200) throw errorOf(answer, secrets)
      if (fieldOf(parseJson(answer.body), 'SendingEnabled') === false) {
        throw handOverError({ outcome: 'failed', kind: 'account', reason: 'sending is paused for this account' })
      }
    },

    close: () => exchange.close(),
  }
}

function settingsOf(options: SesOptions): SesOptions {
  const known = ['region', 'credentials', 'endpoint', 'configurationSetName', 'tenantName', 'from', 'client']
  closedOptions('ses', options, known)
  const { client, credentials } = options
  const region = options.region ?? (client ? undefined : process.env.AWS_REGION)
  if (client === undefined) tokenOption('ses', 'region', region, 'give region, or set AWS_REGION')
  else if (typeof client !== 'object' || !client?.config || !client.middlewareStack) {
    throw configurationError('ses: client must be an SESv2Client')
  } else if (options.region !== undefined || credentials !== undefined || options.endpoint !== undefined) {
    throw configurationError('ses: region, credentials and endpoint are the client’s; give either client or those')
  }
  if (credentials !== undefined && typeof credentials !== 'function') {
    const hint = 'give accessKeyId and secretAccessKey'
    tokenOption('ses', 'credentials.accessKeyId', credentials?.accessKeyId, hint)
    tokenOption('ses', 'credentials.secretAccessKey', credentials?.secretAccessKey, hint)
    optionalToken('ses', 'credentials.sessionToken', credentials?.sessionToken, hint)
  }
  const endpoint = options.endpoint === undefined ? undefined : urlOption('ses', 'endpoint', options.endpoint)
  optionalToken('ses', 'configurationSetName', options.configurationSetName, 'give its name')
  optionalToken('ses', 'tenantName', options.tenantName, 'give its name')
  return { ...options, ...(region === undefined ? {} : { region }), ...(endpoint === undefined ? {} : { endpoint }) }
}

interface CallOptions {
  readonly abortSignal: AbortSignal
  readonly call: Call
}

/** What is used of an SDK command; it resolves the client's middleware around a request handler of ours. */
interface SesCommand {
  resolveMiddleware(
    stack: object,
    configuration: object,
    options: CallOptions,
  ): (command: SesCommand) => Promise<unknown>
}

interface SdkRequest {
  readonly method: string
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
}

/** The SDK's seam: its signed request goes over the call it was made for, and a second try of the SDK is refused there. */
const handler = {
  metadata: { handlerProtocol: 'http/1.1' },
  async handle(request: SdkRequest, { call }: CallOptions) {
    const { method, protocol, hostname, port, path, headers, body } = request
    const url = new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`)
    const answer = await call.request({ method, url, headers, ...(body === undefined ? {} : { body }) })
    // A copy: the SDK turns what it is given into an object of its own.
    const copy = new Uint8Array(answer.body)
    return { response: { statusCode: answer.status, headers: flat(answer.headers), body: copy } }
  },
  destroy() {},
}

const flat = (headers: HttpAnswer['headers']) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))

async function loadClient({ client, region, credentials, endpoint }: SesOptions) {
  const sdk = await loadPeer('ses', '@aws-sdk/client-sesv2', () => import('@aws-sdk/client-sesv2'))
  if (client) return { sdk, client }
  const made: SESv2Client = new sdk.SESv2Client({
    maxAttempts: 1,
    ...(region === undefined ? {} : { region }),
    ...(credentials === undefined ? {} : { credentials }),
    ...(endpoint === undefined ? {} : { endpoint }),
  })
  return { sdk, client: made as SesClient }
}

function answerOf(answer: HttpAnswer, secrets: Secrets): Answer {
  if (answer.status !== 200) throw errorOf(answer, secrets)
  const providerMessageId = textOf(parseJson(answer.body), 'MessageId')
  if (providerMessageId !== undefined) return { providerMessageId, code: 'http 200' }
  const reason = 'a success that names no message'
  throw handOverError({ outcome: 'unknown', kind: 'transient', reason, code: 'http 200' })
}

type Meaning = Pick<HandOverFailure, 'outcome' | 'kind'>
type Secrets = readonly (string | undefined)[]

const throttled: Meaning = { outcome: 'failed', kind: 'throttled' }
const login: Meaning = { outcome: 'failed', kind: 'login' }
const sender: Meaning = { outcome: 'failed', kind: 'sender' }
const account: Meaning = { outcome: 'failed', kind: 'account' }
const skewed: Meaning = { outcome: 'failed', kind: 'transient' }

const meanings: Readonly<Record<string, Meaning>> = {
  TooManyRequestsException: throttled,
  ThrottlingException: throttled,
  Throttling: throttled,
  LimitExceededException: throttled,
  MailFromDomainNotVerifiedException: sender,
  AccountSuspendedException: account,
  SendingPausedException: account,
  AccessDeniedException: login,
  UnrecognizedClientException: login,
  InvalidClientTokenId: login,
  InvalidSignatureException: login,
  SignatureDoesNotMatch: login,
  IncompleteSignature: login,
  MissingAuthenticationToken: login,
  MissingAuthenticationTokenException: login,
  ExpiredTokenException: login,
  // The SDK corrects its clock from this answer.
  RequestTimeTooSkewed: skewed,
  RequestExpired: skewed,
}

function errorOf(answer: HttpAnswer, secrets: Secrets): MailError {
  const { status, headers, body } = answer
  const parsed = parseJson(body)
  const type = typeOf(headers['x-amzn-errortype'] ?? textOf(parsed, '__type') ?? textOf(parsed, 'code'))
  const reason = textOf(parsed, 'message') ?? textOf(parsed, 'Message') ?? ''
  const retryAfter = retryAfterOf(headers)
  return handOverError({
    ...meaningOf(status, type, reason),
    reason: reason || `SES answered ${status}`,
    code: type ?? `http ${status}`,
    secrets,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  })
}

/** `MessageRejected` of `com.amazonaws.sesv2#MessageRejected:http://…`. */
function typeOf(text: string | string[] | undefined): string | undefined {
  return /(?:^|#)([A-Za-z]{1,64})(?=:|$)/.exec(String(text ?? '').split(':', 1)[0] ?? '')?.[1]
}

function meaningOf(status: number, type: string | undefined, reason: string): Meaning {
  if (status < 400 || status >= 500 || type === undefined) return meaningOfStatus(status)
  // Two meanings share one type, and only the words tell them apart.
  if (type === 'MessageRejected' && /not verified/i.test(reason)) return sender
  if (type === 'BadRequestException' && /address|@domain/i.test(reason))
    return { outcome: 'rejected', kind: 'recipient' }
  return Object.hasOwn(meanings, type) ? (meanings[type] as Meaning) : meaningOfStatus(status)
}

/** Before the request only the SDK's name of the error is looked at: its text may hold anything. */
function unprepared(error: unknown): MailError {
  const noCredentials = /^(Credentials|Token)?ProviderError$/.test(error instanceof Error ? error.name : '')
  return noCredentials
    ? handOverError({ ...login, reason: 'no credentials could be had' })
    : handOverError({ outcome: 'failed', kind: 'configuration', reason: 'the SDK could not build the request' })
}

function secretsOf(credentials: SesOptions['credentials']): Secrets {
  if (credentials === undefined || typeof credentials === 'function') return []
  return [credentials.secretAccessKey, credentials.sessionToken, credentials.accessKeyId]
}
