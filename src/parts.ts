import { type Clock, systemClock } from './clock.ts'
import { type RetryOptions, retryDefaults } from './dispatch/rounds.ts'
import { configurationError } from './errors.ts'
import { Events } from './events.ts'
import { type Ids, messageIds } from './ids.ts'
import { Ledger } from './ledger/ledger.ts'
import { isProblem, mailboxKey } from './message/address.ts'
import { createMessageReader, type MessageReader } from './message/reader.ts'
import { checkMailerOptions, type MailerOptions, refused } from './options.ts'
import { BulkGroup } from './routing/bulk.ts'
import { checkedStore } from './stores/checked.ts'
import { isKeyv, keyvStore } from './stores/keyv.ts'
import { memory } from './stores/memory.ts'
import type { MailStore } from './stores/store.ts'
import { fromOption, TenantContext } from './tenants/context.ts'
import { OpenProviders } from './tenants/open-providers.ts'
import { isTenantId, TenantRegistry } from './tenants/registry.ts'
import { UnderWay } from './under-way.ts'

/** What a mailer is made of: built once, shared by everything it does. */
export interface Parts {
  readonly clock: Clock
  readonly events: Events
  readonly random: () => number
  readonly ids: Ids
  readonly retry: Required<RetryOptions>
  readonly store: MailStore
  readonly ledger: Ledger
  readonly underWay: UnderWay
  readonly read: MessageReader
  readonly root: TenantContext
  readonly tenants: TenantRegistry
  readonly openTenants: OpenProviders
  readonly requireTenant: boolean
  readonly sandbox: boolean
  readonly timeout: number
  readonly work: boolean
  readonly concurrency: number
  readonly merge: { readonly mailboxKeyOf: (to: unknown) => string; readonly newGroup: () => object }
  /** Set by `close`: nothing new is taken. */
  readonly state: { closed: boolean }
  /** @throws MailError `VALIDATION_ERROR` */
  tenantId(id: unknown): string
}

const defaultTimeout = 30_000
const defaultIdempotencyTtl = 86_400_000
const defaultConcurrency = 10
const defaultOpenTenants = 100

/** @throws MailError `CONFIGURATION_ERROR` */
export function partsOf(options: MailerOptions): Parts {
  checkMailerOptions(options)
  const clock = options.clock ?? systemClock
  const events = new Events(options.logger)
  const store = checkedStore(storeOf(options, clock), clock)
  if (options.scope === 'shared' && store.guarantees.scope === 'process') {
    throw configurationError(
      "scope 'shared' needs a store whose claims hold between processes; this one holds in its own process only.",
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
    events,
    random: options.random ?? Math.random,
    ids: options.ids ?? messageIds(clock),
    retry: { ...retryDefaults, ...options.retry },
    store,
    ledger: new Ledger({
      store,
      clock,
      events,
      idempotencyTtl: options.idempotencyTtl ?? defaultIdempotencyTtl,
    }),
    underWay: new UnderWay(clock),
    read: createMessageReader({
      ...(options.textFromHtml === undefined ? {} : { textFromHtml: options.textFromHtml }),
      ...(options.addresses === undefined ? {} : { addresses: options.addresses }),
    }),
    root,
    tenants: new TenantRegistry({ tenants: options.tenants, root, clock, open: openTenants }),
    openTenants,
    requireTenant: options.requireTenant ?? options.tenants !== undefined,
    sandbox: options.sandbox ?? false,
    timeout: options.timeout ?? defaultTimeout,
    work: options.queue?.work ?? store.guarantees.durability === 'none',
    concurrency: options.queue?.concurrency ?? defaultConcurrency,
    merge: { mailboxKeyOf, newGroup: () => new BulkGroup(clock) },
    state: { closed: false },
    tenantId,
  }
}

function storeOf({ store }: MailerOptions, clock: Clock): MailStore {
  if (store === undefined) return memory({ clock })
  if (typeof store !== 'object' || store === null) {
    throw configurationError('store is memory(), another store, or a Keyv instance; a connection text is not taken.')
  }
  return isKeyv(store) ? keyvStore(store, { clock }) : (store as MailStore)
}

function tenantId(id: unknown): string {
  if (isTenantId(id)) return id
  throw refused('options.tenant', 'Must be 1 to 64 letters, digits, _, . and -.')
}

/** A stable part of a merge key, even for an address that will be refused. */
function mailboxKeyOf(to: unknown): string {
  const address =
    typeof to === 'string' ? (/<([^<>]*)>\s*$/.exec(to)?.[1] ?? to.trim()) : (to as { address?: unknown })?.address
  const key = typeof address === 'string' ? mailboxKey(address) : undefined
  return key === undefined || isProblem(key) ? 'malformed' : key
}
