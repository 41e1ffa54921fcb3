import { randomUUID } from 'node:crypto'
import { type Call, callOf } from '../call.ts'
import type { Clock } from '../clock.ts'
import type { Delivery } from '../delivery.ts'
import { MailError, withDetails } from '../errors.ts'
import type { Events } from '../events.ts'
import { hashKey } from '../message/fingerprint.ts'
import type { MessageStatus, Receipt } from '../receipt.ts'
import {
  type Awaitable,
  type ClaimOptions,
  type Found,
  type Held,
  type Lease,
  type Look,
  type MailStore,
  type Retention,
  type Row,
  type SettleOptions,
  settledStatuses,
} from '../stores/store.ts'
import { Entry } from './entry.ts'
import { LastWords } from './last-words.ts'
import { receiptOf } from './record.ts'
import { abandoned, ended, freesKey, type HandOverResult, withLateAnswer } from './row.ts'

/** A lease outlasts its call by as long as the call may take, within these bounds, so that its end can still be written. */
const leaseMargin = { least: 1_000, most: 10_000 }
/** Ids, the oldest of which are forgotten. */
const mostDenied = 10_000

type Writes = Pick<MailStore, 'claim' | 'settle'>

/** What the claim of a key found: the way is free, or another call's row. */
export type KeyClaim =
  | { readonly state: 'claimed'; readonly found: Found }
  | { readonly state: 'held'; readonly row: Row; readonly leased: boolean }

export interface LedgerOptions {
  readonly store: MailStore
  readonly clock: Clock
  readonly events: Events
  /** Milliseconds a key is held. */
  readonly idempotencyTtl: number
  readonly retention: Retention
  /** Milliseconds a call of this mailer takes at most, unless it says otherwise. */
  readonly timeout: number
}

/**
 * The book between accept and dispatch: a row per message, which is its idempotency record, its place in the queue and its
 * status in one. Nothing is handed over that has no row here, and no attempt begins that is not written here first.
 */
export class Ledger {
  readonly store: MailStore
  /** What the store would not take yet of what messages came to. */
  readonly lastWords: LastWords
  readonly #clock: Clock
  readonly #events: Events
  readonly #idempotencyTtl: number
  readonly #retention: Retention
  readonly #leaseMargin: number
  readonly #owner = randomUUID()
  /** Messages this process works on, from their claim to their last word. */
  readonly #open = new Map<string, Entry>()
  /** Messages whose callers were told that the store failed, although it may hold them. */
  readonly #denied = new Set<string>()

  constructor({ store, clock, events, idempotencyTtl, retention, timeout }: LedgerOptions) {
    this.store = store
    this.lastWords = new LastWords(clock)
    this.#clock = clock
    this.#events = events
    this.#idempotencyTtl = idempotencyTtl
    this.#retention = retention
    this.#leaseMargin = Math.min(Math.max(timeout, leaseMargin.least), leaseMargin.most)
  }

  get open(): ReadonlyMap<string, Entry> {
    return this.#open
  }

  /** @throws MailError when this process does not work on the message. */
  entry(id: string): Entry {
    const entry = this.#open.get(id)
    if (entry) return entry
    throw new MailError('INVALID_STATE', 'This process no longer works on the message; nothing was handed over.', {
      id,
    })
  }

  lease(timeout: number): Lease {
    return { owner: this.#owner, ms: timeout + this.#leaseMargin }
  }

  /** Claims the delivery's idempotency key with a row that promises nothing yet, and looks at suppressions on the way. */
  async claimKey(delivery: Delivery, fingerprint: string, look: Look): Promise<KeyClaim> {
    const call = callOf(delivery)
    const key = hashKey('idempotency', delivery.tenant, delivery.sandbox ? 'sandbox' : 'live', call.idempotencyKey)
    const row: Row = { ...this.#rowOf(delivery, 'dispatching'), kind: 'send', accepted: false, key, fingerprint }
    const claim = await this.#writesFor(delivery).claim(row, {
      lease: this.lease(call.deadline.remaining),
      keyTtl: this.#idempotencyTtl,
      look,
    })
    if (claim.state === 'held') return claim
    this.#keep(new Entry(row, claim.fence, delivery))
    return { state: 'claimed', found: claim.found }
  }

