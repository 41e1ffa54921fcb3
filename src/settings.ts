import { type Clock, systemClock } from './clock.ts'
import type { RetryOptions } from './dispatch/rounds.ts'
import { configurationError } from './errors.ts'
import { Events } from './events.ts'
import { type Ids, messageIds } from './ids.ts'
import type { ReaderOptions } from './message/reader.ts'
import { checkMailerOptions, type MailerOptions, refused } from './options.ts'
import { type CustomPolicies, customPolicies } from './policies/custom.ts'
import type { QueueEngine } from './queues/engine.ts'
import { clientOf, guaranteesOn } from './stores/keyv-client.ts'
import { checkKeyv, isKeyv } from './stores/keyv-like.ts'
import type { Guarantees, Retention } from './stores/store.ts'
import { fromOption, TenantContext } from './tenants/context.ts'
import { OpenProviders } from './tenants/open-providers.ts'
import { isTenantId, TenantRegistry } from './tenants/registry.ts'
import { UnderWay } from './under-way.ts'

/** What a mailer was told, checked and with its defaults filled in. Made at once; what works on messages is in `Parts`. */
export interface Settings {
  readonly clock: Clock
  readonly events: Events
  readonly random: () => number
  readonly ids: Ids
  readonly retry: Required<RetryOptions>
  /** The store as it was given; absent for memory. */
  readonly givenStore: MailerOptions['store']
  readonly idempotencyTtl: number
  readonly retention: Retention
  readonly reading: ReaderOptions
  readonly custom: { readonly accept: CustomPolicies; readonly dispatch: CustomPolicies }
  readonly underWay: UnderWay
  readonly root: TenantContext
  readonly tenants: TenantRegistry
  readonly openTenants: OpenProviders
  readonly requireTenant: boolean
  readonly sandbox: boolean
  readonly timeout: number
  readonly work: boolean
  readonly engine: QueueEngine | undefined
  readonly concurrency: number
  /** Set by `close`: nothing new is taken. */
  readonly state: { closed: boolean }
  /** @throws MailError `VALIDATION_ERROR` */
  tenantId(id: unknown): string
}

const defaultTimeout = 30_000
const defaultIdempotencyTtl = 86_400_000
const defaultConcurrency = 10
const defaultOpenTenants = 100
const defaultRetry = {
  rounds: 3,
  base: 500,
  longest: 30_000,
  schedule: [1, 2, 5, 10, 30, 60, 120, 240, 480, 480].map((minutes) => minutes * 60_000),
}

/** @throws MailError `CONFIGURATION_ERROR` */
export function settingsOf(options: MailerOptions): Settings {
  checkMailerOptions(options)
  const clock = options.clock ?? systemClock
  const { scope, durability } = guaranteesOf(options.store)
  if (options.scope === 'shared' && scope === 'process') {
    throw configurationError(
      "scope 'shared' needs a store whose claims hold between processes; this one holds in its own process only. Use sqlite(path), redis({ client }), postgres({ pool }), or a Keyv over one of them, @keyv/redis, @keyv/valkey or @keyv/postgres.",
    )
  }
  const root = new TenantContext({
    config: {
      providers: options.providers,
      ...(options.route === undefined ? {} : { route: options.route }),
      ...(options.senders === undefined ? {} : { senders: options.senders }),
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    },
    clock,
    ...(options.from === undefined ? {} : { from: fromOption(options.from, 'from') }),
  })
  const openTenants = new OpenProviders(options.openTenants ?? defaultOpenTenants)
  return {
    clock,
    events: new Events(options.logger),
    random: options.random ?? Math.random,
    ids: options.ids ?? messageIds(clock),
    retry: retryOf(options.retry),
    givenStore: options.store,
    idempotencyTtl: options.idempotencyTtl ?? defaultIdempotencyTtl,
    retention: options.retention ?? {},
    reading: {
      ...(options.textFromHtml === undefined ? {} : { textFromHtml: options.textFromHtml }),
      ...(options.addresses === undefined ? {} : { addresses: options.addresses }),
    },
    custom: {
      accept: customPolicies(options.policies?.accept, true),
      dispatch: customPolicies(options.policies?.dispatch, false),
    },
    underWay: new UnderWay(clock),
    root,
    tenants: new TenantRegistry({ tenants: options.tenants, root, clock, open: openTenants }),
    openTenants,
    requireTenant: options.requireTenant ?? options.tenants !== undefined,
    sandbox: options.sandbox ?? false,
    timeout: options.timeout ?? defaultTimeout,
    work: options.queue?.work ?? durability === 'none',
    engine: options.queue?.engine,
    concurrency: options.queue?.concurrency ?? defaultConcurrency,
    state: { closed: false },
    tenantId,
  }
}

/** A field that is undefined counts as absent. */
function retryOf({ rounds, base, longest, schedule }: RetryOptions = {}): Required<RetryOptions> {
  return {
    rounds: rounds ?? defaultRetry.rounds,
    base: base ?? defaultRetry.base,
    longest: longest ?? defaultRetry.longest,
    schedule: schedule ?? defaultRetry.schedule,
  }
}

/** What the store promises, known before it is made: memory and most Keyvs serve one process and survive nothing. */
function guaranteesOf(store: MailerOptions['store']): Pick<Guarantees, 'scope' | 'durability'> {
  const ofThisProcess = { scope: 'process', durability: 'none' } as const
  if (store === undefined) return ofThisProcess
  if (typeof store !== 'object' || store === null) throw noStore()
  if (isKeyv(store)) {
    checkKeyv(store)
    const client = clientOf(store)
    return client ? guaranteesOn(client) : ofThisProcess
  }
  if (typeof store.guarantees !== 'object' || store.guarantees === null) throw noStore()
  return store.guarantees
}

const noStore = () =>
  configurationError('store is memory(), another store, or a Keyv instance; a connection text is not taken.')

function tenantId(id: unknown): string {
  if (isTenantId(id)) return id
  throw refused('options.tenant', 'Must be 1 to 64 letters, digits, _, . and -.')
}
