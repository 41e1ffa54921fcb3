import { smtp } from '../../providers/smtp.ts'
import { createMailer, failover, type Mailer, type MailerOptions, type MailStore } from '../../src/index.ts'
import type { Flow } from './points.ts'

/** The servers of a run, by the names their providers have; the route is in this order. */
export type Servers = Readonly<Record<string, string>>

/** Milliseconds a call has. A lease outlasts it by a second, so what a dead process held is free after two. */
export const timeout = 1_000

/** A mailer as the processes under test have it: everything it uses is public. */
export function mailerOn(store: MailStore, servers: Servers, options: Partial<MailerOptions> = {}): Mailer {
  return createMailer({
    from: 'Acme <hello@acme.example>',
    providers: Object.fromEntries(Object.entries(servers).map(([name, url]) => [name, smtp({ url })])),
    route: failover(...Object.keys(servers)),
    store,
    scope: 'shared',
    timeout,
    retry: { rounds: 2, base: 20, longest: 200, schedule: [50, 100, 200, 400, 800, 1_600] },
    queue: { work: false, concurrency: 5 },
    ...(options as object),
  }) as Mailer
}

/** The one message of a flow, and the call that sends it. */
export function onlyMessage({ does, keyed, busy }: Flow) {
  const verb = does === 'send' ? ('send' as const) : ('enqueue' as const)
  const key = keyed ? { key: 'order-1048' } : {}
  return {
    facts: { verb, subject: 'message 1', ...key },
    message: {
      to: 'ada@example.com',
      subject: 'message 1',
      text: 'It is on its way.',
      headers: (keyed ? { 'X-Key': 'order-1048' } : {}) as Record<string, string>,
    },
    options: {
      // More than any machine needs, so that nothing but the death ends the call.
      timeout: 2_500,
      route: busy === 'later' ? failover('a') : failover('a', 'b'),
      ...(keyed ? { idempotencyKey: 'order-1048' } : {}),
    },
  }
}
