import { createMailer, failover, type Mailer, type MailerOptions, type MailStore } from '../../src/index.ts'
import { smtp } from '../../providers/smtp.ts'

/** The two servers of a run, by the names their providers have. */
export interface Servers {
  readonly a: string
  readonly b: string
}

/** Milliseconds a call has. A lease outlasts it by a second, so what a dead process held is free after two. */
export const timeout = 1_000

/** A mailer as the processes under test have it: everything it uses is public. */
export function mailerOn(store: MailStore, { a, b }: Servers, options: Partial<MailerOptions> = {}): Mailer {
  return createMailer({
    from: 'Acme <hello@acme.example>',
    providers: { a: smtp({ url: a }), b: smtp({ url: b }) },
    route: failover('a', 'b'),
    store,
    scope: 'shared',
    timeout,
    retry: { rounds: 2, base: 20, longest: 200, schedule: [50, 100, 200, 400, 800, 1_600] },
    queue: { work: false, concurrency: 5 },
    ...(options as object),
  }) as Mailer
}
