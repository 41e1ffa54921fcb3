import type { Stream } from '../delivery.ts'
import type { MessageSnapshot } from '../message/message.ts'
import type { Attempt, MessageStatus, RecipientField, RecipientStatus, TimelineEvent } from '../receipt.ts'

/**
 * The port every store implements: few verbs, each one atomic. Nothing that uses it ever reads, decides and writes back;
 * whoever holds a row holds a fence, and a write with an old fence changes nothing.
 *
 * A verb answers a value or a promise of one and throws when the store fails; it never answers a default instead, and
 * after it threw it changes nothing any more. Leases, windows, delays and the life of keys are measured with the store's
 * own clock; only `dueAt` of scheduled rows and `expiresAt` of suppressions are moments of wall time.
 */
export interface MailStore {
  readonly guarantees: Guarantees
  /** Inserts `row`, unless its `id` exists or its `key` is held: then the holder is answered and nothing changes. */
  claim(row: Row, options: ClaimOptions): Awaitable<Claim>
  /** Writes `row` as it stands and extends the lease. Undefined when the fence is no longer the holder's. */
  renew(row: Row, fence: number, leaseMs: number, look?: Look): Awaitable<Renewed | undefined>
  /** Writes `row` and ends the lease. `release` frees its key; `remove` forgets the row too. */
  settle(row: Row, fence: number, options?: SettleOptions): Awaitable<boolean>
  /**
   * The same writes in a transaction of the application's: they hold when it commits, and are undone with it. Absent where
   * a store cannot.
   */
  within?(transaction: Transaction): Pick<MailStore, 'claim' | 'settle'>
  /** Takes a row nobody holds (its lease ran out, or it has none) that is in one of `states`. */
  takeover(id: string, states: readonly MessageStatus[], lease: Lease): Awaitable<Held | undefined>
  /** Not `get`: the stores that serve as Keyv adapters too have one already. */
  read(id: string): Awaitable<Row | undefined>
  find(by: { readonly messageId: string } | { readonly providerMessageId: string }): Awaitable<Row | undefined>
  /** Newest first. Needs `guarantees.list`; throws `UNSUPPORTED_FEATURE` without. */
  list(query: ListQuery): Awaitable<RowPage>
  /**
   * Takes up to `count` rows to work on: rows whose lease ran out, then queued and scheduled ones whose time has come.
   *
   * Tenants have their turns. Of each tenant the higher priority leaves first, and equals in the order in which they first
   * were queued or scheduled: leases, delays and other times change when a row may leave, never where it stands. Only a row
   * that rested (settled, unknown, or left in no state of the queue) and is queued again by hand begins to wait anew. A
   * store may make ready a bounded number of rows at once, those that came due first.
   */
  due(count: number, lease: Lease, options?: DueOptions): Awaitable<Due>
  /** How many rows wait, queued or scheduled; counted no further than the most that may. */
  waiting(): Awaitable<number>
  /** Ids of all rows that wait, of every tenant: what a store whose durability is `none` loses with its process. */
  waitingIds?(): Awaitable<readonly string[]>
  readonly suppress: {
    add(entries: readonly StoredSuppression[]): Awaitable<void>
    /** One answer per key, in order: the first entry that covers it in one of `scopes`. Expired entries do not count. */
    hasMany(
      tenant: string | undefined,
      keys: readonly string[],
      scopes: readonly string[],
    ): Awaitable<readonly (StoredSuppression | undefined)[]>
    /** Every entry of one mailbox. */
    get(tenant: string | undefined, key: string): Awaitable<readonly StoredSuppression[]>
    /** Without `scope`, every entry of the mailbox. Answers how many were removed. */
    remove(tenant: string | undefined, key: string, scope?: string): Awaitable<number>
    list(tenant: string | undefined, page: PageRequest): Awaitable<Page<StoredSuppression>>
  }
  readonly limits: {
    /** Takes `cost` from every window of `key`, or from none of them. */
    take(key: string, windows: readonly Window[], cost: number): Awaitable<Take>
    /** Gives back what `take` took at `at`. A window that moved on is left alone. */
    refund(key: string, windows: readonly Window[], cost: number, at: number): Awaitable<void>
    /** What `take` took counts at another moment, in every window; one that stopped counting it counts it again. */
    move(key: string, windows: readonly Window[], moves: readonly Move[]): Awaitable<void>
    /** How much of each window is used now, in order. Takes nothing. */
    usage(key: string, windows: readonly Window[]): Awaitable<readonly number[]>
  }
  readonly counters: {
    add(key: string, amount: number): Awaitable<void>
    read(keys: readonly string[]): Awaitable<readonly number[]>
  }
  /** True the first time within `ttl` milliseconds. */
  once(id: string, ttl: number): Awaitable<boolean>
  close(): Awaitable<void>
}

