import { types } from 'node:util'
import type { Clock } from './clock.ts'
import type { Stream } from './delivery.ts'
import type { RetryOptions } from './dispatch/rounds.ts'
import { configurationError, MailError } from './errors.ts'
import type { Logger } from './events.ts'
import type { Ids } from './ids.ts'
import type { Limits } from './limits.ts'
import type { AddressRules } from './message/address.ts'
import type { AddressInput, Message } from './message/message.ts'
import type { Policy } from './policies/policy.ts'
import type { Provider } from './provider.ts'
import type { QueueEngine } from './queues/engine.ts'
import type { Route, RouteFunction, RouteInput } from './routing/route.ts'
import type { KeyvLike } from './stores/keyv.ts'
import type { MailStore, Retention, Transaction } from './stores/store.ts'
import type { Tenants } from './tenants/registry.ts'

export type Providers = Readonly<Record<string, Provider>>

/** The names in `providers`. */
export type NameOf<P extends Providers> = Extract<keyof P, string>

/** What `providerOptions` may hold: for each name, the options of that provider. */
export type OptionsOf<P extends Providers> = {
  readonly [N in keyof P]?: P[N] extends Provider<infer O> ? O : never
}

/** A message for a mailer with these providers. */
export type MessageFor<P extends Providers> = Message<OptionsOf<P>>

export interface MailerOptions<P extends Providers = Providers> {
  /** By the names routes and receipts use: 1 to 64 letters, digits, `_` and `-`. */
  readonly providers: P
  /** Default: the first provider. */
  readonly route?: NameOf<P> | Route<NameOf<P>> | RouteFunction<NameOf<P>>
  /** Default sender of messages without tenant. */
  readonly from?: AddressInput
  /** Domains and addresses that may stand in From. Default: any. */
  readonly senders?: readonly string[]
  /** Default: memory. A `Keyv` is taken as well. */
  readonly store?: MailStore | KeyvLike
  /** `shared` demands a store whose claims hold between processes. Default `process`. */
  readonly scope?: 'process' | 'shared'
  readonly queue?: QueueOptions
  readonly tenants?: Tenants
  /** How many tenants may have own providers open at once. Default 100. */
  readonly openTenants?: number
  /** Default: true when `tenants` is set. */
  readonly requireTenant?: boolean
  readonly limits?: Limits<NameOf<P>>
  /** Everything is checked and kept, nothing sent. Default false. */
  readonly sandbox?: boolean
  readonly policies?: { readonly accept?: readonly Policy[]; readonly dispatch?: readonly Policy[] }
  readonly retry?: RetryOptions
  /** Milliseconds a call has, waits included. Default 30,000. */
  readonly timeout?: number
  /** Milliseconds an idempotency key is held. Default 24 hours. */
  readonly idempotencyTtl?: number
  /** How long settled messages and their content are kept. Default 30 days and 72 hours. */
  readonly retention?: Retention
  /** Makes a missing text part from the html, with the package `html-to-text`. Default false. */
  readonly textFromHtml?: boolean
  /** Address forms that are refused by default. */
  readonly addresses?: AddressRules
  readonly logger?: Logger
  readonly clock?: Clock
  /** Answers numbers in [0, 1). */
  readonly random?: () => number
  readonly ids?: Ids
}

export interface QueueOptions {
  /** Carries jobs between processes: `bullmq(…)` or `pgBoss(…)`. Default: workers look into the store. */
  readonly engine?: QueueEngine
  /** Whether this process dispatches queued messages, from the start on. Default: true with a store of this process, else false. */
  readonly work?: boolean
  /** Messages dispatched at a time. Default 10. */
  readonly concurrency?: number
}

export interface SendOptions<N extends string = string> {
  readonly tenant?: string
  /** 1 to 255 visible ASCII characters: this mail, once. */
  readonly idempotencyKey?: string
  /** Only this provider. */
  readonly provider?: N
  /** Instead of the tenant's route. */
  readonly route?: RouteInput<N>
  readonly signal?: AbortSignal
  /**
   * Milliseconds, waits included. Default 30,000. For `enqueue` it bounds the accept; a run from the queue has the mailer's
   * `timeout`, or this where it is longer.
   */
  readonly timeout?: number
  /** Never handed over at or after this moment. */
  readonly notAfter?: Date | number | string
  /** For `enqueue`: not before this moment. */
  readonly sendAt?: Date | number | string
  /** -10 to 10; higher ones leave the queue first. Default 0. */
  readonly priority?: number
  /**
   * For `enqueue`: accepts in your own database transaction, so that the message is there if and only if it commits. Needs
   * the PostgreSQL store; takes a client of `pg` (not a pool) between BEGIN and COMMIT, on the store's database. Until then
   * a receipt and the event `accepted` are provisional. When the call rejects, roll back.
   */
  readonly transaction?: Transaction
  /** True sends nothing. False changes nothing: the sandbox of a mailer or tenant cannot be left. */
  readonly sandbox?: boolean
  /** Default `transactional`. */
  readonly stream?: Stream
  /** `resend` accepts duplicates: an uncertain hand-over is repeated like a failed one. Default `hold`. */
  readonly onUnknown?: 'hold' | 'resend'
}

