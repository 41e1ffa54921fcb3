import type { AddressInput, Answer, Capabilities, Delivery, HandOverFailure, Provider } from '../src/provider.ts'
import { configurationError, handOverError, type MailError } from '../src/provider.ts'
import { payloadOf, refuseDelivery, type SendGridProviderOptions } from './sendgrid/payload.ts'
import { type BulkResult, inBulk } from './shared/bulk.ts'
import { type Call, type CallContext, Exchange, type HttpAnswer } from './shared/exchange.ts'
import { lazy, loadPeer } from './shared/load.ts'
import { choiceOption, closedOptions, optionalToken, tokenOption, urlOption } from './shared/options.ts'
import { fieldOf, meaningOfStatus, parseJson, retryAfterOf, textOf } from './shared/status.ts'

export type { SendGridProviderOptions } from './sendgrid/payload.ts'

export interface SendGridOptions {
  /** A key with the scope `mail.send`. */
  readonly apiKey?: string
  /** Where the account's data live. Default `global`. */
  readonly region?: 'global' | 'eu'
  /** Base URL, for tests and proxies. Default: the region's. */
  readonly endpoint?: string
  /** The subuser on whose behalf all mail of this instance is sent. */
  readonly subuser?: string
  /** Stands in when message, tenant and mailer have no from. */
  readonly from?: AddressInput
  /** A ready `Client` of `@sendgrid/client` instead of the options above but `from`; its transport is not used. */
  readonly client?: SendGridClient
}

/** What is used of a `Client` of `@sendgrid/client`. */
export interface SendGridClient {
  createRequest(request: { readonly method: 'GET' | 'POST'; readonly url: string }): object
}

const capabilities: Capabilities = {
  recipients: 1000,
  bytes: 30_000_000,
  headers: Number.POSITIVE_INFINITY,
  replyTo: 1000,
  attachments: true,
  inline: true,
  calendar: true,
  tags: 10,
  metadata: 'events',
  nonAsciiLocalPart: 'never',
  envelope: false,
  bulk: 1000,
  native: ['templates', 'tracking', 'scheduling', 'sandbox', 'unsubscribe', 'pools', 'subaccounts'],
}

/**
 * SendGrid through its v3 API and `@sendgrid/client`, which is loaded at the first send and builds the request with its
 * key and host. Our id and the metadata travel as custom args (`sendwright_id`, `sw_m_…`), tags as categories: recipients
 * see none of them.
 *
 * @throws MailError `CONFIGURATION_ERROR` for unknown, missing or wrong options.
 */
export function sendgrid(options: SendGridOptions): Provider<SendGridProviderOptions> {
  const { apiKey, from, ...connection } = settingsOf(options)
  const exchange = new Exchange()
  const load = lazy(() => loadClient({ ...connection, ...(apiKey === undefined ? {} : { apiKey }) }))
  const secrets = [apiKey]

  async function request(context: CallContext, method: 'GET' | 'POST', path: string, body?: () => object) {
    const start = async (call: Call) => {
      const { url, headers } = requestOf(await load(), method, path)
      await call.request({ method, url, headers, ...(body ? { body: JSON.stringify(body()) } : {}) })
    }
    return exchange.run(context, start)
  }

  async function post(deliveries: readonly [Delivery, ...Delivery[]], context: CallContext, given = noOptions) {
    const answer = await request(context, 'POST', '/v3/mail/send', () => payloadOf(deliveries, given))
    return { answer, sandbox: given.sandbox === true }
  }

  const provider: Provider<SendGridProviderOptions> = {
    name: 'sendgrid',
    capabilities,
    ...(from === undefined ? {} : { from }),

    async send(delivery, context) {
      const { answer, sandbox } = await post([delivery], context, context.options)
      return answerOf(answer, sandbox, secrets)
    },

    sendMany: (deliveries, context) =>
      inBulk(
        deliveries,
        ({ envelope }) => envelope.recipients.length === 1,
        async (group) => {
          const { answer, sandbox } = await post(group as [Delivery, ...Delivery[]], context, context.options)
          return answersOf(answer, group, sandbox, secrets)
        },
        (delivery) => provider.send(delivery, context),
      ),

    refuse: refuseDelivery,

    /** Asks for the scopes of the key, `mail.send` among them. */
    async verify({ signal }) {
      const answer = await request(signal === undefined ? {} : { signal }, 'GET', '/v3/scopes')
      if (answer.status !== 200) throw errorOf(answer, secrets)
      const scopes = fieldOf(parseJson(answer.body), 'scopes')
      if (Array.isArray(scopes) && scopes.includes('mail.send')) return
      throw handOverError({ outcome: 'failed', kind: 'login', reason: 'the key has no scope mail.send' })
    },

    close: () => exchange.close(),
  }
  return provider
}

const noOptions: SendGridProviderOptions = {}

