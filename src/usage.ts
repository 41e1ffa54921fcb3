import type { Parts } from './parts.ts'
import type { Budget } from './tenants/context.ts'

/** How much of one window is used now. */
export interface LimitUsage {
  /** Mailboxes accepted, or mailboxes handed to a provider. */
  readonly kind: 'quota' | 'provider'
  /** Whose limit it is; absent for the mailer's own. */
  readonly tenant?: string
  readonly provider?: string
  readonly limit: number
  /** Milliseconds. */
  readonly per: number
  readonly used: number
}

export interface LimitUsages {
  /**
   * The windows that hold for the tenant, or for messages without one: the mailer's quota, the tenant's, and those of the
   * providers on its route, or of all it may use where that is a function. Takes nothing.
   *
   * @throws MailError `TENANT_NOT_FOUND`, `STORE_UNAVAILABLE`.
   */
  usage(): Promise<readonly LimitUsage[]>
}

export function usageOf({ store, tenants }: Parts, tenant: string | undefined): LimitUsages {
  const read = async ({ key, windows, tenant: owner }: Budget, provider?: string): Promise<LimitUsage[]> => {
    const used = await store.limits.usage(key, windows)
    return windows.map(({ limit, per }, i) => ({
      kind: provider === undefined ? 'quota' : 'provider',
      ...(owner === undefined ? {} : { tenant: owner }),
      ...(provider === undefined ? {} : { provider }),
      limit,
      per,
      used: used[i] ?? 0,
    }))
  }
  return {
    async usage() {
      const context = await tenants.resolve(tenant)
      const named = context.route?.names ?? []
      // A route that is a function may name any.
      const names = named.length > 0 ? named : context.limited
      const budgets = names.flatMap((name) => {
        const budget = context.budget(name)
        return budget ? [read(budget, name)] : []
      })
      return (await Promise.all([...context.quotas.map((budget) => read(budget)), ...budgets])).flat()
    },
  }
}