export type Awaitable<T> = T | Promise<T>

/** A connection with an open transaction, as much of it as is used: a client of `pg` between BEGIN and COMMIT. */
export interface Transaction {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: Record<string, unknown>[] }>
}

export interface Guarantees {
  /** Between whom a claim is exclusive. */
  readonly scope: 'process' | 'host' | 'cluster'
  /** What an accepted message survives. */
  readonly durability: 'none' | 'process-crash' | 'power-loss'
  /** Whether `list` and `suppress.list` can answer. */
  readonly list: boolean
}

export interface Lease {
  readonly owner: string
  readonly ms: number
}

/**
 * A look at suppressions, in the same step as the write it comes with. It decides nothing: the writer is told what it found,
 * one answer per key as `suppress.hasMany` gives them, for the row's tenant.
 */
export interface Look {
  readonly keys: readonly string[]
  readonly scopes: readonly string[]
}

/** How long what is written for good is kept, in milliseconds. A row that can still change is kept until it cannot. */
export interface Retention {
  /** From its last settling. Default 30 days. */
  readonly records?: number
  /** Content (`work`) of settled and unknown rows, from then. Default 72 hours. */
  readonly content?: number
}

export interface ClaimOptions {
  /** Who works on it and for how long. Absent: nobody, and a queued or scheduled row waits for `due`. */
  readonly lease?: Lease
  /** Milliseconds the key is held from now, and as long as the row is unsettled or unknown. Default 24 hours. */
  readonly keyTtl?: number
  readonly look?: Look
  readonly retention?: Retention
}

export interface SettleOptions {
  readonly release?: boolean
  readonly remove?: boolean
  /** For a queued row: milliseconds from now until it is due. Default: at once. */
  readonly delay?: number
  readonly retention?: Retention
}

export type Claim =
  /** `found` is empty without a `look`. */
  | { readonly state: 'claimed'; readonly fence: number; readonly found: Found }
  /** `leased` tells whether somebody is working on it. */
  | { readonly state: 'held'; readonly row: Row; readonly leased: boolean }

export interface Renewed {
  readonly found: Found
}

export type Found = readonly (StoredSuppression | undefined)[]

export interface DueOptions {
  /** Only rows whose lease ran out. */
  readonly lost?: boolean
  /** Tenants whose queued and scheduled rows stay where they are; undefined stands for rows without tenant. */
  readonly without?: ReadonlySet<string | undefined>
}

export interface Due {
  readonly held: readonly Held[]
  /** Milliseconds until another of those asked for comes due: 0 when more are due now, absent when none waits. */
  readonly next?: number
  /** Ids of rows that could not be read. They were set aside, and `due` will not name them again. */
  readonly unreadable?: readonly string[]
}

export interface Held {
  readonly row: Row
  readonly fence: number
}

