import {
  type BatchItem,
  type BatchItemResult,
  type BatchOptions,
  type BatchResult,
  sendBatch,
  streamBatch,
} from './batch.ts'
import { callOf } from './call.ts'
import { type CloseOptions, closing, type Manifest } from './closing.ts'
import { conclude } from './dispatch/conclude.ts'
import { handOver } from './dispatch/hand-over.ts'
import { rounds } from './dispatch/rounds.ts'
import { MailError } from './errors.ts'
import type { MailEvents, MailEventType } from './events.ts'
import type { Entry } from './ledger/entry.ts'
import { type MergeRecipient, sendMerge } from './merge.ts'
import { type Messages, messagesOf } from './messages.ts'
import {
  type MailerOptions,
  type MessageFor,
  type NameOf,
  type Providers,
  type SendOptions,
  takeOptions,
} from './options.ts'
import { partsOf } from './parts.ts'
import { type Plan, planOf } from './plan.ts'
import { carriable } from './policies/carriable.ts'
import { customPolicies } from './policies/custom.ts'
import { idempotency } from './policies/idempotency.ts'
import { lateSuppression } from './policies/late-suppression.ts'
import { notAfter } from './policies/not-after.ts'
import { openProvider } from './policies/open-provider.ts'
import { compose } from './policies/policy.ts'
import { quota } from './policies/quota.ts'
import { rateLimit } from './policies/rate-limit.ts'
import { recipientLimit } from './policies/recipient-limit.ts'
import { sandbox } from './policies/sandbox.ts'
import { senderAuthorisation } from './policies/sender.ts'
import { suppression } from './policies/suppression.ts'
import { preparing, sharing } from './prepare.ts'
import { queueWork, type Worker } from './queues/work.ts'
import type { Receipt } from './receipt.ts'
import { type Suppressions, suppressionsOf } from './suppressions.ts'
import { type Verification, verifying } from './verify.ts'

/**
 * Makes the one object an application sends through.
 *
 * @throws MailError `CONFIGURATION_ERROR` at once, naming the option.
 */
export function createMailer<const P extends Providers>(options: MailerOptions<P>): Mailer<P> {
  // The names matter to callers only; inside, a provider name is text.
  const parts = partsOf(options as unknown as MailerOptions)
  const { ledger, clock, events, random, retry, store, read, tenants, openTenants } = parts
  const custom = options.policies ?? {}

  const looks = [
    senderAuthorisation, // a tenant must not speak for another, whatever else holds
    recipientLimit, // before anything is looked up for them
    carriable, // what no provider can carry is refused before a key is claimed for it
  ]

  // Accept decides once per message; the first is the outermost.
  const accept = compose(
    [
      ...customPolicies(custom.accept ?? [], read, true), // first, so that all that follows judges what they made of it
      ...looks,
      idempotency(ledger), // a repeat is answered here; a refusal further in frees the key
      suppression(store), // decides who is left to count
      sandbox(ledger), // stops here: nothing is counted that is not sent
      quota(store), // last, since it takes
    ],
    (delivery) => ledger.accept(delivery),
  )

  // Dispatch happens per attempt: the route tries providers, and each try passes these.
  const dispatch = rounds({ ledger, clock, events, random, retry })(
    compose(
      [
        ...customPolicies(custom.dispatch ?? [], read, false), // before the last checks, so that nothing comes between
        openProvider(openTenants), // may wait for a place, so before the clock is read
        rateLimit(store), // each try pays
        notAfter(clock), // nothing leaves late
        lateSuppression(ledger), // nobody is mailed who objected meanwhile: the last look before the provider
      ],
      handOver({ ledger, clock, events }),
    ),
  )

  const finish = async (entry: Entry): Promise<Receipt> => {
    let failure: MailError | undefined
    try {
      await dispatch(entry.delivery)
    } catch (error) {
      failure = asMailError(error)
    }
    return conclude({ ledger, clock, schedule: retry.schedule }, entry, failure)
  }

  const prepare = preparing(parts)
  const share = sharing(parts)
  const queue = queueWork(parts, finish)

  const send = async (message: unknown, sendOptions: SendOptions = {}, group?: object): Promise<Receipt> => {
    const delivery = await prepare(message, sendOptions, 'send', group)
    try {
      const receipt = await accept(delivery)
      const entry = ledger.workOn(receipt, delivery) ?? (await ledger.resume(receipt, delivery))
      return entry ? await finish(entry) : receipt
    } finally {
      callOf(delivery).deadline.end()
    }
  }

  const enqueue = async (message: unknown, sendOptions: SendOptions = {}): Promise<Receipt> => {
    const delivery = await prepare(message, sendOptions, 'queue')
    try {
      const receipt = await accept(delivery)
      queue.wake()
      return receipt
    } finally {
      callOf(delivery).deadline.end()
    }
  }

  const plan = async (message: unknown, sendOptions: SendOptions = {}): Promise<Plan> => {
    const delivery = await prepare(message, sendOptions, 'send')
    callOf(delivery).deadline.end()
    return planOf(delivery, looks, store)
  }

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
      return (await tenants.resolve(id === undefined ? undefined : parts.tenantId(id))).limits.batch
    }
    return {
      send: typed(async (message, given) => send(message, own(given))),
      enqueue: typed(async (message, given) => enqueue(message, own(given))),
      plan: typed(async (message, given) => plan(message, own(given))),
      sendBatch: typed(async (items, batch) => sendBatch(calls, items, batch, batchLimit)),
      streamBatch: (items, batch) => streamBatch(calls, items, batch),
      sendMerge: typed(async (message, recipients, given) =>
        sendMerge({ ...parts.merge, share, send }, message, recipients, own(given), await batchLimit(given)),
      ),
      cancel: async (id) => messagesOf(parts, tenant).cancel(id),
      messages: messagesOf(parts, tenant),
      suppressions: suppressionsOf(store, clock, async () => (await tenants.resolve(tenant)).tenant),
      verify: verifying(parts, tenant),
    }
  }

  const close = closing(parts, queue)
  return {
    ...faceFor(undefined),
    tenant: (id) => faceFor(parts.tenantId(id)),
    tenants: { invalidate: (id) => tenants.invalidate(id) },
    on: (type, listener) => events.on(type, listener),
    work: (given) => queue.work(given),
    close,
    [Symbol.asyncDispose]: async () => void (await close()),
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
  readonly messages: Messages
  readonly suppressions: Suppressions
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
  /** Makes this process dispatch the queue. */
  work(options?: { readonly concurrency?: number }): Worker
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

function asMailError(error: unknown): MailError {
  if (error instanceof MailError) return error
  const failure = new MailError('CONFIGURATION_ERROR', 'Something threw what is no MailError; see `cause`.')
  failure.cause = error
  return failure
}

const tenantFixed = () =>
  new MailError(
    'VALIDATION_ERROR',
    'options.tenant: A tenant’s mailer sends for that tenant only; leave the option out.',
    {
      issues: [{ path: 'options.tenant', code: 'invalid_option', message: 'Leave it out.' }],
    },
  )