/** Send options, checked. */
export interface CheckedSendOptions extends Omit<SendOptions, 'notAfter' | 'sendAt'> {
  readonly notAfter?: number
  readonly sendAt?: number
  readonly priority: number
  readonly stream: Stream
  readonly onUnknown: 'hold' | 'resend'
  readonly timeout: number
}

const longestTimeout = 86_400_000
const known = [
  'tenant',
  'idempotencyKey',
  'provider',
  'route',
  'signal',
  'timeout',
  'notAfter',
  'sendAt',
  'priority',
  'sandbox',
  'stream',
  'onUnknown',
  'transaction',
]

/** A copy that no later change reaches, each option read once. @throws MailError `VALIDATION_ERROR`. */
export const takeOptions = (options?: unknown): SendOptions => takeFields<SendOptions>('options', options, known)

/** The same for any object of named fields; `name` is what errors call it. */
export function takeFields<T extends object>(name: string, given: unknown = {}, fields: readonly string[]): Partial<T> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw refused(name, 'Must be an object.')
  const taken: Record<string, unknown> = {}
  let reading = name
  try {
    for (const field of Object.keys(given)) {
      if (!fields.includes(field)) throw refused(name, `Has a field that is none of ${fields.join(', ')}.`)
      reading = `${name}.${field}`
      taken[field] = (given as Record<string, unknown>)[field]
    }
  } catch (error) {
    throw error instanceof MailError ? error : refused(reading, 'Threw while it was read; pass plain data.')
  }
  return taken as Partial<T>
}

/** @throws MailError `VALIDATION_ERROR` naming the option. */
export function checkSendOptions(given: SendOptions, timeout: number): CheckedSendOptions {
  const options = takeOptions(given)
  const {
    idempotencyKey,
    provider,
    signal,
    priority = 0,
    sandbox,
    stream = 'transactional',
    onUnknown = 'hold',
    transaction,
  } = options
  if (idempotencyKey !== undefined && !(typeof idempotencyKey === 'string' && /^[!-~]{1,255}$/.test(idempotencyKey))) {
    throw refused('options.idempotencyKey', 'Must be 1 to 255 visible ASCII characters.')
  }
  if (provider !== undefined && typeof provider !== 'string') throw refused('options.provider', 'Must be a name.')
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw refused('options.signal', 'Must be an AbortSignal.')
  }
  if (!Number.isInteger(priority) || priority < -10 || priority > 10) {
    throw refused('options.priority', 'Must be a whole number from -10 to 10.')
  }
  if (sandbox !== undefined && typeof sandbox !== 'boolean') throw refused('options.sandbox', 'Must be true or false.')
  if (stream !== 'transactional' && stream !== 'marketing') {
    throw refused('options.stream', "Must be 'transactional' or 'marketing'.")
  }
  if (onUnknown !== 'hold' && onUnknown !== 'resend') throw refused('options.onUnknown', "Must be 'hold' or 'resend'.")
  const allowed = options.timeout ?? timeout
  if (!(typeof allowed === 'number' && allowed >= 1 && allowed <= longestTimeout)) {
    throw refused('options.timeout', `Must be 1 to ${longestTimeout} milliseconds.`)
  }
  if (transaction !== undefined && !isTransaction(transaction)) {
    throw refused('options.transaction', 'Must be a client with an open transaction: pool.connect(), not the pool.')
  }
  const { notAfter, sendAt, ...rest } = options
  const latestAt = notAfter === undefined ? undefined : moment('options.notAfter', notAfter)
  const earliestAt = sendAt === undefined ? undefined : moment('options.sendAt', sendAt)
  if (latestAt !== undefined && earliestAt !== undefined && earliestAt >= latestAt) {
    throw refused('options.sendAt', 'Must be before notAfter: the message could never be sent.')
  }
  return {
    ...rest,
    priority,
    stream,
    onUnknown,
    timeout: allowed,
    ...(latestAt === undefined ? {} : { notAfter: latestAt }),
    ...(earliestAt === undefined ? {} : { sendAt: earliestAt }),
  }
}

/** A pool of `pg` has `query` too, and would run each statement in a transaction of its own. */
const isTransaction = (given: unknown): given is Transaction =>
  typeof (given as Partial<Transaction> | null)?.query === 'function' && !('totalCount' in (given as object))

const isoMoment = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?$/
/** The last moment a Date can hold. */
const latest = 8_640_000_000_000_000