/** One message in the ledger: idempotency record, outbox entry and status in one. Plain JSON but for attachment bytes. */
export interface Row {
  readonly v: 1
  readonly id: string
  /** `send` rows are dispatched by the caller's own process only; `queue` rows by any worker. */
  readonly kind: 'send' | 'queue'
  /** False between the claim of a key and the end of accept: not yet a message anybody was promised. */
  readonly accepted: boolean
  readonly tenant?: string
  /** Hash of tenant, mode and idempotency key. */
  readonly key?: string
  readonly fingerprint?: string
  readonly status: MessageStatus
  readonly messageId: string
  readonly from: string
  readonly subject: string
  readonly stream: Stream
  readonly tags: readonly string[]
  readonly recipients: readonly RowRecipient[]
  readonly attempts: readonly Attempt[]
  readonly provider?: string
  readonly providerMessageId?: string
  readonly sandbox: boolean
  readonly priority: number
  /** Milliseconds since 1970, like every moment in a row. */
  readonly createdAt: number
  readonly sentAt?: number
  /** When a scheduled row is due; for a queued one what was expected when it was written. */
  readonly dueAt?: number
  readonly notAfter?: number
  /** How often the queue has taken it. */
  readonly runs: number
  readonly lastError?: { readonly code: string; readonly reason: string }
  readonly events?: readonly TimelineEvent[]
  /** What the queue needs to dispatch it. */
  readonly work?: QueuedWork
}

export interface RowRecipient {
  readonly address: string
  readonly field: RecipientField
  readonly status: RecipientStatus
  readonly reason?: string
}

export interface QueuedWork {
  readonly message: MessageSnapshot
  readonly provider?: string
  readonly route?: readonly string[]
  readonly onUnknown: 'hold' | 'resend'
  readonly timeout: number
  /** What accept took from quotas, to be given back if it is never sent. */
  readonly taken: readonly Taken[]
}

/** One successful take, as much as a refund needs. */
export interface Taken {
  readonly key: string
  readonly windows: readonly Window[]
  readonly at: number
}

export interface StoredSuppression {
  readonly tenant?: string
  /** The mailbox key. */
  readonly key: string
  /** `all`, `stream:<name>` or `topic:<name>`. */
  readonly scope: string
  readonly reason: string
  readonly note?: string
  readonly createdAt: number
  readonly expiresAt?: number
}

/** At most `limit` in any `per` milliseconds. */
export interface Window {
  readonly limit: number
  readonly per: number
}

export type Take =
  /** `used`: what each window holds now, this cost included, in order. */
  | { readonly ok: true; readonly at: number; readonly used: readonly number[] }
  /** `retryAfter`: milliseconds until it fits; Infinity when it never does. */
  | { readonly ok: false; readonly window: Window; readonly retryAfter: number }

/** What counted at `from` counts at `to` instead, both as in `Take.at`. A `to` that is still to come is now. */
export interface Move {
  readonly cost: number
  readonly from: number
  readonly to: number
}

export interface ListQuery extends PageRequest {
  readonly tenant?: string
  /** One index; absent means time alone. `recipient` is a mailbox key. */
  readonly index?: { readonly status: MessageStatus } | { readonly recipient: string } | { readonly tag: string }
  /** Milliseconds since 1970: created at or after, and before. */
  readonly since?: number
  readonly until?: number
}

export interface PageRequest {
  /** Default 100, at most 1,000. */
  readonly limit?: number
  /** Where the page before ended. */
  readonly cursor?: string
}

export interface Page<T> {
  readonly items: readonly T[]
  /** Absent on the last page. */
  readonly cursor?: string
}

export interface RowPage extends Page<Row> {
  /** Ids of rows that belong here and could not be read. */
  readonly unreadable?: readonly string[]
}

/** Those that no longer change by themselves. `unknown` is held, not settled: only evidence or an operator ends it. */
export const settledStatuses: ReadonlySet<MessageStatus> = new Set([
  'sent',
  'partial',
  'sandboxed',
  'suppressed',
  'rejected',
  'failed',
  'cancelled',
  'expired',
])

export const defaultRetention = { records: 30 * 86_400_000, content: 3 * 86_400_000 } as const
