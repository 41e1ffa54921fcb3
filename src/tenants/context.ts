import type { Clock } from '../clock.ts'
import { configurationError } from '../errors.ts'
import { type Limits, type ResolvedLimits, resolveLimits } from '../limits.ts'
import { canonicalDomain, isProblem, type ParsedMailbox, parseMailbox } from '../message/address.ts'
import { hashKey } from '../message/fingerprint.ts'
import type { AddressInput } from '../message/message.ts'
import type { Provider } from '../provider.ts'
import { Breaker } from '../routing/breaker.ts'
import { Pace } from '../routing/pace.ts'
import { failover, type Route, type RouteInput, toRoute } from '../routing/route.ts'
import type { Window } from '../stores/store.ts'

/** Everything that is different from one tenant to the next. Nothing is inherited but limits and the list of senders. */
export interface TenantConfig {
  /** Its own, by name. They are opened on first use, and closed when replaced or long unused. */
  readonly providers?: Readonly<Record<string, Provider>>
  /** Default: the first of its own providers. A route may name the mailer's providers too. */
  readonly route?: RouteInput
  /** Default sender. */
  readonly from?: AddressInput
  /** Domains and addresses that may stand in From. Default: the mailer's. */
  readonly senders?: readonly string[]
  readonly limits?: Limits
  /** Default `live`. `sandbox` accepts and sends nothing; `blocked` refuses. */
  readonly mode?: 'live' | 'sandbox' | 'blocked'
  /** The config counts as unchanged while this is; without it, while it is the same object. */
  readonly version?: string | number
}

/** What may stand in From: whole canonical domains and mailbox keys (INVARIANTS A7). */
export type Senders = ReadonlySet<string>

export interface ContextParts {
  readonly tenant?: string
  readonly config: TenantConfig
  /** The mailer's, for routes that name them and limits left out. */
  readonly base?: TenantContext
  readonly clock: Clock
  readonly from?: ParsedMailbox
}

/** The windows of one quota or provider, and the key they are counted under. */
export interface Budget {
  readonly key: string
  readonly windows: readonly Window[]
  /** Whose it is; absent for the mailer's. */
  readonly tenant?: string
}

/** One tenant's settings and state, or the mailer's own for messages without tenant. */
export class TenantContext {
  readonly tenant: string | undefined
  readonly mode: 'live' | 'sandbox' | 'blocked'
  readonly from: ParsedMailbox | undefined
  readonly senders: Senders | undefined
  readonly limits: ResolvedLimits
  readonly route: Route | undefined
  readonly quotas: readonly Budget[]
  /** Its own providers, in the order given. */
  readonly own: ReadonlyMap<string, Provider>
  readonly #base: TenantContext | undefined
  readonly #clock: Clock
  readonly #breakers = new Map<string, Breaker>()
  readonly #paces = new Map<string, Pace>()
  readonly #budgets: ReadonlyMap<string, Budget>

