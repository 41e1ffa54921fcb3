import {
  type BatchItem,
  type BatchItemResult,
  type BatchOptions,
  type BatchResult,
  sendBatch,
  streamBatch,
} from './batch.ts'
import { type CloseOptions, closing, type Manifest } from './closing.ts'
import { asMailError, configurationError, MailError } from './errors.ts'
import type { MailEvents, MailEventType } from './events.ts'
import { closed, type Intake, takeIn } from './intake.ts'
import type { Engine } from './mailer.ts'
import type { MergeRecipient } from './merge.ts'
import { takeMerge } from './message/take.ts'
import type { Messages, Resolution } from './messages.ts'
import {
  type MailerOptions,
  type MessageFor,
  type NameOf,
  type Providers,
  type SendOptions,
  takeOptions,
} from './options.ts'
import type { Plan } from './plan.ts'
import type { QueueStats, Worker } from './queues/work.ts'
import type { Receipt } from './receipt.ts'
import { settingsOf } from './settings.ts'
import type { Awaitable } from './stores/store.ts'
import type { Suppressions } from './suppressions.ts'
import type { LimitUsages } from './usage.ts'
import { type Verification, verifying } from './verify.ts'

/**
 * Makes the one object an application sends through. What works on messages is loaded by the first call that needs it.
 *
 * @throws MailError `CONFIGURATION_ERROR` at once, naming the option.
 */
export function createMailer<const P extends Providers>(options: MailerOptions<P>): Mailer<P> {
  // The names matter to callers only; inside, a provider name is text.
  const settings = settingsOf(options as unknown as MailerOptions)
  const { events, state, tenants, tenantId } = settings
  const withEngine = onFirstNeed(async () => (await import('./mailer.ts')).engineOf(settings))

  /** Takes a call in at once, and lets the engine bring it to its end. */
  const call = async <T>(
    kind: Intake['kind'],
    message: unknown,
    given: SendOptions,
    run: (engine: Engine, intake: Intake) => Promise<T>,
  ): Promise<T> => {
    const intake = takeIn(settings, kind, message, given)
    try {
      return await withEngine((engine) => run(engine, intake))
    } finally {
      intake.deadline.end()
    }
  }
  const send = (message: unknown, given: SendOptions, group?: object) =>
    call('send', message, given, (engine, intake) => engine.send(intake, group))
  const enqueue = (message: unknown, given: SendOptions) =>
    call('queue', message, given, (engine, intake) => engine.enqueue(intake))

  /** The face for one tenant, or with `undefined` for the mailer, whose calls may name one. */
  const faceFor = (tenant: string | undefined): TenantMailer<P> => {
    const own = (given?: SendOptions): SendOptions => {
      const options = takeOptions(given)
      if (tenant === undefined) return options
      if (options.tenant !== undefined && options.tenant !== tenant) throw tenantFixed()
      return { ...options, tenant }
    }
    const calls = {
      send: (message: unknown, given: SendOptions) => send(message, own(given)),
      enqueue: (message: unknown, given: SendOptions) => enqueue(message, own(given)),
    }
    const batchLimit = async (given?: SendOptions) => {
      const { tenant: id } = own(given)
      return (await tenants.resolve(id === undefined ? undefined : tenantId(id))).limits.batch
    }
    const messages = async () => withEngine((engine) => engine.messages(tenant))
    const suppressions = async () => withEngine((engine) => engine.suppressions(tenant))
    return {
      send: typed(async (message, given) => send(message, own(given))),
      enqueue: typed(async (message, given) => enqueue(message, own(given))),
      plan: typed(async (message, given) => call('send', message, own(given), (engine, intake) => engine.plan(intake))),
      sendBatch: typed(async (items, batch) => sendBatch(calls, items, batch, batchLimit)),
      streamBatch: (items, batch) => streamBatch(calls, items, batch),
      sendMerge: typed(async (message, recipients, given) => {
        const options = own(given)
        const taken = takeMerge(message, recipients)
        const limit = await batchLimit(options)
        return withEngine((engine) => engine.merging(send)(taken.message, taken.recipients, options, limit))
      }),
      cancel: typed(async (id) => (await messages()).cancel(id)),
      reschedule: typed(async (id, at) => (await messages()).reschedule(id, at)),
      resolve: typed(async (id, outcome) => (await messages()).resolve(id, outcome)),
      messages: {
        get: async (id, lookUp) => (await messages()).get(id, lookUp),
        find: async (by, lookUp) => (await messages()).find(by, lookUp),
        retry: typed(async (id) => (await messages()).retry(id)),
        list: typed(async (filter) => (await messages()).list(filter)),
      },
      suppressions: {
        add: async (suppression) => (await suppressions()).add(suppression),
        addMany: async (list) => (await suppressions()).addMany(list),
        remove: async (address, scope) => (await suppressions()).remove(address, scope),
        get: async (address) => (await suppressions()).get(address),
        list: async (page) => (await suppressions()).list(page),
      },
      limits: { usage: typed(async () => withEngine((engine) => engine.usage(tenant))) },
      verify: verifying(settings, tenant),
    }
  }

  const startWork = ({ concurrency = settings.concurrency, holds = true } = {}): Worker => {
    if (!(Number.isInteger(concurrency) && concurrency > 0)) {
      throw configurationError('work: concurrency must be a whole number from 1.')
    }
    if (state.closed) throw closed()
    let worker: Worker | undefined
    void withEngine((engine) => {
      worker = engine.work(concurrency, holds)
    })
    // In the order of the calls, so a worker that is stopped before it began has begun by then.
    return { stop: async () => withEngine(() => worker?.stop()) }
  }
  if (options.queue?.work) startWork({ holds: false })

  const close = closing(settings, (deadline) => withEngine((engine) => engine.close(deadline)))
  return {
    ...faceFor(undefined),
    tenant: (id) => faceFor(tenantId(id)),
    tenants: { invalidate: (id) => tenants.invalidate(id) },
    on: (type, listener) => events.on(type, listener),
    work: ({ concurrency = settings.concurrency } = {}) => startWork({ concurrency }),
    queue: {
      pause: async () => withEngine((engine) => engine.queue.pause()),
      resume: async () => withEngine((engine) => engine.queue.resume()),
      stats: async () => withEngine((engine) => engine.queue.stats()),
    },
    close,
    [Symbol.asyncDispose]: async () => void (await close()),
  }
}

