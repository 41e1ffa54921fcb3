import type { TestContext } from 'node:test'
import { createMailer, failover, type Mailer, type MailerOptions, type QueueEngine } from '../../src/index.ts'
import { type ScriptedProvider, scripted } from '../support/scripted-provider.ts'
import { engineOf, type Ground, open } from './ground.ts'

export const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }

export interface Stage {
  /** One for all mailers of the test, so that it sees every hand-over. */
  readonly provider: ScriptedProvider
  readonly warnings: readonly { readonly code: string; readonly message: string }[]
  /** Another mailer on the same store and engine, as another process would have it. It does not work unless told. */
  mailer(options?: Partial<MailerOptions>): Promise<Mailer>
  /** The engine as somebody else uses it. */
  engine(): QueueEngine
  subjects(): string[]
}

/** What a test plays on; everything it makes is closed after it. */
export function stage(t: TestContext, ground: Ground): Stage {
  const provider = scripted('a')
  const warnings: { code: string; message: string }[] = []
  return {
    provider,
    warnings,
    async mailer({ clock, ...options } = {}) {
      const { store, engine, free } = await open(ground, clock)
      const mailer = createMailer({
        from: 'Acme <hello@acme.example>',
        providers: { a: provider },
        route: failover('a'),
        store,
        ...(clock ? { clock } : {}),
        ...(options as object),
        queue: { engine, concurrency: 4, ...options.queue },
      })
      mailer.on('warning', (warning) => warnings.push(warning))
      t.after(async () => {
        await mailer.close({ deadline: 2_000 })
        await free()
      })
      return mailer
    },
    engine() {
      const engine = engineOf(ground)
      t.after(() => engine.close())
      return engine
    },
    subjects: () => provider.calls.map(({ message: { subject } }) => subject),
  }
}
