import type { Capabilities, Delivery, Provider } from '../src/provider.ts'
import { handOverError } from '../src/provider.ts'
import { compose } from './shared/mime.ts'
import { refuseOptions } from './shared/provider-options.ts'
import type { Transaction } from './smtp/connection.ts'
import { Cutoff } from './smtp/cutoff.ts'
import { sign } from './smtp/dkim.ts'
import type { SmtpAuth, SmtpOptions, SmtpSettings } from './smtp/options.ts'
import { settingsOf } from './smtp/options.ts'
import { answerOf, errorOf } from './smtp/outcome.ts'
import { Pool } from './smtp/pool.ts'

export type { SmtpAuth, SmtpDkim, SmtpOptions, SmtpPoolOptions, SmtpTimeouts, SmtpTls } from './smtp/options.ts'

/** SMTP knows no switches of its own yet; any is refused. */
export type SmtpProviderOptions = Readonly<Record<string, never>>

const capabilities: Capabilities = {
  recipients: Number.POSITIVE_INFINITY,
  // Servers name their limit when asked (SIZE); it is respected before a byte of the message goes.
  bytes: Number.POSITIVE_INFINITY,
  headers: Number.POSITIVE_INFINITY,
  replyTo: Number.POSITIVE_INFINITY,
  attachments: true,
  inline: true,
  calendar: true,
  tags: Number.POSITIVE_INFINITY,
  metadata: 'header',
  nonAsciiLocalPart: 'negotiated',
  envelope: true,
  bulk: 1,
  native: [],
}

/**
 * Any SMTP server, through a bounded pool of connections of its own. TLS is required unless opted out, certificates are
 * always checked, and credentials never travel in clear text unless `tls: 'none'` says so. Throws `CONFIGURATION_ERROR`
 * for options that cannot work. Nothing is loaded or connected before the first `send` or `verify`.
 *
 * Tags travel as `X-Sendwright-Tag` headers and metadata as an `X-Sendwright-Metadata` header; recipients can see both.
 */
export function smtp(options: SmtpOptions): Provider<SmtpProviderOptions> {
  const settings = settingsOf(options)
  const secrets = secretsOf(settings.auth)
  const opened = () => ({ pool: new Pool(settings), running: new Set<Promise<unknown>>() })
  let current = opened()
  let closing: Promise<unknown> | undefined

  /** Runs it under a time limit; `close` waits for it. */
  async function within<T>(
    signal: AbortSignal | undefined,
    timeout: number,
    run: (pool: Pool, cutoff: Cutoff) => Promise<T>,
  ) {
    const { pool, running } = current
    const cutoff = new Cutoff(signal, timeout)
    const task = run(pool, cutoff).finally(() => {
      cutoff.lift()
      running.delete(task)
    })
    running.add(task)
    return task
  }

  return {
    name: 'smtp',
    capabilities,
    ...(settings.from === undefined ? {} : { from: settings.from }),

    send(delivery, { signal, timeout }) {
      return within(signal, timeout, async (pool, cutoff) => {
        const transaction = await transactionOf(delivery, settings)
        return answerOf(await pool.handOver(transaction, cutoff), delivery.envelope.recipients, secrets)
      })
    },

    refuse: (delivery, options) => refuseOptions({}, delivery, 'smtp', options),

    verify({ signal }) {
      const { connection, socket } = settings.timeouts
      return within(signal, connection + socket, async (pool, cutoff) => {
        const failure = await pool.verify(cutoff)
        if (failure !== undefined) throw errorOf(failure, secrets)
      })
    },

    async close() {
      const { pool, running } = current
      // What is sent from here on opens a pool of its own.
      current = opened()
      const ending = Promise.allSettled([closing, ...running]).then(() => pool.close())
      closing = ending
      await ending
    },
  }
}

async function transactionOf(delivery: Delivery, { envelopeFrom, dkim }: SmtpSettings): Promise<Transaction> {
  try {
    const message = compose(delivery)
    const { from, to, cc, replyTo } = delivery.message
    const shown = [from, ...to, ...cc, ...replyTo]
    return {
      utf8: [...shown, ...delivery.envelope.recipients].some(({ address }) => /[^\0-\x7f]/.test(address)),
      from: envelopeFrom ?? delivery.envelope.from,
      recipients: delivery.envelope.recipients.map(({ address }) => address),
      bytes: dkim === undefined ? message : await sign(message, dkim),
    }
  } catch (error) {
    const code = error instanceof Error ? error.name : undefined
    throw handOverError({ outcome: 'failed', kind: 'content', reason: 'the message could not be composed', code })
  }
}

/** What a server might echo: the secrets themselves, and as AUTH sends them. */
function secretsOf(auth: SmtpAuth | undefined): readonly string[] {
  if (auth === undefined) return []
  const secrets =
    'pass' in auth ? [auth.pass] : 'accessToken' in auth ? [auth.accessToken] : [auth.clientSecret, auth.refreshToken]
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  return [...secrets, ...secrets.map(base64), ...secrets.map((secret) => base64(`\0${auth.user}\0${secret}`))]
}