  /**
   * Accept's last step. What is queued is written, and promised from here on. A direct send promises nothing until it has
   * ended, so its row is first written with its first attempt.
   */
  async accept(delivery: Delivery): Promise<Receipt> {
    const call = callOf(delivery)
    call.deadline.check()
    if (call.kind === 'send') return receiptOf(this.#enter(delivery, this.#rowOf(delivery, 'dispatching')).row)
    const { sendAt } = call
    const waits = sendAt !== undefined && sendAt > this.#clock.now()
    return this.#write(delivery, {
      ...this.#rowOf(delivery, waits ? 'scheduled' : 'queued'),
      ...(waits ? { dueAt: sendAt } : {}),
      work: {
        message: delivery.message,
        ...(call.provider === undefined ? {} : { provider: call.provider }),
        ...(call.route === undefined ? {} : { route: call.route.names }),
        onUnknown: call.onUnknown,
        timeout: call.timeout,
        taken: call.taken,
      },
    })
  }

  /** The end of a sandboxed message: kept with its content, handed to nobody. */
  acceptSandboxed(delivery: Delivery): Promise<Receipt> {
    const row = this.#rowOf(delivery, 'sandboxed')
    const call = callOf(delivery)
    return this.#write(delivery, {
      ...row,
      recipients: row.recipients.map((recipient) =>
        recipient.status === 'pending' ? { ...recipient, status: 'sandboxed' } : recipient,
      ),
      work: { message: delivery.message, onUnknown: call.onUnknown, timeout: call.timeout, taken: [] },
    })
  }

  /** Forgets a claimed key whose message was refused before it was accepted. */
  async refuse(id: string): Promise<void> {
    const entry = this.#open.get(id)
    if (!entry || entry.promised) return
    this.#drop(entry)
    this.#deny(entry.row)
    try {
      if (entry.fence === undefined) return
      if (await this.#writesFor(entry.delivery).settle(entry.row, entry.fence, { remove: true }))
        this.#denied.delete(id)
    } catch (error) {
      // The caller is to hear why the message was refused; the key frees itself when the lease runs out, or with the
      // transaction, in which nothing more can be done if it failed.
      if (callOf(entry.delivery).transaction === undefined) this.warn(error, id)
    }
  }

  /** What is certain of a row that was taken from nobody: where it stands, or that nobody was promised anything. */
  asFound(row: Row): Row {
    if (this.#denied.has(row.id)) return { ...ended(row, 'failed'), accepted: false }
    return row.status === 'dispatching' ? abandoned(row) : row
  }

  /**
   * Writes the row as it stands, so that what it says may happen, and may look at suppressions in the same step.
   *
   * @throws MailError when the row is no longer ours.
   */
  async keep(entry: Entry, row: Row, leaseMs: number, look?: Look): Promise<Found> {
    const found =
      entry.fence === undefined
        ? await this.#insert(entry, row, { lease: this.lease(leaseMs), ...(look ? { look } : {}) })
        : (await this.store.renew(row, entry.fence, leaseMs + this.#leaseMargin, look))?.found
    if (!found) {
      throw new MailError(
        'INVALID_STATE',
        'Another process took the message over; this one has stopped working on it.',
        { id: row.id },
      )
    }
    entry.row = row
    this.#promise(entry)
    return found
  }

  /**
   * Ends the work on a message and says so; true when the row was written. A store that fails here changes nothing about
   * what happened, and neither does another process that holds the row by now.
   */
  async settle(entry: Entry, row: Row, options: SettleOptions = {}): Promise<boolean> {
    entry.row = row
    const { fence } = entry
    let written: boolean | undefined
    try {
      if (fence === undefined) written = (await this.#insert(entry, row, {})) !== undefined
      else written = await this.#end(row, fence, options)
    } catch (error) {
      this.warn(error, row.id)
      if (fence !== undefined) this.lastWords.add(row.id, () => this.#end(row, fence, options))
    }
    this.#drop(entry)
    if (written) this.#promise(entry)
    if (written !== false) this.#emitSettled(row)
    return written === true
  }

  async #end(row: Row, fence: number, options: SettleOptions): Promise<boolean> {
    return (await this.#settle(row, fence, options)) || (await this.#correct(row))
  }

  /** Another process took the row for abandoned in the middle of the hand-over whose end is known here. */
  async #correct(row: Row): Promise<boolean> {
    const held = await this.store.takeover(row.id, ['unknown'], this.lease(0))
    if (!held) return false
    const known = held.row.attempts.length === row.attempts.length
    await this.#settle(known ? row : held.row, held.fence, { release: known && freesKey(row) })
    return known
  }

  /**
   * A provider answered hand-over `number` after it was given up. The row that says `unknown` learns the truth; nothing
   * is ever handed over because of it.
   */
  async learn(entry: Entry, delivery: Delivery, number: number, late: Promise<HandOverResult>): Promise<void> {
    const [result] = await Promise.all([late, entry.finished()])
    try {
      const held = await this.store.takeover(delivery.id, ['unknown', 'partial', 'queued'], this.lease(0))
      if (!held) return
      const row = withLateAnswer(held.row, number, delivery, result, this.#clock.now())
      await this.#settle(row ?? held.row, held.fence, { release: row !== undefined && freesKey(row) })
      if (row) this.#emitSettled(row)
    } catch (error) {
      this.warn(error, delivery.id)
    }
  }

  /** What `receipt` says is this call's own to dispatch now. */
  workOn(receipt: Receipt, delivery: Delivery): Entry | undefined {
    const own = receipt.id === delivery.id && receipt.status === 'dispatching' && !receipt.replayed
    return own ? this.#open.get(delivery.id) : undefined
  }

  /** With `onUnknown: 'resend'`, takes an `unknown` row of the same key back to work; undefined when there is none. */
  async resume(receipt: Receipt, delivery: Delivery): Promise<Entry | undefined> {
    if (receipt.status !== 'unknown' || receipt.replayed || receipt.id === delivery.id) return undefined
    const held = await this.store.takeover(receipt.id, ['unknown'], this.lease(callOf(delivery).deadline.remaining))
    if (!held) {
      throw new MailError('IDEMPOTENCY_IN_PROGRESS', 'Another call is already resending this message.', {
        id: receipt.id,
      })
    }
    return this.adopt(held, {
      ...delivery,
      id: held.row.id,
      messageId: held.row.messageId,
      createdAt: held.row.createdAt,
    })
  }

  /** Writes a row that was taken and never worked on; false when it is another's by now. */
  async settleHeld(held: Held, row: Row, options?: SettleOptions): Promise<boolean> {
    const written = await this.#settle(row, held.fence, options)
    if (written) this.#emitSettled(row)
    return written
  }

  /** Makes this process the one that works on the row. */
  adopt(held: Held, delivery: Delivery): Entry {
    const entry = new Entry(held.row, held.fence, delivery)
    this.#keep(entry)
    return entry
  }

  /** Takes a row nobody works on and writes it anew; undefined when it is held or in no such state. */
  async change(
    id: string,
    states: readonly MessageStatus[],
    change: (row: Row) => Row,
    options?: (row: Row) => SettleOptions,
  ): Promise<Row | undefined> {
    const held = await this.store.takeover(id, states, this.lease(0))
    if (!held) return undefined
    const row = change(held.row)
    if (!(await this.#settle(row, held.fence, options?.(row)))) return undefined
    this.#emitSettled(row)
    return row
  }

  /** Gives a row whose worker vanished the state that is certain about it; true when it was ours to give. */
  async recover(id: string): Promise<boolean> {
    const row = await this.change(
      id,
      ['dispatching'],
      (found) => this.asFound(found),
      (changed) => ({
        release: freesKey(changed),
        remove: !changed.accepted,
      }),
    )
    return row !== undefined
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

  #emitSettled(row: Row): void {
    if (!row.accepted || !(settledStatuses.has(row.status) || row.status === 'unknown')) return
    this.#events.emit('settled', {
      id: row.id,
      status: row.status,
      ...(row.tenant === undefined ? {} : { tenant: row.tenant }),
      ...(row.provider === undefined ? {} : { provider: row.provider }),
    })
  }

  /** Writes what nobody works on now: a queued message, or the end of a sandboxed one. */
  async #write(delivery: Delivery, given: Row): Promise<Receipt> {
    const entry = this.#enter(delivery, given)
    const { row, fence } = entry
    const store = this.#writesFor(delivery)
    let failure: unknown
    try {
      if (fence === undefined) await this.#insert(entry, row, {}, store)
      else if (!(await this.#settle(row, fence, {}, store))) failure = claimRanOut()
    } catch (error) {
      failure = error
    }
    if (failure !== undefined && store === this.store) failure = await this.#whyNotTaken(row, failure)
    if (failure !== undefined) {
      // The row of a claimed key is still to be removed.
      if (fence === undefined) this.#drop(entry)
      throw failure
    }
    this.#promise(entry)
    this.#drop(entry)
    this.#emitSettled(row)
    return receiptOf(row)
  }

  /**
   * The answer may have been lost and not the message: one look tells, and undefined says that it is there. From now on
   * one that is not is denied; where the look fails too, the error names the message.
   */
  async #whyNotTaken(row: Row, failure: unknown): Promise<unknown> {
    if (!(failure instanceof MailError) || failure.code !== 'STORE_UNAVAILABLE') return failure
    const { id } = row
    try {
      if ((await this.store.read(id))?.accepted === true) return undefined
      this.#deny(row)
      return failure
    } catch {
      this.#deny(row)
      return withDetails(failure, { id })
    }
  }

  /** What was queued with a key is not denied: a repeat of the call, in any process, may have been promised it since. */
  #deny({ id, kind, key }: Row): void {
    if (kind === 'queue' && key !== undefined) return
    this.#denied.add(id)
    if (this.#denied.size > mostDenied) this.#denied.delete(this.#denied.values().next().value!)
  }

  /** The entry of a message that was accepted just now; it takes over what the claim of its key wrote. */
  #enter(delivery: Delivery, row: Row): Entry {
    const claimed = this.#open.get(delivery.id)
    if (!claimed) {
      const entry = new Entry(row, undefined, delivery)
      this.#keep(entry)
      return entry
    }
    claimed.row = { ...row, key: claimed.row.key!, fingerprint: claimed.row.fingerprint! }
    claimed.delivery = delivery
    return claimed
  }

  /** Where an accepted message is written: the store, or the caller's transaction. */
  #writesFor(delivery: Delivery): Writes {
    const { transaction } = callOf(delivery)
    return (transaction && this.store.within?.(transaction)) ?? this.store
  }

  async #insert(
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

  #settle(row: Row, fence: number, options: SettleOptions = {}, store: Writes = this.store): Awaitable<boolean> {
    return store.settle(row, fence, { ...options, retention: this.#retention })
  }

  /** The store holds the message now, and so the caller may rely on it. */
  #promise(entry: Entry): void {
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

  #rowOf(delivery: Delivery, status: MessageStatus): Row {
    const call: Call = callOf(delivery)
    const { message, envelope } = delivery
    return {
      v: 1,
      id: delivery.id,
      kind: call.kind,
      accepted: true,
      ...(delivery.tenant === undefined ? {} : { tenant: delivery.tenant }),
      status,
      messageId: delivery.messageId,
      from: message.from.address,
      subject: message.subject,
      stream: delivery.stream,
      tags: message.tags,
      recipients: [
        ...envelope.recipients.map(({ address, field }) => ({ address, field, status: 'pending' }) as const),
        ...call.suppressed,
      ],
      attempts: [],
      sandbox: delivery.sandbox,
      priority: call.priority,
      createdAt: delivery.createdAt,
      ...(delivery.notAfter === undefined ? {} : { notAfter: delivery.notAfter }),
      runs: 0,
    }
  }

  #keep(entry: Entry): void {
    this.#open.set(entry.row.id, entry)
  }

  #drop(entry: Entry, row: Row = entry.row): void {
    entry.row = row
    if (this.#open.get(row.id) === entry) this.#open.delete(row.id)
    entry.finish()
  }
}

const claimRanOut = () =>
  new MailError('STORE_UNAVAILABLE', 'The claim on the idempotency key ran out before the message was accepted.')
