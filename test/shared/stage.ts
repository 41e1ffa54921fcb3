import { setTimeout as sleep } from 'node:timers/promises'
import { smtp } from '../../providers/smtp.ts'
import {
  createMailer,
  MailError,
  type Mailer,
  type MailerOptions,
  type MailStore,
  type Receipt,
} from '../../src/index.ts'
import { createSmtpServer, type ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import { type Around, aroundStore } from './around-store.ts'
import { type Ground, open } from './ground.ts'
import { faulty, type Place } from './outage.ts'

/** A mailer over a store that can be made to fail, and the server that takes its mail. */
export interface Stage {
  readonly mailer: Mailer
  /** As the mailer has it, with nothing around it. */
  readonly store: MailStore
  readonly place: Place
  readonly post: ScriptedSmtpServer
  /** Codes. */
  readonly warnings: readonly string[]
  /** What the mailer asked of the store, in order. */
  readonly verbs: readonly string[]
  /** What stands around every verb from now on. */
  surround(around: Around): void
  /** Resolves when the store answers again. */
  well(): Promise<void>
  /** Resolves when nothing waits and nobody works on anything. */
  rest(): Promise<void>
  /** Once, however often it is called. */
  close(): Promise<void>
}

/** Milliseconds a call has. A lease outlasts it by as much. */
export const timeout = 1_500

/** More than any of these tests uses. */
export const plenty = { limit: 10_000, per: 3_600_000 }

const passing: Around = (_, run) => run()
const patience = 15_000

export async function stageOn(ground: Ground, options: Partial<MailerOptions> = {}): Promise<Stage> {
  const place = await faulty(ground)
  const post = await createSmtpServer()
  // A server has a clock of its own.
  const { store, free } = open(place.ground, ground.engine === 'sqlite' ? options.clock : undefined)
  const warnings: string[] = []
  const verbs: string[] = []
  let around = passing
  let closing: Promise<void> | undefined
  const mailer = createMailer({
    from: 'Acme <hello@acme.example>',
    providers: { post: smtp({ url: post.url }) },
    store: aroundStore(store, (verb, run, args) => {
      verbs.push(verb)
      return around(verb, run, args)
    }),
    scope: 'shared',
    timeout,
    limits: { quota: plenty, providers: { post: plenty } },
    retry: { rounds: 2, base: 20, longest: 200, schedule: [100, 200, 400, 800, 1_600, 3_200, 6_400] },
    ...(options as object),
  }) as Mailer
  mailer.on('warning', ({ code }) => warnings.push(code))
  return {
    mailer,
    store,
    place,
    post,
    warnings,
    verbs,
    surround(next) {
      around = next
    },
    async well() {
      await patiently(() => store.read('msg_none'))
      await patiently(() => store.once(`well at ${performance.now()}`, 1_000))
    },
    async rest() {
      const unfinished = ['queued', 'scheduled', 'dispatching'] as const
      await until(async () => {
        const pages = await Promise.all(
          unfinished.map((status) => patiently(() => mailer.messages.list({ status, limit: 1 }))),
        )
        return pages.every(({ items }) => items.length === 0)
      })
    },
    close() {
      closing ??= (async () => {
        around = passing
        await mailer.close({ deadline: 0 })
        // A driver waits for the other end to hang up.
        await place.close()
        await free()
        await post.close()
      })()
      return closing
    },
  }
}

export async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const endsAt = performance.now() + patience; !(await holds()); await sleep(25)) {
    if (performance.now() > endsAt) throw new Error(`not after ${patience} ms: ${holds}`)
  }
}

/** What the store answers, once it does. */
export async function patiently<T>(ask: () => T | Promise<T>): Promise<T> {
  let answer: { readonly it: T } | undefined
  await until(async () => {
    try {
      answer = { it: await ask() }
      return true
    } catch (error) {
      if (error instanceof MailError && error.code === 'STORE_UNAVAILABLE') return false
      throw error
    }
  })
  return answer!.it
}

/** A call's end: the status it resolved with, or the code it rejected with. */
export interface Ending {
  readonly code: string
  readonly receipt?: Receipt
  readonly error?: MailError
}

/** How a call ended, whichever way. Anything but a `MailError` is thrown. */
export async function ending(call: Promise<Receipt>): Promise<Ending> {
  try {
    const receipt = await call
    return { code: receipt.status, receipt }
  } catch (error) {
    if (!(error instanceof MailError)) throw error
    return { code: error.code, error }
  }
}