  constructor({ tenant, config, base, clock, from }: ContextParts) {
    const where = tenant === undefined ? '' : 'tenant: '
    this.tenant = tenant
    this.mode = config.mode ?? 'live'
    if (!['live', 'sandbox', 'blocked'].includes(this.mode)) {
      throw configurationError(`${where}mode is 'live', 'sandbox' or 'blocked'.`)
    }
    this.#base = base
    this.#clock = clock
    this.own = new Map(Object.entries(config.providers ?? {}))
    for (const [name, provider] of this.own) checkProvider(where, name, provider)
    this.limits = resolveLimits(config.limits, base?.limits, `${where}limits`)
    for (const name of Object.keys(config.limits?.providers ?? {})) {
      if (this.own.has(name)) continue
      const advice =
        tenant === undefined
          ? 'Known are those in providers.'
          : 'A tenant limits its own providers; set one of the mailer’s in the mailer’s limits, or give the tenant a quota.'
      throw configurationError(`${where}limits.providers.${name} is the limit of no provider. ${advice}`)
    }
    this.senders = config.senders ? sendersOf(config.senders, where) : base?.senders
    this.route = routeOf(config.route, this.own)
    for (const name of this.route?.names ?? []) {
      if (!this.provider(name)) throw configurationError(`${where}route names '${name}', which is not in providers.`)
    }
    this.from = from ?? this.#firstFrom()
    const whose = tenant === undefined ? {} : { tenant }
    const own = { key: hashKey('quota', tenant), windows: this.limits.quota, ...whose }
    this.#budgets = new Map(
      [...this.limits.providers].map(([name, windows]) => [
        name,
        { key: hashKey('provider', tenant, name), windows, ...whose },
      ]),
    )
    this.quotas = [...(base?.quotas ?? []), own].filter(({ windows }) => windows.length > 0)
  }

  provider(name: string): Provider | undefined {
    return this.own.get(name) ?? this.#base?.provider(name)
  }

  breaker(name: string): Breaker {
    let breaker = this.#breakers.get(name)
    if (!breaker) {
      breaker = new Breaker(this.#clock)
      this.#breakers.set(name, breaker)
    }
    return breaker
  }

  /** How fast the provider may be used, shared by all who use the account. */
  pace(name: string): Pace {
    if (!this.own.has(name) && this.#base) return this.#base.pace(name)
    let pace = this.#paces.get(name)
    if (!pace) {
      pace = new Pace(this.#clock)
      this.#paces.set(name, pace)
    }
    return pace
  }

  /** The provider's budget, counted for whoever owns the account. */
  budget(name: string): Budget | undefined {
    return this.own.has(name) ? this.#budgets.get(name) : this.#base?.budget(name)
  }

  /** Names of the providers it may use that have a budget. */
  get limited(): readonly string[] {
    const own = [...this.#budgets.keys()].filter((name) => this.own.has(name))
    const others = (this.#base?.limited ?? []).filter((name) => !this.own.has(name))
    return [...own, ...others]
  }

  /** Its settings stay out of logs; providers hold credentials. */
  toJSON(): object {
    return { tenant: this.tenant, mode: this.mode }
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `TenantContext ${this.tenant ?? '(none)'}`
  }

  #firstFrom(): ParsedMailbox | undefined {
    const name = this.route?.names[0]
    const from = name === undefined ? undefined : this.provider(name)?.from
    return from === undefined ? undefined : fromOption(from, `the from of provider '${name}'`)
  }
}

/** A `from` option, read by the same rules as any address but without nodemailer, so that factories can check it at once. */
export function fromOption(input: AddressInput, where: string): ParsedMailbox {
  const parts = typeof input === 'string' ? /^(.*)<([^<>]*)>\s*$/s.exec(input) : undefined
  const address = typeof input === 'string' ? (parts ? parts[2]! : input.trim()) : input?.address
  const name =
    typeof input === 'string'
      ? parts?.[1]
          ?.trim()
          .replace(/^"(.*)"$/s, '$1')
          .replace(/\\(.)/gs, '$1')
      : input?.name
  const mailbox =
    typeof address === 'string' ? parseMailbox(address) : { code: 'invalid_type', message: 'Is no address.' }
  if (isProblem(mailbox)) throw configurationError(`${where} is no address: ${mailbox.message}`)
  if (name !== undefined && (name.length > 300 || /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u.test(name))) {
    throw configurationError(`${where} has a name with invisible characters, or one longer than 300.`)
  }
  return name === undefined || name === '' ? mailbox : { ...mailbox, name }
}

function sendersOf(list: readonly string[], where: string): Senders {
  return new Set(
    list.map((entry) => {
      if (typeof entry === 'string' && entry.includes('@')) {
        const mailbox = parseMailbox(entry)
        if (!isProblem(mailbox)) return mailbox.key
      } else if (typeof entry === 'string') {
        const domain = canonicalDomain(entry)
        if (domain !== undefined) return domain
      }
      throw configurationError(`${where}senders holds domains ('acme.example') and addresses ('a@acme.example') only.`)
    }),
  )
}

function routeOf(input: RouteInput | undefined, own: ReadonlyMap<string, Provider>): Route | undefined {
  if (input !== undefined) return toRoute(input)
  const [first] = own.keys()
  return first === undefined ? undefined : failover(first)
}

function checkProvider(where: string, name: string, provider: Provider): void {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) {
    throw configurationError(`${where}provider names are 1 to 64 letters, digits, _ and -.`)
  }
  if (typeof provider?.send !== 'function' || typeof provider.capabilities !== 'object') {
    throw configurationError(`${where}providers.${name} is no provider; use smtp(…), ses(…) or another factory.`)
  }
}
