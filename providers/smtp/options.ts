import { createPrivateKey, type KeyObject } from 'node:crypto'
import type { AddressInput } from '../../src/provider.ts'
import { configurationError } from '../../src/provider.ts'

/** How the connection is protected (INVARIANTS W6). */
export type SmtpTls =
  /** STARTTLS, and no mail without it. Default, except on port 465. */
  | 'required'
  /** TLS from the first byte. Default on port 465. */
  | 'implicit'
  /** STARTTLS when offered. Credentials still never travel in clear text. */
  | 'opportunistic'
  /** Clear text, credentials included. For loopback and trusted networks only. */
  | 'none'

export type SmtpAuth =
  | { readonly user: string; readonly pass: string }
  | { readonly type: 'oauth2'; readonly user: string; readonly accessToken: string }
  | {
      readonly type: 'oauth2'
      readonly user: string
      readonly clientId: string
      readonly clientSecret: string
      readonly refreshToken: string
      /** Where the refresh token is exchanged; https. */
      readonly accessUrl: string
    }

export interface SmtpOptions {
  /**
   * `smtp://user:pass@host:587` (STARTTLS required) or `smtps://user:pass@host:465` (TLS from the start), user and
   * password percent-encoded. `?tls=none` and `?tls=opportunistic` loosen it, `?name=` sets `name`.
   */
  readonly url?: string
  /** Required without `url`. */
  readonly host?: string
  /** Default 587, or 465 with `tls: 'implicit'`. */
  readonly port?: number
  readonly auth?: SmtpAuth
  /** Default `required`; `implicit` on port 465. */
  readonly tls?: SmtpTls
  /** PEM certificates to trust instead of the system's. Certificate checks cannot be turned off. */
  readonly ca?: string | readonly string[]
  /** The name the certificate must show. Default: the host. */
  readonly servername?: string
  /** What we call ourselves in EHLO. Default: the machine's full name, else `[127.0.0.1]`. */
  readonly name?: string
  /** `false` opens a connection for each message. */
  readonly pool?: SmtpPoolOptions | false
  /** Signs every message. RSA, as PEM or `KeyObject`. */
  readonly dkim?: SmtpDkim
  /** Stands in when message, tenant and mailer have no from. */
  readonly from?: AddressInput
  /** The bounce address told to the server instead of the delivery's own. */
  readonly envelopeFrom?: string
  readonly timeouts?: SmtpTimeouts
}

export interface SmtpPoolOptions {
  /** Connections open at once. Default 5. */
  readonly connections?: number
  /** Messages over one connection before it is replaced. Default `Infinity`. */
  readonly messages?: number
  /** Milliseconds an unused connection is kept. Default 30 000. */
  readonly idle?: number
}

export interface SmtpDkim {
  readonly domainName: string
  readonly keySelector: string
  readonly privateKey: string | KeyObject
}

/** Milliseconds. A send never takes longer than its own time limit, whatever stands here. */
export interface SmtpTimeouts {
  /** From the name look-up to the end of the TLS handshake. Default 10 000. */
  readonly connection?: number
  /** For the server's first line. Default 10 000. */
  readonly greeting?: number
  /** Of silence in the middle of a conversation. Default 30 000. */
  readonly socket?: number
}

/** The options, checked and completed. */
export interface SmtpSettings {
  readonly host: string
  readonly port: number
  readonly tls: SmtpTls
  readonly auth?: SmtpAuth
  readonly ca?: string | string[]
  readonly servername?: string
  readonly name?: string
  readonly pool: Required<SmtpPoolOptions> | false
  readonly dkim?: { readonly domainName: string; readonly keySelector: string; readonly privateKey: KeyObject }
  readonly from?: AddressInput
  readonly envelopeFrom?: string
  readonly timeouts: Required<SmtpTimeouts>
}

const tlsModes: readonly string[] = ['required', 'implicit', 'opportunistic', 'none'] satisfies SmtpTls[]

const known: ReadonlySet<string> = new Set([
  'url',
  'host',
  'port',
  'auth',
  'tls',
  'ca',
  'servername',
  'name',
  'pool',
  'dkim',
  'from',
  'envelopeFrom',
  'timeouts',
] satisfies (keyof SmtpOptions)[])

/** Throws `CONFIGURATION_ERROR` naming the option; never with its value, which may be a secret. */
export function settingsOf(options: SmtpOptions): SmtpSettings {
  if (typeof options !== 'object' || options === null) throw refuse('options', 'must be an object with url or host')
  for (const key of Object.keys(options)) {
    if (!known.has(key)) throw refuse(key, 'is not an option; see SmtpOptions')
  }
  if (options.url !== undefined && options.host !== undefined) throw refuse('host', 'cannot stand beside url')
  const given = { ...(options.url === undefined ? {} : fromUrl(options.url)), ...defined(options) }
  const { host, name, servername, envelopeFrom, from } = given
  if (typeof host !== 'string' || !/^[^\s\p{Cc}]+$/u.test(host)) throw refuse('host', 'must name the server')
  const tls = given.tls ?? (given.port === 465 ? 'implicit' : 'required')
  if (!tlsModes.includes(tls)) throw refuse('tls', `must be one of ${tlsModes.join(', ')}`)
  const port = given.port ?? (tls === 'implicit' ? 465 : 587)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw refuse('port', 'must be a whole number to 65535')
  if (name !== undefined && !/^[\x21-\x7e]{1,255}$/.test(name)) throw refuse('name', 'must be a host name')
  if (servername !== undefined && typeof servername !== 'string') throw refuse('servername', 'must be a host name')
  if (envelopeFrom !== undefined && !/^(?:[^\s<>\p{Cc}]+@[^\s<>@\p{Cc}]+)?$/u.test(envelopeFrom)) {
    throw refuse('envelopeFrom', 'must be a bare mailbox, or empty for the null sender')
  }
  return {
    host,
    port,
    tls,
    auth: given.auth && checkedAuth(given.auth),
    ca: checkedCa(given.ca),
    servername,
    name,
    pool: checkedPool(given.pool),
    dkim: given.dkim && checkedDkim(given.dkim),
    from,
    envelopeFrom,
    timeouts: checkedTimeouts(given.timeouts),
  }
}

