import { MailError } from './errors.ts'
import { receiptOf, recordOf } from './ledger/record.ts'
import { ended, freesKey, givenUp, withResolution, withRetry } from './ledger/row.ts'
import { mailboxKey } from './message/address.ts'
import { moment, refused, takeFields } from './options.ts'
import type { Parts } from './parts.ts'
import { refund, takeQuotas } from './policies/quota.ts'
import type { Recovery } from './queues/recovery.ts'
import type { QueueWork } from './queues/work.ts'
import type { MessageRecord, MessageStatus, Outcome, Receipt } from './receipt.ts'
import {
  type ListQuery,
  type Page,
  type PageRequest,
  type Row,
  type RowPage,
  type SettleOptions,
  settledStatuses,
} from './stores/store.ts'

export interface LookUpOptions {
  /** Whose message it is; the mailer's own are those without tenant. */
  readonly tenant?: string
}

/**
 * Which messages to list. One of `recipient`, `tag` and `status` is looked up in an index, in this order; the others thin
 * out the page, which may so be shorter than `limit`, or empty, and still have a `cursor`.
 */
export interface MessageFilter extends LookUpOptions, PageRequest {
  readonly status?: MessageStatus
  /** A mailbox, in any spelling. */
  readonly recipient?: string
  readonly tag?: string
  /** Accepted at or after this moment. */
  readonly since?: Date | number | string
  /** Accepted before this moment. */
  readonly until?: Date | number | string
}

/** Messages by id, as they stand now. A tenant sees its own only; another's does not exist. */
export interface Messages {
  /** Undefined when there is none, or it is older than the store keeps it. */
  get(id: string, options?: LookUpOptions): Promise<MessageRecord | undefined>
  /** By the Message-ID header, or by the id a provider gave. */
  find(
    by: { readonly messageId: string } | { readonly providerMessageId: string },
    options?: LookUpOptions,
  ): Promise<MessageRecord | undefined>
  /** Newest first. Needs a store that can list; `UNSUPPORTED_FEATURE` otherwise. */
  list(filter?: MessageFilter): Promise<Page<MessageRecord>>
  /**
   * Puts a dead letter back into the queue: one of `enqueue` that ended `failed`, while its content is kept
   * (`retention.content`). It takes its quota anew, has the whole retry schedule before it, and holds no idempotency key.
   *
   * @throws MailError `NOT_FOUND`, `INVALID_STATE`, `SEND_LIMIT_EXCEEDED`.
   */
  retry(id: string): Promise<Receipt>
}

/** What a person may say of an `unknown` message. */
export type Resolution = Exclude<Outcome, 'unknown'>

export interface MessageWork extends Messages {
  cancel(id: string): Promise<Receipt>
  reschedule(id: string, at: Date | number | string): Promise<Receipt>
  resolve(id: string, outcome: Resolution): Promise<Receipt>
}

const resolutions: ReadonlySet<unknown> = new Set<Resolution>(['sent', 'rejected', 'failed'])

const taken = 'A worker has just taken the message; ask again in a moment, when it has ended or is given back.'

export interface MessageParts {
  readonly recovery: Recovery
  readonly queue: QueueWork
}

