import { AsyncLocalStorage } from 'node:async_hooks'
import type { AddressInput, Answer, Capabilities, Delivery, HandOverFailure, Provider } from '../src/provider.ts'
import { configurationError, handOverError, type MailError } from '../src/provider.ts'
import {
  bulkable,
  bulkFormOf,
  formOf,
  type MailgunForm,
  type MailgunProviderOptions,
  refuseDelivery,
} from './mailgun/payload.ts'
import { inBulk } from './shared/bulk.ts'
import { type Call, type CallContext, Exchange, type HttpAnswer } from './shared/exchange.ts'
import { lazy, loadPeer } from './shared/load.ts'
import { choiceOption, closedOptions, optionalToken, tokenOption, urlOption } from './shared/options.ts'
import { meaningOfStatus, parseJson, retryAfterOf, textOf } from './shared/status.ts'

export type { MailgunProviderOptions } from './mailgun/payload.ts'

export interface MailgunOptions {
  readonly apiKey?: string
  /** The sending domain, as in the API's paths. */
  readonly domain: string
  /** Where the domain lives. Default `us`. */
  readonly region?: 'us' | 'eu'
  /** Base URL, for tests and proxies. Default: the region's. */
  readonly endpoint?: string
  /** The id of the subaccount all mail of this instance is sent for. */
  readonly subaccount?: string
  /** Stands in when message, tenant and mailer have no from. */
  readonly from?: AddressInput
  /** A ready client of `mailgun.js` instead of `apiKey`, `region` and `endpoint`; its transport is not used, nor changed. */
  readonly client?: MailgunClient
}

/** What is used of a client of `mailgun.js`. */
export interface MailgunClient {
  readonly messages: object
}

const hosts = { us: 'https://api.mailgun.net', eu: 'https://api.eu.mailgun.net' } as const

const capabilities: Capabilities = {
  recipients: 1000,
  bytes: 25_000_000,
  headers: Number.POSITIVE_INFINITY,
  replyTo: 100,
  attachments: true,
  inline: true,
  calendar: true,
  tags: 3,
  metadata: 'events',
  nonAsciiLocalPart: 'never',
  envelope: true,
  bulk: 1000,
  native: ['templates', 'tracking', 'scheduling', 'sandbox', 'pools', 'subaccounts'],
}

/**
 * Mailgun through `mailgun.js`, which is loaded at the first send and builds the form. What form fields cannot carry
 * (calendars, cids that are no file names, repeated headers) goes as MIME. Our id and the metadata travel as variables
 * (`sendwright_id`, `sw_m_…`), tags as tags; recipients see neither.
 *
 * @throws MailError `CONFIGURATION_ERROR` for unknown, missing or wrong options.
 */
export function mailgun(options: MailgunOptions): Provider<MailgunProviderOptions> {
  const { from, domain, subaccount, ...connection } = settingsOf(options)
  const exchange = new Exchange()
  const load = lazy(() => loadClient(connection))
  const secrets = secretsOf(connection)
  const headers = {
    Authorization: `Basic ${Buffer.from(`${connection.username}:${connection.apiKey}`).toString('base64')}`,
    ...(subaccount === undefined ? {} : { 'X-Mailgun-On-Behalf-Of': subaccount }),
  }
  // The SDK hands nothing of a call down to its transport.
  const calls = new AsyncLocalStorage<Call>()
  const transport: Transport = {
    async makeRequest(url, method, { data }) {
      const call = calls.getStore()
      if (!call) throw new Error('a request outside of a call')
      const encoded = new Response(data)
      const body = new Uint8Array(await encoded.arrayBuffer())
      const type = encoded.headers.get('content-type') ?? ''
      const answer = await call.request({
        method,
        url: new URL(url),
        body,
        headers: { ...headers, 'Content-Type': type },
      })
      return { status: answer.status, body: {} }
    },
  }

  async function post(context: CallContext, form: () => MailgunForm): Promise<Answer> {
    const answer = await exchange.run(context, async (call) => {
      const messages = overTransport(await load(), transport)
      const data = form()
      await calls.run(call, () => messages.create(domain, data))
    })
    return answerOf(answer, secrets)
  }

  const provider: Provider<MailgunProviderOptions> = {
    name: 'mailgun',
    capabilities,
    ...(from === undefined ? {} : { from }),

    send: (delivery, context) => post(context, () => formOf(delivery, context.options ?? {})),

    sendMany(deliveries, context) {
      const given = context.options ?? {}
      const fitting = bulkable(deliveries, given)
      return inBulk(
        deliveries,
        (delivery) => fitting.has(delivery),
        async (group) => {
          const answer = await post(context, () => bulkFormOf(group as [Delivery, ...Delivery[]], given))
          return group.map(() => answer)
        },
        (delivery) => provider.send(delivery, context),
      )
    },

    refuse: refuseDelivery,

    /** Looks the domain up; a key that may only send is refused here. */
    async verify({ signal }) {
      const url = new URL(`${connection.url}/v4/domains/${domain}`)
      const start = (call: Call) => call.request({ method: 'GET', url, headers })
      const answer = await exchange.run(signal === undefined ? {} : { signal }, start)
      if (answer.status !== 200) throw errorOf(answer, secrets)
    },

    close: () => exchange.close(),
  }
  return provider
}