function settingsOf(options: SendGridOptions): SendGridOptions {
  closedOptions('sendgrid', options, ['apiKey', 'region', 'endpoint', 'subuser', 'from', 'client'])
  const { client, from } = options
  const { apiKey, region, endpoint, subuser } = options
  if (client !== undefined) {
    if (typeof client?.createRequest !== 'function') {
      throw configurationError('sendgrid: client must be a Client of @sendgrid/client')
    }
    if ([apiKey, region, endpoint, subuser].some((option) => option !== undefined)) {
      throw configurationError(
        'sendgrid: apiKey, region, endpoint and subuser are the client’s; give either client or those',
      )
    }
    return { client, ...(from === undefined ? {} : { from }) }
  }
  tokenOption('sendgrid', 'apiKey', apiKey, 'make a key with the scope mail.send')
  optionalToken('sendgrid', 'subuser', subuser, 'give its name')
  return {
    ...options,
    region: choiceOption('sendgrid', 'region', region, ['global', 'eu'], 'global'),
    ...(endpoint === undefined ? {} : { endpoint: urlOption('sendgrid', 'endpoint', endpoint) }),
  }
}

interface OwnClient extends SendGridClient {
  setDataResidency(region: string): void
  setApiKey(key: string): void
  setDefaultRequest(name: 'baseUrl', value: string): void
  setImpersonateSubuser(subuser: string): void
}

async function loadClient({ client, apiKey = '', region = 'global', endpoint, subuser }: SendGridOptions) {
  if (client) return client
  const sdk = await loadPeer('sendgrid', '@sendgrid/client', () => import('@sendgrid/client'))
  // The types of the package declare no class that can be made (TypeScript 7).
  const { Client } = sdk.default as unknown as { readonly Client: new () => OwnClient }
  const made = new Client()
  made.setDataResidency(region)
  // It resets the base URL, so it comes first.
  made.setApiKey(apiKey)
  if (endpoint !== undefined) made.setDefaultRequest('baseUrl', endpoint)
  if (subuser !== undefined) made.setImpersonateSubuser(subuser)
  return made
}

/** What the client would ask axios for: base URL, key and sub-user are its, and no body passes through it. */
function requestOf(client: SendGridClient, method: 'GET' | 'POST', path: string) {
  const { baseURL, headers } = client.createRequest({ method, url: path }) as {
    readonly baseURL: string
    readonly headers: Record<string, string>
  }
  return { url: new URL(baseURL.replace(/\/+$/, '') + path), headers }
}

type Secrets = readonly (string | undefined)[]

function answerOf(answer: HttpAnswer, sandbox: boolean, secrets: Secrets): Answer {
  const { status, headers } = answer
  const id = headers['x-message-id']
  const code = `http ${status}`
  if (sandbox && status === 200) return { code }
  if (status >= 300) throw errorOf(answer, secrets)
  if (status === 202 && typeof id === 'string' && id !== '') return { providerMessageId: id, code }
  throw handOverError({ outcome: 'unknown', kind: 'transient', reason: 'a success that names no message', code })
}

/** One answer for all; a refusal of one recipient leaves the others not taken, to be sent again without it. */
function answersOf(answer: HttpAnswer, group: readonly Delivery[], sandbox: boolean, secrets: Secrets): BulkResult[] {
  if (answer.status < 300) {
    const all = answerOf(answer, sandbox, secrets)
    return group.map(() => all)
  }
  const error = errorOf(answer, secrets)
  const refused = refusedPersonalizations(answer)
  if (error.outcome !== 'rejected' || refused.size === 0) return group.map(() => error)
  const spared = handOverError({
    outcome: 'failed',
    kind: 'transient',
    reason: 'refused with the whole call for the sake of another recipient',
    code: `http ${answer.status}`,
  })
  return group.map((_, index) => (refused.has(index) ? error : spared))
}

function fieldsOf(answer: HttpAnswer): { readonly field: string; readonly message: string }[] {
  const errors = fieldOf(parseJson(answer.body), 'errors')
  if (!Array.isArray(errors)) return []
  return errors.map((error) => ({ field: textOf(error, 'field') ?? '', message: textOf(error, 'message') ?? '' }))
}

function refusedPersonalizations(answer: HttpAnswer): Set<number> {
  const indexes = fieldsOf(answer).map(({ field }) => /^personalizations\.(\d{1,4})\./.exec(field)?.[1])
  return new Set(indexes.filter((index) => index !== undefined).map(Number))
}

function errorOf(answer: HttpAnswer, secrets: Secrets): MailError {
  const { status } = answer
  const [first = { field: '', message: '' }] = fieldsOf(answer)
  const retryAfter =
    status === 429 ? (retryAfterOf(answer.headers) ?? untilReset(answer)) : retryAfterOf(answer.headers)
  return handOverError({
    ...meaningOf(status, first.field),
    reason: first.message || `SendGrid answered ${status}`,
    code: `http ${status}`,
    secrets,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  })
}

function meaningOf(status: number, field: string): Pick<HandOverFailure, 'outcome' | 'kind'> {
  if (status === 400 && /^personalizations\.\d+\.(to|cc|bcc)\b/.test(field)) {
    return { outcome: 'rejected', kind: 'recipient' }
  }
  // Also 403 for an address that is no verified sender identity.
  if ((status === 400 || status === 403) && /^from\b/.test(field)) return { outcome: 'failed', kind: 'sender' }
  return meaningOfStatus(status)
}

/** `X-RateLimit-Reset` counts in seconds since 1970. */
function untilReset({ headers }: HttpAnswer): number | undefined {
  const reset = Number(headers['x-ratelimit-reset'] || Number.NaN)
  return Number.isNaN(reset) ? undefined : Math.max(0, reset * 1000 - Date.now())
}
