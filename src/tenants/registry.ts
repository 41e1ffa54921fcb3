import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Awaitable } from '../stores/store.ts'
import { fromOption, type TenantConfig, TenantContext } from './context.ts'
import type { OpenProviders } from './open-providers.ts'

/** Configs by tenant id, or where to ask for them; undefined means there is no such tenant. */
export type Tenants = Readonly<Record<string, TenantConfig>> | ((id: string) => Awaitable<TenantConfig | undefined>)

const cachedFor = 60_000
const mostCached = 10_000
/** How long the `tenants` function may take, in milliseconds. */
const longestAsk = 10_000

interface Cached {
  readonly context: TenantContext
  readonly config: TenantConfig
  readonly until: number
}

export interface RegistryParts {
  readonly tenants: Tenants | undefined
  readonly root: TenantContext
  readonly clock: Clock
  readonly open: OpenProviders
}

/**
 * Finds the context of a tenant. Configs are asked for at most once a minute; a context lives on while its config is the
 * same object or has the same `version`, and is drained when replaced.
 */
export class TenantRegistry {
  readonly #parts: RegistryParts
  readonly #cached = new Map<string, Cached>()
  readonly #asking = new Map<string, Promise<TenantContext>>()

  constructor(parts: RegistryParts) {
    this.#parts = parts
  }

  /** Whether there may be tenants at all. */
  get hasTenants(): boolean {
    return this.#parts.tenants !== undefined
  }

  /** @throws MailError `TENANT_NOT_FOUND`, `STORE_UNAVAILABLE` when the function fails, `CONFIGURATION_ERROR`. */
  resolve(id: string | undefined): Awaitable<TenantContext> {
    if (id === undefined) return this.#parts.root
    const cached = this.#cached.get(id)
    if (cached && cached.until > this.#parts.clock.monotonic()) return cached.context
    const before = this.#asking.get(id)
    if (before) return before
    const asking: Promise<TenantContext> = this.#ask(id, () => this.#asking.get(id) === asking).finally(() => {
      if (this.#asking.get(id) === asking) this.#asking.delete(id)
    })
    this.#asking.set(id, asking)
    return asking
  }

  /** The next message of this tenant asks for its config anew. */
  invalidate(id: string): void {
    const cached = this.#cached.get(id)
    if (cached) this.#cached.set(id, { ...cached, until: Number.NEGATIVE_INFINITY })
    // Whoever is being asked now may still answer what was true before.
    this.#asking.delete(id)
  }

  async #ask(id: string, isCurrent: () => boolean): Promise<TenantContext> {
    const config = await this.#config(id)
    if (!isCurrent()) return this.resolve(id)
    const before = this.#cached.get(id)
    if (config === undefined) {
      if (before) this.#drop(id, before)
      throw notFound()
    }
    const same =
      before && (config.version === undefined ? before.config === config : before.config.version === config.version)
    const context = same ? before.context : this.#build(id, config)
    if (before && !same) this.#drop(id, before)
    this.#cached.delete(id)
    if (this.#cached.size >= mostCached) {
      const [oldest, cached] = this.#cached.entries().next().value!
      this.#drop(oldest, cached)
    }
    this.#cached.set(id, { context, config, until: this.#parts.clock.monotonic() + cachedFor })
    return context
  }

  async #config(id: string): Promise<TenantConfig | undefined> {
    const { tenants } = this.#parts
    if (tenants === undefined) throw notFound()
    if (typeof tenants !== 'function') return Object.hasOwn(tenants, id) ? tenants[id] : undefined
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = this.#parts.clock.setTimeout(() => reject(new Error('late')), longestAsk)
    try {
      return await Promise.race([tenants(id), late])
    } catch (error) {
      if (error instanceof MailError) throw error
      throw new MailError('STORE_UNAVAILABLE', 'The `tenants` function failed; nothing was sent. Check it and retry.')
    } finally {
      timer.cancel()
    }
  }

  #build(id: string, config: TenantConfig): TenantContext {
    const { root, clock } = this.#parts
    const from = config.from === undefined ? undefined : fromOption(config.from, 'tenant: from')
    return new TenantContext({ tenant: id, config, base: root, clock, ...(from ? { from } : {}) })
  }

  #drop(id: string, { context }: Cached): void {
    this.#cached.delete(id)
    this.#parts.open.retire(context)
  }
}

/** Ids are 1 to 64 letters, digits, `_`, `.` and `-`. */
export const isTenantId = (id: unknown): id is string => typeof id === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(id)

const notFound = () => new MailError('TENANT_NOT_FOUND', 'There is no tenant with this id; check `tenants`.')