const refuse = (option: string, what: string) => configurationError(`smtp: ${option} ${what}`)

function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}

function fromUrl(text: string): SmtpOptions {
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['smtp:', 'smtps:'].includes(url.protocol) || url.hostname === '') {
    throw refuse('url', 'must read smtp://user:password@host:port or smtps://…, user and password percent-encoded')
  }
  for (const key of url.searchParams.keys()) {
    if (key !== 'tls' && key !== 'name') throw refuse(`url parameter ${JSON.stringify(key)}`, 'is not known')
  }
  if (!['', '/'].includes(url.pathname) || url.hash !== '') throw refuse('url', 'has neither path nor fragment')
  const tls = url.searchParams.get('tls') ?? (url.protocol === 'smtps:' ? 'implicit' : undefined)
  if (url.protocol === 'smtps:' && tls !== 'implicit') throw refuse('url', 'with smtps is always tls=implicit')
  return defined({
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? undefined : Number(url.port),
    tls: (tls ?? undefined) as SmtpTls | undefined,
    name: url.searchParams.get('name') ?? undefined,
    auth: url.username === '' ? undefined : { user: decoded(url.username), pass: decoded(url.password) },
  })
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw refuse('url', 'has a user or password that is not percent-encoded')
  }
}

function checkedAuth(auth: SmtpAuth): SmtpAuth {
  const fields = new Map<string, unknown>(Object.entries(auth))
  const need = (name: string) => {
    const value = fields.get(name)
    if (typeof value !== 'string' || value === '') throw refuse(`auth.${name}`, 'must be a string that is not empty')
    // A NUL would end a field of AUTH PLAIN early.
    if (value.includes('\0')) throw refuse(`auth.${name}`, 'must not hold a NUL')
    return value
  }
  const user = need('user')
  if (!('type' in auth)) return { user, pass: need('pass') }
  if (auth.type !== 'oauth2') throw refuse('auth.type', "must be 'oauth2' or absent")
  if (fields.has('accessToken')) return { type: 'oauth2', user, accessToken: need('accessToken') }
  const accessUrl = need('accessUrl')
  if (!URL.canParse(accessUrl) || !isSafe(new URL(accessUrl))) throw refuse('auth.accessUrl', 'must be an https URL')
  return {
    type: 'oauth2',
    user,
    clientId: need('clientId'),
    clientSecret: need('clientSecret'),
    refreshToken: need('refreshToken'),
    accessUrl,
  }
}

const isSafe = (url: URL) =>
  url.protocol === 'https:' || (url.protocol === 'http:' && ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname))

function checkedCa(ca: SmtpOptions['ca']): string | string[] | undefined {
  if (ca === undefined) return undefined
  const list = typeof ca === 'string' ? [ca] : [...ca]
  if (!list.every((pem) => typeof pem === 'string' && pem.includes('-----BEGIN CERTIFICATE-----'))) {
    throw refuse('ca', 'must hold PEM certificates')
  }
  return list
}

function checkedPool(pool: SmtpOptions['pool']): Required<SmtpPoolOptions> | false {
  if (pool === false) return false
  const { connections = 5, messages = Number.POSITIVE_INFINITY, idle = 30_000 } = pool ?? {}
  if (!Number.isInteger(connections) || connections < 1) throw refuse('pool.connections', 'must be 1 or more')
  if (messages !== Number.POSITIVE_INFINITY && (!Number.isInteger(messages) || messages < 1)) {
    throw refuse('pool.messages', 'must be 1 or more, or Infinity')
  }
  return { connections, messages, idle: milliseconds('pool.idle', idle) }
}

function checkedTimeouts(timeouts: SmtpTimeouts = {}): Required<SmtpTimeouts> {
  const { connection = 10_000, greeting = 10_000, socket = 30_000 } = timeouts
  return {
    connection: milliseconds('timeouts.connection', connection),
    greeting: milliseconds('timeouts.greeting', greeting),
    socket: milliseconds('timeouts.socket', socket),
  }
}

function milliseconds(option: string, value: number): number {
  if (!Number.isFinite(value) || value < 1 || value > 2_147_483_647) throw refuse(option, 'must be milliseconds, 1 up')
  return value
}

function checkedDkim({ domainName, keySelector, privateKey }: SmtpDkim): NonNullable<SmtpSettings['dkim']> {
  if (!/^[a-z0-9.-]+$/i.test(domainName ?? '')) throw refuse('dkim.domainName', 'must be a domain in ASCII form')
  if (!/^[a-z0-9._-]+$/i.test(keySelector ?? '')) throw refuse('dkim.keySelector', 'must be a DNS label')
  let key: KeyObject
  try {
    key = typeof privateKey === 'string' ? createPrivateKey(privateKey) : privateKey
  } catch {
    throw refuse('dkim.privateKey', 'must be a PEM private key')
  }
  if (key?.type !== 'private' || key.asymmetricKeyType !== 'rsa') {
    throw refuse('dkim.privateKey', 'must be an RSA private key')
  }
  return { domainName, keySelector, privateKey: key }
}
