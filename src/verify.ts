import type { Deadline } from './deadline.ts'
import { MailError, withDetails } from './errors.ts'
import { closed } from './intake.ts'
import type { Provider } from './provider.ts'
import type { Settings } from './settings.ts'

/** What `verify` found, by provider name. */
export interface Verification {
  readonly ok: boolean
  readonly providers: Readonly<Record<string, ProviderVerification>>
}

export interface ProviderVerification {
  /** `unsupported` when the provider has no way to check without sending. */
  readonly status: 'ok' | 'failed' | 'unsupported'
  readonly error?: MailError
}

export const verifying =
  ({ tenants, openTenants, timeout, state, underWay }: Settings, tenant: string | undefined) =>
  async (): Promise<Verification> => {
    if (state.closed) throw closed()
    const deadline = underWay.begin(timeout)
    try {
      const context = await deadline.within(Promise.resolve(tenants.resolve(tenant)))
      const release = await openTenants.acquire(context, deadline.signal)
      const entries = await Promise.all(
        [...context.own].map(async ([name, provider]) => [name, await verifyOne(name, provider, deadline)] as const),
      )
      release()
      return { ok: entries.every(([, { status }]) => status !== 'failed'), providers: Object.fromEntries(entries) }
    } finally {
      deadline.end()
    }
  }

async function verifyOne(name: string, provider: Provider, deadline: Deadline): Promise<ProviderVerification> {
  if (!provider.verify) return { status: 'unsupported' }
  try {
    await deadline.within((async () => provider.verify!({ signal: deadline.signal }))())
    return { status: 'ok' }
  } catch (error) {
    const known = error instanceof MailError ? error : new MailError('SEND_FAILED', 'The check failed.')
    return { status: 'failed', error: withDetails(known, { provider: name }) }
  }
}
