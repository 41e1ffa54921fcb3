import { randomUUID } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Events } from '../events.ts'
import {
  type Awaitable,
  type ClaimOptions,
  type Found,
  type Lease,
  type MailStore,
  type Retention,
  type Row,
  type SettleOptions,
  settledStatuses,
} from '../stores/store.ts'
import type { Entry } from './entry.ts'

/** A lease outlasts its call by as long as the call may take, within these bounds, so that its end can still be written. */
const leaseMargin = { least: 1_000, most: 10_000 }
/** Ids, the oldest of which are forgotten. */
const mostDenied = 10_000

export type Writes = Pick<MailStore, 'claim' | 'settle'>

export interface BookOptions {
  readonly store: MailStore
  readonly clock: Clock
  readonly events: Events
  readonly retention: Retention
  /** Milliseconds a call of this mailer takes at most, unless it says otherwise. */
  readonly timeout: number
}

/** What this process has open, how its rows are written, and what is said of them. */
export class Book {
  readonly store: MailStore
  readonly clock: Clock
  readonly leaseMargin: number
  readonly timeout: number
  readonly #events: Events
  readonly #retention: Retention
  readonly #owner = randomUUID()
  /** Messages this process works on, from their claim to their last word. */
  readonly #open = new Map<string, Entry>()
  /** Messages whose callers were told that the store failed, although it may hold them. */
  readonly #denied = new Set<string>()

  constructor({ store, clock, events, retention, timeout }: BookOptions) {
    this.store = store
    this.clock = clock
    this.#events = events
    this.#retention = retention
    this.timeout = timeout
    this.leaseMargin = Math.min(Math.max(timeout, leaseMargin.least), leaseMargin.most)
  }

  get open(): ReadonlyMap<string, Entry> {
    return this.#open
  }

  lease(timeout: number): Lease {
    return { owner: this.#owner, ms: timeout + this.leaseMargin }
  }

  keep(entry: Entry): void {
    this.#open.set(entry.row.id, entry)
  }

  drop(entry: Entry): void {
    const { id } = entry.row
    if (this.#open.get(id) === entry) this.#open.delete(id)
    entry.finish()
  }

  async insert(
    entry: Entry,
    row: Row,
    options: Pick<ClaimOptions, 'lease' | 'look'>,
    store: Writes = this.store,
  ): Promise<Found> {
    const claim = await store.claim(row, { ...options, retention: this.#retention })
    if (claim.state === 'held') {
      throw new MailError('STORE_UNAVAILABLE', 'The store holds another message with this id.')
    }
    entry.fence = claim.fence
    return claim.found
  }

  settle(row: Row, fence: number, options: SettleOptions = {}, store: Writes = this.store): Awaitable<boolean> {
    return store.settle(row, fence, { ...options, retention: this.#retention })
  }

  /** What was queued with a key is not denied: a repeat of the call, in any process, may have been promised it since. */
  deny({ id, kind, key }: Row): void {
    if (kind === 'queue' && key !== undefined) return
    this.#denied.add(id)
    if (this.#denied.size > mostDenied) this.#denied.delete(this.#denied.values().next().value!)
  }

  undeny(id: string): void {
    this.#denied.delete(id)
  }

  isDenied(id: string): boolean {
    return this.#denied.has(id)
  }

  /** The store holds the message now, and so the caller may rely on it. */
  promise(entry: Entry): void {
    if (entry.promised) return
    entry.promised = true
    const { row, delivery } = entry
    this.#events.emit('accepted', {
      id: row.id,
      status: row.status,
      recipients: delivery.envelope.recipients.length,
      ...(row.tenant === undefined ? {} : { tenant: row.tenant }),
    })
  }

  /** A row of the store's that cannot be read: it was set aside, and somebody has to look (INVARIANTS D2). */
  warnUnreadable(id: string): void {
    const message = 'The stored row cannot be read and was set aside: it is torn, or a newer release wrote it.'
    this.#events.emit('warning', { code: 'STORE_UNAVAILABLE', message, id })
  }

  warn(error: unknown, id?: string): void {
    const known = error instanceof MailError
    this.#events.emit('warning', {
      code: known ? error.code : 'STORE_UNAVAILABLE',
      message: known ? error.message : 'Unexpected failure.',
      ...(id === undefined ? {} : { id }),
    })
  }

  /** Says what the message came to, if that is an end. */
  tellEnd(row: Row): void {
    if (!row.accepted || !(settledStatuses.has(row.status) || row.status === 'unknown')) return
    this.#events.emit('settled', {
      id: row.id,
      status: row.status,
      ...(row.tenant === undefined ? {} : { tenant: row.tenant }),
      ...(row.provider === undefined ? {} : { provider: row.provider }),
    })
  }
}