interface Transport {
  makeRequest(
    url: string,
    method: string,
    data: { readonly data?: FormData },
  ): Promise<{ readonly status: number; readonly body: object }>
}

interface Connection {
  readonly url: string
  readonly username: string
  readonly apiKey: string
  readonly client?: MailgunClient
}

type Settings = Connection & Pick<MailgunOptions, 'from' | 'domain' | 'subaccount'>

const domainName = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$/i

function settingsOf(options: MailgunOptions): Settings {
  closedOptions('mailgun', options, ['apiKey', 'domain', 'region', 'endpoint', 'subaccount', 'from', 'client'])
  const { domain, from, subaccount, apiKey, client } = options
  // It becomes a part of the path.
  if (typeof domain !== 'string' || !domainName.test(domain)) {
    throw configurationError('mailgun: domain must be the sending domain, such as mg.example.com')
  }
  optionalToken('mailgun', 'subaccount', subaccount, 'give its id')
  const region = choiceOption('mailgun', 'region', options.region, ['us', 'eu'], 'us')
  const facts = { domain, ...(from === undefined ? {} : { from }), ...(subaccount === undefined ? {} : { subaccount }) }
  if (client !== undefined) {
    if (apiKey !== undefined || options.region !== undefined || options.endpoint !== undefined) {
      throw configurationError('mailgun: apiKey, region and endpoint are the client’s; give either client or those')
    }
    return { ...facts, ...connectionOf(client), client }
  }
  return {
    ...facts,
    username: 'api',
    apiKey: tokenOption('mailgun', 'apiKey', apiKey, 'give a key that may send for the domain'),
    url: options.endpoint === undefined ? hosts[region] : urlOption('mailgun', 'endpoint', options.endpoint),
  }
}

/** The inside of the SDK's messages client: pinned by a test. */
interface MessagesInside {
  readonly request: {
    readonly url: string
    readonly requestProvider: { readonly username?: unknown; readonly key?: unknown }
  }
}

function connectionOf(client: MailgunClient): Connection {
  const { request } = (client?.messages ?? {}) as Partial<MessagesInside>
  const { username, key } = request?.requestProvider ?? {}
  if (typeof username !== 'string' || typeof key !== 'string') {
    throw configurationError('mailgun: client must be a client of mailgun.js')
  }
  return { username, apiKey: key, url: urlOption('mailgun', 'client.url', request?.url) }
}

async function loadClient({ client, username, apiKey, url }: Connection): Promise<MailgunClient> {
  if (client) return client
  const { default: Mailgun } = await loadPeer('mailgun', 'mailgun.js', () => import('mailgun.js'))
  return new Mailgun(FormData).client({ username, key: apiKey, url })
}

interface Messages {
  create(domain: string, data: MailgunForm): Promise<unknown>
}

/** The client's messages over our transport; the client itself stays as it is, whoever else uses it. */
function overTransport({ messages }: MailgunClient, transport: Transport): Messages {
  const { request } = messages as MessagesInside
  const redirected = Object.create(request, { requestProvider: { value: transport } }) as object
  return Object.create(messages, { request: { value: redirected } }) as Messages
}

type Secrets = readonly string[]

function secretsOf({ username, apiKey }: Connection): Secrets {
  return [apiKey, Buffer.from(`${username}:${apiKey}`).toString('base64')]
}

function answerOf(answer: HttpAnswer, secrets: Secrets): Answer {
  const code = `http ${answer.status}`
  if (answer.status !== 200) throw errorOf(answer, secrets)
  const id = textOf(parseJson(answer.body), 'id')
  // Events spell it without the brackets.
  if (id !== undefined) return { providerMessageId: id.replace(/^<(.*)>$/, '$1'), code }
  throw handOverError({ outcome: 'unknown', kind: 'transient', reason: 'a success that names no message', code })
}

function errorOf(answer: HttpAnswer, secrets: Secrets): MailError {
  const { status, body, headers } = answer
  const words = textOf(parseJson(body), 'message') ?? body.subarray(0, 500).toString()
  const retryAfter = retryAfterOf(headers) ?? waitOf(status, words)
  return handOverError({
    ...meaningOf(status, words),
    reason: words || `Mailgun answered ${status}`,
    code: `http ${status}`,
    secrets,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  })
}

/** Mailgun has no codes below the status: only its words tell whom a 400 is about. */
function meaningOf(status: number, words: string): Pick<HandOverFailure, 'outcome' | 'kind'> {
  if (status !== 400 && status !== 403) return meaningOfStatus(status)
  if (/not allowed to send|sandbox subdomains/i.test(words)) return { outcome: 'failed', kind: 'account' }
  if (status === 403) return meaningOfStatus(status)
  if (/\bfrom'? parameter/i.test(words)) return { outcome: 'failed', kind: 'sender' }
  if (/not a valid address/i.test(words)) return { outcome: 'rejected', kind: 'recipient' }
  return meaningOfStatus(status)
}

/** The seconds stand in the words of a 429 only. */
function waitOf(status: number, words: string): number | undefined {
  const seconds = status === 429 ? /try again after (\d{1,7}) seconds/.exec(words)?.[1] : undefined
  return seconds === undefined ? undefined : Number(seconds) * 1000
}