/** Makes something dear once, on first need. Who comes when it is there is served at once, those before in their order. */
function onFirstNeed<T>(make: () => Promise<T>): <R>(use: (made: T) => Awaitable<R>) => Awaitable<R> {
  let made: { readonly it: T } | undefined
  let making: Promise<T> | undefined
  return (use) => {
    if (made) return use(made.it)
    making ??= make()
    return making.then((it) => {
      made = { it }
      return use(it)
    })
  }
}

/** What a mailer does for messages of one tenant, or for those without. */
export interface TenantMailer<P extends Providers = Providers> {
  /** Everything, up to the provider's answer. Resolves `sent`, `partial`, `sandboxed`; on a replay also what is under way. */
  send(message: MessageFor<P>, options?: SendOptions<NameOf<P>>): Promise<Receipt>
  /** Accepts (as durably as the store is) and answers `queued` or `scheduled`; the queue dispatches. */
  enqueue(message: MessageFor<P>, options?: SendOptions<NameOf<P>>): Promise<Receipt>
  /** Independent messages, 100 by default: one result each, in order. Rejects only for a malformed call. */
  sendBatch(
    items: readonly BatchItem<MessageFor<P>, NameOf<P>>[],
    batch?: BatchOptions<MessageFor<P>, NameOf<P>>,
  ): Promise<BatchResult>
  /** Any (async) iterable without limit: results as they come, in bounded memory. `break` stops the intake. */
  streamBatch(
    items: Iterable<BatchItem<MessageFor<P>, NameOf<P>>> | AsyncIterable<BatchItem<MessageFor<P>, NameOf<P>>>,
    batch?: BatchOptions<MessageFor<P>, NameOf<P>>,
  ): AsyncGenerator<BatchItemResult, void, undefined>
  /** One content to many, each alone in it; leaves in native bulk calls where the provider has them. */
  sendMerge(
    message: Omit<MessageFor<P>, 'to' | 'cc' | 'bcc'>,
    recipients: readonly MergeRecipient[],
    options?: SendOptions<NameOf<P>>,
  ): Promise<BatchResult>
  /** The dry run: nothing is handed over, counted or kept. */
  plan(message: MessageFor<P>, options?: SendOptions<NameOf<P>>): Promise<Plan>
  /** Stops a queued or scheduled message. @throws MailError `NOT_FOUND`; `INVALID_STATE` when it is too late. */
  cancel(id: string): Promise<Receipt>
  /**
   * Moves a queued or scheduled message to another moment; one in the past means now.
   *
   * @throws MailError `NOT_FOUND`; `INVALID_STATE` when it is too late.
   */
  reschedule(id: string, at: Date | number | string): Promise<Receipt>
  /**
   * An operator's word on those who may have been mailed: from the provider's log, or from the recipient. `failed` frees
   * the idempotency key. @throws MailError `NOT_FOUND`; `INVALID_STATE` when nobody is `unknown`.
   */
  resolve(id: string, outcome: Resolution): Promise<Receipt>
  readonly messages: Messages
  readonly suppressions: Suppressions
  readonly limits: LimitUsages
  /** Checks connection and credentials of each provider. Never rejects for a provider that fails: it says so. */
  verify(): Promise<Verification>
}

export interface Mailer<P extends Providers = Providers> extends TenantMailer<P>, AsyncDisposable {
  /** The same face bound to one tenant. */
  tenant(id: string): TenantMailer<P>
  readonly tenants: {
    /** The tenant's next message asks for its config anew. */
    invalidate(id: string): void
  }
  /** Answers a function that removes the listener. */
  on<T extends MailEventType>(type: T, listener: (event: MailEvents[T]) => unknown): () => void
  /**
   * Makes this process dispatch the queue. Over a store shared between processes it keeps the process alive, since work may
   * come at any time, until the worker is stopped or the mailer closed. Called again it is the same worker, with the highest
   * `concurrency` asked for; it ends with the last that is stopped, `queue.work: true` counted.
   */
  work(options?: { readonly concurrency?: number }): Worker
  readonly queue: {
    /** Begins nothing more: in this process, with BullMQ within 0.2 s in all. Enqueuing goes on. */
    pause(): Promise<void>
    resume(): Promise<void>
    stats(): Promise<QueueStats>
  }
  /**
   * Stops the intake, lets what is under way finish until `deadline` (default 30,000 ms), then gives it up; frees every
   * socket and timer. Later calls are refused with `CLOSED`.
   */
  close(options?: CloseOptions): Promise<Manifest>
}

/** The same call, which rejects with a `MailError` whatever was thrown inside: by an option, a provider, a store. */
const typed =
  <A extends readonly unknown[], T>(call: (...args: A) => Promise<T>) =>
  (...args: A): Promise<T> =>
    call(...args).catch((error: unknown) => {
      throw asMailError(error)
    })

const tenantFixed = () =>
  new MailError(
    'VALIDATION_ERROR',
    'options.tenant: A tenant’s mailer sends for that tenant only; leave the option out.',
    {
      issues: [{ path: 'options.tenant', code: 'invalid_option', message: 'Leave it out.' }],
    },
  )