export function moment(path: string, value: unknown): number {
  let time = Number.NaN
  if (typeof value === 'number') time = value
  else if (types.isDate(value)) time = Date.prototype.getTime.call(value)
  else if (typeof value === 'string' && value.length <= 40 && isoMoment.test(value) && isDay(value)) {
    time = Date.parse(value)
  }
  if (!(time >= 0 && time <= latest)) throw refused(path, 'Must be a Date, ISO 8601 text or milliseconds since 1970.')
  return time
}

/** Whether the calendar has it: `Date.parse` makes 3 March of 31 February. */
function isDay(text: string): boolean {
  const day = text.slice(0, 10)
  const time = Date.parse(day)
  return Number.isFinite(time) && new Date(time).toISOString().startsWith(day)
}

export function refused(path: string, message: string): MailError {
  return new MailError('VALIDATION_ERROR', `${path}: ${message}`, {
    issues: [{ path, code: 'invalid_option', message }],
  })
}

const mailerOptions = new Set<string>([
  'providers',
  'route',
  'from',
  'senders',
  'store',
  'scope',
  'queue',
  'tenants',
  'openTenants',
  'requireTenant',
  'limits',
  'sandbox',
  'policies',
  'retry',
  'timeout',
  'idempotencyTtl',
  'retention',
  'textFromHtml',
  'addresses',
  'logger',
  'clock',
  'random',
  'ids',
])

/** @throws MailError `CONFIGURATION_ERROR` naming the option. */
export function checkMailerOptions(options: MailerOptions): void {
  if (typeof options !== 'object' || options === null) throw configurationError('createMailer needs an options object.')
  for (const name of Object.keys(options)) {
    if (!mailerOptions.has(name))
      throw configurationError(`createMailer has no option '${/^\w{1,64}$/.test(name) ? name : '…'}'.`)
  }
  if (typeof options.providers !== 'object' || options.providers === null) {
    throw configurationError('createMailer needs `providers`: { name: provider }.')
  }
  const positive = (path: string, value: number | undefined, whole = true) => {
    if (value !== undefined && !(Number.isFinite(value) && value > 0 && (!whole || Number.isInteger(value)))) {
      throw configurationError(`${path} must be a positive number.`)
    }
  }
  positive('timeout', options.timeout)
  positive('idempotencyTtl', options.idempotencyTtl)
  for (const name of Object.keys(options.retention ?? {})) {
    if (name !== 'records' && name !== 'content') throw configurationError('retention takes records and content only.')
  }
  positive('retention.records', options.retention?.records, false)
  positive('retention.content', options.retention?.content, false)
  positive('openTenants', options.openTenants)
  positive('queue.concurrency', options.queue?.concurrency)
  positive('retry.rounds', options.retry?.rounds)
  positive('retry.base', options.retry?.base, false)
  positive('retry.longest', options.retry?.longest, false)
  checkShapes(options)
  for (const pause of options.retry?.schedule ?? []) positive('retry.schedule', pause, false)
}

/** What the compiler promises to those who use it, for those who do not. */
function checkShapes(options: MailerOptions): void {
  const must = (path: string, sound: boolean, what: string) => {
    if (!sound) throw configurationError(`${path} must be ${what}.`)
  }
  const isList = (value: unknown): value is readonly unknown[] | undefined =>
    value === undefined || Array.isArray(value)
  const has = (value: unknown, ...names: readonly string[]) =>
    typeof value === 'object' &&
    value !== null &&
    names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')
  const { senders, retry, policies, scope, tenants, clock, logger } = options
  must('senders', isList(senders), 'a list of domains and addresses')
  must('retry.schedule', isList(retry?.schedule), 'a list of milliseconds')
  for (const name of ['accept', 'dispatch'] as const) {
    const list: unknown = policies?.[name]
    const sound = isList(list) && (list ?? []).every((policy) => typeof policy === 'function')
    must(`policies.${name}`, sound, 'a list of functions')
  }
  must('scope', scope === undefined || scope === 'process' || scope === 'shared', "'process' or 'shared'")
  for (const name of ['sandbox', 'requireTenant', 'textFromHtml'] as const) {
    must(name, options[name] === undefined || typeof options[name] === 'boolean', 'true or false')
  }
  for (const name of ['random', 'ids'] as const) {
    must(name, options[name] === undefined || typeof options[name] === 'function', 'a function')
  }
  const engine: unknown = options.queue?.engine
  const verbs = ['enqueue', 'work', 'pause', 'resume', 'close', 'stats']
  must('queue.engine', engine === undefined || has(engine, ...verbs), 'a queue engine')
  must('clock', clock === undefined || has(clock, 'now', 'monotonic', 'setTimeout'), 'a Clock')
  must('logger', logger === undefined || has(logger, 'warn', 'error'), 'an object with warn and error')
  const isRecord = typeof tenants === 'object' && tenants !== null
  must('tenants', tenants === undefined || typeof tenants === 'function' || isRecord, 'an object or a function')
}
