import { Deadline } from './deadline.ts'
import { MailError } from './errors.ts'
import type { Parts } from './parts.ts'
import type { Provider } from './provider.ts'

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
  ({ tenants, clock, timeout }: Parts, tenant: string | undefined) =>
  async (): Promise<Verification> => {
    const context = await tenants.resolve(tenant)
    const entries = await Promise.all(
      [...context.own].map(async ([name, provider]) => {
        const deadline = new Deadline(clock, timeout)
        const result = await verifyOne(name, provider, deadline)
        deadline.end()
        return [name, result] as const
      }),
    )
    return { ok: entries.every(([, { status }]) => status !== 'failed'), providers: Object.fromEntries(entries) }
  }

async function verifyOne(name: string, provider: Provider, deadline: Deadline): Promise<ProviderVerification> {
  if (!provider.verify) return { status: 'unsupported' }
  const gaveUp = new MailError('SEND_FAILED', 'The provider did not answer in time.', {
    provider: name,
    kind: 'timeout',
  })
  const { promise, reject } = Promise.withResolvers<never>()
  deadline.signal.addEventListener('abort', () => reject(gaveUp), { once: true })
  try {
    await Promise.race([provider.verify({ signal: deadline.signal }), promise])
    return { status: 'ok' }
  } catch (error) {
    const known = error instanceof MailError
    return {
      status: 'failed',
      error: known ? error : new MailError('SEND_FAILED', 'The check failed.', { provider: name }),
    }
  }
}