export function messagesOf(parts: Parts, { recovery, queue }: MessageParts, tenant: string | undefined): MessageWork {
  const { store, ledger, clock } = parts
  const visible = (row: Row | undefined, options: LookUpOptions = {}): row is Row =>
    row?.accepted === true && row.tenant === (tenant ?? options.tenant)
  /** A row whose process vanished says `dispatching` until somebody notices. */
  const current = async (row: Row | undefined): Promise<Row | undefined> => {
    if (row?.status !== 'dispatching' || ledger.open.has(row.id)) return row
    await recovery.run()
    return store.read(row.id)
  }
  const read = async (id: unknown): Promise<Row | undefined> =>
    typeof id === 'string' ? current(await store.read(id)) : undefined
  const own = async (id: string): Promise<Row> => {
    const row = await read(id)
    if (visible(row)) return row
    throw new MailError('NOT_FOUND', 'There is no message with this id.')
  }
  /** Changes a message of ours that nobody works on. */
  const change = async (
    id: string,
    states: readonly MessageStatus[],
    next: (row: Row) => Row | undefined,
    otherwise: string,
  ): Promise<Receipt> => {
    const before = await own(id)
    const options = (row: Row): SettleOptions => ({ release: freesKey(row) })
    const may = states.includes(before.status) && next(before) !== undefined
    const row = may ? await ledger.change(id, states, (held) => next(held) ?? held, options) : undefined
    if (!row) throw new MailError('INVALID_STATE', may ? taken : otherwise, { id })
    if (freesKey(row)) await refund(store, before.work?.taken ?? [], givenUp(before, row))
    return receiptOf(row)
  }

  /** The row is written, so whatever fails now, a worker finds it. */
  const waits = async (id: string): Promise<void> => {
    try {
      const row = await store.read(id)
      if (row) await queue.waits(row)
    } catch (error) {
      ledger.warn(error, id)
    }
  }

  return {
    async get(id, options) {
      const row = await read(id)
      return visible(row, options) ? recordOf(row) : undefined
    },
    async find(by, options) {
      const ids = Object.values(takeFields<Record<string, unknown>>('by', by, ['messageId', 'providerMessageId']))
      if (ids.length !== 1 || typeof ids[0] !== 'string') {
        throw refused('by', 'Is { messageId } or { providerMessageId }, a text.')
      }
      const row = await current(await store.find(by))
      return visible(row, options) ? recordOf(row) : undefined
    },
    async list(filter) {
      const { query, matches } = queryOf(filter, tenant)
      await recovery.run()
      const { items, cursor, unreadable = [] }: RowPage = await store.list(query)
      for (const id of unreadable) ledger.warnUnreadable(id)
      return { items: items.filter(matches).map(recordOf), ...(cursor === undefined ? {} : { cursor }) }
    },
    async cancel(id) {
      const receipt = await change(
        id,
        ['queued', 'scheduled'],
        (waiting) => ({
          // Whoever an earlier run has mailed stays mailed.
          ...ended(waiting, 'cancelled', { code: 'CANCELLED', reason: 'Cancelled by the application.' }),
          events: [...(waiting.events ?? []), { type: 'cancelled', at: new Date(clock.now()).toISOString() }],
        }),
        'Only a queued or scheduled message can be cancelled; this one is further.',
      )
      // It may have been what the worker was waiting for.
      queue.wake()
      return receipt
    },
    async reschedule(id, at) {
      const dueAt = moment('at', at)
      const receipt = await change(
        id,
        ['queued', 'scheduled'],
        ({ dueAt: _, ...row }) =>
          dueAt > clock.now() ? { ...row, status: 'scheduled', dueAt } : { ...row, status: 'queued' },
        'Only a queued or scheduled message can be rescheduled; this one is further.',
      )
      await waits(id)
      return receipt
    },
    async retry(id) {
      const row = await own(id)
      const cost = row.recipients.filter(({ status }) => status === 'failed').length
      const { quotas } = await parts.tenants.resolve(row.tenant)
      const taken = row.status === 'failed' && row.work ? await takeQuotas(parts, quotas, cost) : []
      try {
        const receipt = await change(
          id,
          ['failed'],
          (held) => withRetry(held, taken, clock.now()),
          'Only a message of the queue that failed, and whose content is still kept, can be sent again.',
        )
        await waits(id)
        return receipt
      } catch (error) {
        // A store that failed may have put it into the queue all the same.
        if (!(error instanceof MailError && error.code === 'STORE_UNAVAILABLE')) await refund(store, taken, cost)
        throw error
      }
    },
    async resolve(id, outcome) {
      if (!resolutions.has(outcome)) throw refused('outcome', "Must be 'sent', 'rejected' or 'failed'.")
      return change(
        id,
        ['unknown', 'partial'],
        (held) => withResolution(held, outcome, clock.now()),
        'Only a message with recipients in the state unknown can be resolved; this one has none.',
      )
    },
  }
}

const statuses: ReadonlySet<unknown> = new Set([...settledStatuses, 'unknown', 'queued', 'scheduled', 'dispatching'])
const filterFields = ['tenant', 'status', 'recipient', 'tag', 'since', 'until', 'limit', 'cursor'] as const

/** @throws MailError `VALIDATION_ERROR` naming the field. */
function queryOf(
  filter: unknown,
  tenant: string | undefined,
): { readonly query: ListQuery; readonly matches: (row: Row) => boolean } {
  const taken = takeFields<MessageFilter>('filter', filter, filterFields)
  const { status, recipient, tag, since, until, limit, cursor } = taken
  if (tenant !== undefined && taken.tenant !== undefined && taken.tenant !== tenant) {
    throw refused('filter.tenant', 'A tenant’s mailer lists its own messages; leave the option out.')
  }
  if (status !== undefined && !statuses.has(status)) throw refused('filter.status', 'Must be a message status.')
  if (tag !== undefined && typeof tag !== 'string') throw refused('filter.tag', 'Must be text.')
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= 1_000)) {
    throw refused('filter.limit', 'Must be a whole number from 1 to 1,000.')
  }
  const mailbox = typeof recipient === 'string' ? mailboxKey(recipient) : undefined
  if (recipient !== undefined && mailbox === undefined) throw refused('filter.recipient', 'Must be a bare mailbox.')
  const index =
    mailbox !== undefined
      ? { recipient: mailbox }
      : tag !== undefined
        ? { tag }
        : status !== undefined
          ? { status }
          : undefined
  const owner = tenant ?? taken.tenant
  return {
    query: {
      ...(owner === undefined ? {} : { tenant: owner }),
      ...(index === undefined ? {} : { index }),
      ...(since === undefined ? {} : { since: moment('filter.since', since) }),
      ...(until === undefined ? {} : { until: moment('filter.until', until) }),
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    },
    matches: (row) => (status === undefined || row.status === status) && (tag === undefined || row.tags.includes(tag)),
  }
}
