import type { SmtpOptions } from '../../providers/smtp.ts'
import { smtp } from '../../providers/smtp.ts'
import type { Answer, Delivery, Outcome, Provider } from '../../src/provider.ts'
import { MailError } from '../../src/provider.ts'
import type { ScriptedSmtpServer, SmtpServerOptions } from '../../src/testing/smtp-server.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'

export interface SmtpPair {
  readonly server: ScriptedSmtpServer
  readonly provider: Provider
  /** Hands over, and answers what became of it whichever way it came. */
  hand(delivery: Delivery, options?: { readonly timeout?: number; readonly signal?: AbortSignal }): Promise<Ending>
  [Symbol.asyncDispose](): Promise<void>
}

export interface Ending {
  readonly outcome: Outcome | 'mixed'
  readonly answer?: Answer
  readonly error?: MailError
}

/** A scripted server and a provider that speaks to it. Both end with the test. */
export async function smtpPair(
  serverOptions: SmtpServerOptions = {},
  providerOptions: Partial<SmtpOptions> = {},
): Promise<SmtpPair> {
  const server = await createSmtpServer(serverOptions)
  const trust = serverOptions.tls === undefined || serverOptions.tls === 'none' ? {} : { ca: server.ca }
  const provider = smtp({ url: server.url, ...trust, ...providerOptions })
  return {
    server,
    provider,
    async hand(delivery, { timeout = 10_000, signal = new AbortController().signal } = {}) {
      try {
        const answer = await provider.send(delivery, { signal, timeout })
        return { outcome: answer.recipients === undefined ? 'sent' : 'mixed', answer }
      } catch (error) {
        if (!(error instanceof MailError) || error.outcome === undefined) throw error
        return { outcome: error.outcome, error }
      }
    },
    async [Symbol.asyncDispose]() {
      await provider.close?.()
      await server.close()
    },
  }
}
