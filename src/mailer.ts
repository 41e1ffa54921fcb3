import { type Call, callOf } from './call.ts'
import { closeDown, type Manifest } from './closing.ts'
import { conclude } from './dispatch/conclude.ts'
import { handOver } from './dispatch/hand-over.ts'
import { rounds } from './dispatch/rounds.ts'
import { asMailError, type MailError } from './errors.ts'
import type { Intake } from './intake.ts'
import type { Entry } from './ledger/entry.ts'
import { type MergeParts, merging } from './merge.ts'
import { messagesOf } from './messages.ts'
import { partsOf } from './parts.ts'
import { type Plan, planOf } from './plan.ts'
import { attemptRecord } from './policies/attempt-record.ts'
import { carriable } from './policies/carriable.ts'
import { idempotency } from './policies/idempotency.ts'
import { Lines } from './policies/line.ts'
import { notAfter } from './policies/not-after.ts'
import { openProvider } from './policies/open-provider.ts'
import { pacing } from './policies/pacing.ts'
import { compose } from './policies/policy.ts'
import { quota } from './policies/quota.ts'
import { rateLimit } from './policies/rate-limit.ts'
import { recipientLimit } from './policies/recipient-limit.ts'
import { sandbox } from './policies/sandbox.ts'
import { senderAuthorisation } from './policies/sender.ts'
import { suppression } from './policies/suppression.ts'
import { preparing, sharing } from './prepare.ts'
import { recovering } from './queues/recovery.ts'
import { QueueWork, type Worker } from './queues/work.ts'
import type { Receipt } from './receipt.ts'
import { BulkGroup } from './routing/bulk.ts'
import type { Settings } from './settings.ts'
import { suppressionsOf } from './suppressions.ts'
import { usageOf } from './usage.ts'

/** What brings messages to their end. Its inputs have been taken from the caller already. */
export type Engine = ReturnType<typeof engineOf>

/** The whole way of a message: accept, then dispatch. */
export function engineOf(settings: Settings) {
  const parts = partsOf(settings)
  const { ledger, clock, events, random, retry, store, read, tenants, openTenants, inFlight, near, custom } = parts

  const lines = new Lines(clock)

  const looks = [
    senderAuthorisation, // a tenant must not speak for another, whatever else holds
    recipientLimit, // before anything is looked up for them
    carriable, // what no provider can carry is refused before a key is claimed for it
  ]

  // Accept decides once per message; the first is the outermost.
  const accept = compose(
    [
      ...custom.accept(read), // first, so that all that follows judges what they made of it
      ...looks,
      idempotency(ledger), // a repeat is answered here; a refusal further in frees the key
      suppression(store), // decides who is left to count
      sandbox(ledger), // stops here: nothing is counted that is not sent
      quota({ store, near, lines }), // last, since it takes
    ],
    (delivery) => ledger.acceptance.accept(delivery),
  )

  // Dispatch happens per attempt: the route tries providers, and each try passes these.
  const dispatch = rounds({ ledger, clock, events, random, retry })(
    compose(
      [
        ...custom.dispatch(read), // before the last checks, so that nothing comes between
        pacing(events), // a provider that throttles is given time
        rateLimit({ ledger, clock, near, lines, inFlight }), // each try pays
        openProvider(openTenants), // may wait for a place, so before the clock is read
        notAfter(clock), // nothing leaves late
        attemptRecord({ ledger, clock, events }), // the last look at suppressions, in one step with the durable record
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
  const queue = new QueueWork(parts, finish)
  const recovery = recovering(parts, (row) => queue.waits(row))
  void recovery.run()

  return {
    async send(intake: Intake, group?: object): Promise<Receipt> {
      const delivery = await prepare(intake, group)
      const receipt = await accept(delivery)
      const entry = ledger.workOn(receipt, delivery) ?? (await ledger.resume(receipt, delivery))
      return entry ? finish(entry) : receipt
    },
    async enqueue(intake: Intake): Promise<Receipt> {
      const delivery = await prepare(intake)
      const receipt = await accept(delivery)
      if (receipt.replayed || receipt.status === 'sandboxed') return receipt
      const call = callOf(delivery)
      await queue.waits(waitingOf(receipt.id, call), call.transaction ? { transaction: call.transaction } : {})
      return receipt
    },
    async plan(intake: Intake): Promise<Plan> {
      return planOf(await prepare(intake), looks, store)
    },
    merging: (send: MergeParts['send']) =>
      merging({ send, share: sharing(parts), newGroup: () => new BulkGroup(clock) }),
    messages: (tenant: string | undefined) => messagesOf(parts, { recovery, queue }, tenant),
    usage: (tenant: string | undefined) => usageOf(parts, tenant).usage(),
    suppressions: (tenant: string | undefined) =>
      suppressionsOf(store, clock, async () => (await tenants.resolve(tenant)).tenant),
    work: (concurrency: number, holds: boolean): Worker => queue.work(concurrency, holds),
    queue,
    close(deadline: number): Promise<Manifest> {
      recovery.stop()
      return closeDown(parts, queue, deadline)
    },
  }
}

const waitingOf = (id: string, { priority, sendAt }: Call) => ({
  id,
  priority,
  ...(sendAt === undefined ? {} : { dueAt: sendAt }),
})
