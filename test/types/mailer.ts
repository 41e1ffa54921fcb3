/** Compiled by `npm run types`, never run: each `@ts-expect-error` fails the compiler when the wrong use is allowed. */
import { memory } from '../../providers/memory.ts'
import {
  createMailer,
  failover,
  type Limits,
  type MailError,
  type Provider,
  roundRobin,
  weighted,
} from '../../src/index.ts'

interface PoolOptions {
  readonly pool?: string
}
declare const pooled: Provider<PoolOptions>
declare const billed: Provider<{ readonly account: number }>

const mailer = createMailer({
  providers: { main: pooled, spare: billed, outbox: memory() },
  route: failover('main', 'spare'),
  from: 'Acme <hello@acme.example>',
})
const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hi' }

// The names of providers are known: in routes, and in the options of a call.
createMailer({ providers: { main: pooled }, route: 'main' })
// @ts-expect-error
createMailer({ providers: { main: pooled }, route: 'mian' })
// @ts-expect-error
createMailer({ providers: { main: pooled }, route: failover('main', 'spare') })
// @ts-expect-error
createMailer({ providers: { main: pooled }, route: roundRobin('spare') })
// @ts-expect-error
createMailer({ providers: { main: pooled }, route: weighted({ spare: 1 }) })
createMailer({
  providers: { main: pooled, spare: billed },
  route: ({ subject }) => (subject === 'x' ? 'main' : ['spare']),
})
// @ts-expect-error
createMailer({ providers: { main: pooled }, route: () => 'spare' })
mailer.send(message, { provider: 'spare' })
// @ts-expect-error
mailer.send(message, { provider: 'nowhere' })
mailer.send(message, { route: failover('outbox') })
// @ts-expect-error
mailer.send(message, { route: failover('nowhere') })
// @ts-expect-error
mailer.tenant('acme').send(message, { provider: 'nowhere' })
// @ts-expect-error
mailer.enqueue(message, { provider: 'nowhere' })
// @ts-expect-error
mailer.plan(message, { route: 'nowhere' })

// Each provider's options have its own shape, under its own name.
mailer.send({ ...message, providerOptions: { main: { pool: 'a' }, spare: { account: 1 } } })
// @ts-expect-error
mailer.send({ ...message, providerOptions: { main: { pool: 1 } } })
// @ts-expect-error
mailer.send({ ...message, providerOptions: { main: { account: 1 } } })
// @ts-expect-error
mailer.send({ ...message, providerOptions: { nowhere: {} } })
// @ts-expect-error
mailer.sendBatch([{ ...message, providerOptions: { spare: { account: 'a' } } }])

// A message is a closed set of fields of one type each.
// @ts-expect-error
mailer.send({ ...message, subjct: 'x' })
// @ts-expect-error
mailer.send({ subject: 'Hi', text: 'Hi' })
// @ts-expect-error
mailer.send({ ...message, to: 5 })
// @ts-expect-error
mailer.send({ ...message, from: ['a@example.com'] })
// @ts-expect-error
mailer.send({ ...message, attachments: [{ path: '/etc/passwd' }] })
// @ts-expect-error
mailer.send({ ...message, metadata: { a: {} } })
// @ts-expect-error
mailer.send({ ...message, importance: 'urgent' })

// So are the options of mailer and call.
// @ts-expect-error
createMailer({})
// @ts-expect-error
createMailer({ providers: { main: {} } })
// @ts-expect-error
createMailer({ providers: { main: pooled }, provder: 1 })
// @ts-expect-error
mailer.send(message, { idempotencykey: 'k' })
// @ts-expect-error
mailer.send(message, { onUnknown: 'retry' })
// @ts-expect-error
mailer.send(message, { stream: 'bulk' })

// Batches: items are messages or { message, options }; an item has neither tenant nor signal of its own.
mailer.sendBatch([message, { message, options: { idempotencyKey: 'k', provider: 'main' } }], { mode: 'enqueue' })
// @ts-expect-error
mailer.sendBatch([{ message, options: { tenant: 'x' } }])
// @ts-expect-error
mailer.sendBatch([message], { mode: 'later' })
// @ts-expect-error
mailer.sendBatch([{ message, options: { provider: 'nowhere' } }])
// @ts-expect-error
mailer.sendMerge({ to: 'b@example.com', subject: 'x', text: 'x' }, [{ to: 'a@example.com' }])
// @ts-expect-error
mailer.sendMerge({ subject: 'x', text: 'x' }, [{ to: ['a@example.com'] }])

/** A result is a receipt or an error, never both. */
export async function results(): Promise<void> {
  for await (const { index, receipt, error } of mailer.streamBatch([message])) {
    const place: number = index
    if (receipt) receipt.id.concat(String(place))
    else {
      const failure: MailError = error
      throw failure
    }
    // @ts-expect-error
    error.code
  }
}

// Events are typed by their name.
mailer.on('outcome', ({ outcome, duration }) => {
  const ended: 'sent' | 'rejected' | 'failed' | 'unknown' = outcome
  return [ended, duration + 1]
})
// @ts-expect-error
mailer.on('delivered', () => {})
// @ts-expect-error
mailer.on('settled', ({ duration }) => duration)
// @ts-expect-error
mailer.on('accepted', (event: { id: number }) => event)

// A tenant's mailer has no way out of its tenant.
// @ts-expect-error
mailer.tenant('acme').close()
// @ts-expect-error
mailer.tenant('acme').tenant('other')

// A limit of a provider names one of the mailer's; limits built elsewhere fit any mailer.
const window = { limit: 1, per: 1_000 }
const limits: Limits = { quota: window, providers: { relay: [window] } }
createMailer({ providers: { relay: memory() }, limits })
createMailer({ providers: { relay: memory() }, limits: { providers: { relay: window } } })
createMailer({
  providers: { relay: memory() },
  // @ts-expect-error there is no provider 'realy'
  limits: { providers: { realy: window } },
})
