import { callOf, changeCall } from '../call.ts'
import type { Deadline } from '../deadline.ts'
import { MailError } from '../errors.ts'
import type { MailStore, Taken } from '../stores/store.ts'
import type { Budget } from '../tenants/context.ts'
import type { Lines, Refusal } from './line.ts'
import type { NearLimits } from './near-limit.ts'
import type { Policy } from './policy.ts'

export interface QuotaParts {
  readonly store: MailStore
  readonly near: NearLimits
  readonly lines: Lines
}

/**
 * Takes the mailboxes of the message from the mailer's quota and the tenant's. What was taken goes back when a later one
 * refuses or accept fails, so a quota may be under-used but never exceeded.
 */
export const quota =
  (parts: QuotaParts): Policy =>
  (next) =>
  async (delivery) => {
    const { context, deadline } = callOf(delivery)
    const { quotas } = context
    if (quotas.length === 0) return next(delivery)
    const cost = delivery.envelope.recipients.length
    const waits = context.limits.onLimit === 'wait'
    const taken = await (waits ? awaitQuotas(parts, quotas, cost, deadline) : takeQuotas(parts, quotas, cost))
    try {
      return await next(changeCall(delivery, { taken }))
    } catch (error) {
      if (!mayBeKept(error)) await refund(parts.store, taken, cost)
      throw error
    }
  }

/** The store failed and may hold the message all the same; whoever finds it there gives back what it took. */
const mayBeKept = (error: unknown): boolean =>
  error instanceof MailError && error.code === 'STORE_UNAVAILABLE' && error.id !== undefined

/** All of them or none. @throws MailError `SEND_LIMIT_EXCEEDED`. */
export async function takeQuotas(
  parts: Pick<QuotaParts, 'store' | 'near'>,
  quotas: readonly Budget[],
  cost: number,
): Promise<readonly Taken[]> {
  const takes = await takeAll(parts, quotas, cost)
  if (takes.ok) return takes.taken
  throw limitExceeded('limits.quota', takes.by, takes)
}

/**
 * Waits in the line of whichever refuses, and holds nothing of the others meanwhile: what was taken counts from the moment
 * it was taken, and others may use it.
 */
async function awaitQuotas(
  { lines, ...parts }: QuotaParts,
  quotas: readonly Budget[],
  cost: number,
  deadline: Deadline,
): Promise<readonly Taken[]> {
  let line = quotas.find(({ key }) => lines.refusal(key) !== undefined) ?? quotas[0]!
  for (;;) {
    const { key } = line
    let elsewhere: Budget | undefined
    const takes = await lines.pass(key, deadline, async () => {
      const answer = await takeAll(parts, quotas, cost)
      elsewhere = answer.ok || answer.by === line ? undefined : answer.by
      // Others may go on here.
      return elsewhere ? nothing : answer
    })
    if (!takes.ok) throw limitExceeded('limits.quota', line, takes)
    if (!elsewhere) return takes.taken
    line = elsewhere
  }
}

const nothing = { ok: true, taken: [] } as const

type Takes = { readonly ok: true; readonly taken: readonly Taken[] } | (Refusal & { readonly by: Budget })

async function takeAll(
  { store, near }: Pick<QuotaParts, 'store' | 'near'>,
  quotas: readonly Budget[],
  cost: number,
): Promise<Takes> {
  const taken: Taken[] = []
  const told: (() => void)[] = []
  try {
    for (const budget of quotas) {
      const { key, windows } = budget
      const take = await store.limits.take(key, windows, cost)
      if (!take.ok) {
        await refund(store, taken, cost)
        return { ...take, by: budget }
      }
      taken.push({ key, windows, at: take.at })
      told.push(() => near.tell(budget, take, cost, { kind: 'quota' }))
    }
  } catch (error) {
    await refund(store, taken, cost)
    throw error
  }
  for (const tell of told) tell()
  return { ok: true, taken }
}

/** A store that fails here leaves the quota under-used. */
export async function refund(store: MailStore, taken: readonly Taken[], cost: number): Promise<void> {
  if (cost === 0) return
  for (const { key, windows, at } of taken) {
    try {
      await store.limits.refund(key, windows, cost, at)
    } catch {
      return
    }
  }
}

/** @param option Where the limit is set, in the options of whoever it belongs to. */
export function limitExceeded(option: string, { tenant }: Budget, { window, retryAfter }: Refusal): MailError {
  const { limit, per } = window
  const whose = tenant === undefined ? 'The mailer’s' : 'The tenant’s'
  const never = retryAfter === Number.POSITIVE_INFINITY
  const when = !never
    ? `It frees in ${inWords(Math.ceil(retryAfter))}.`
    : limit === 0
      ? 'It lets nothing through.'
      : 'The message alone is over it; raise it, or send to fewer.'
  const full = `${whose} ${option} of ${limit} mailbox${limit === 1 ? '' : 'es'} in ${inWords(per)} ${never ? 'is in the way' : 'is used up'}.`
  return new MailError('SEND_LIMIT_EXCEEDED', `${full} ${when}`, {
    retryable: !never,
    ...(never ? {} : { retryAfter }),
  })
}

const units = [
  ['day', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const

/** A duration as one reads it: `90 s`, `24 h`, rounded up to a tenth of its unit. */
function inWords(ms: number): string {
  for (const [unit, length] of units) {
    if (ms < 2 * length && !(unit === 's' && ms >= length)) continue
    const count = Math.ceil((ms / length) * 10) / 10
    return `${count} ${unit === 'day' ? 'days' : unit}`
  }
  return `${ms} ms`
}
