import { callOf } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import { MailError } from '../errors.ts'
import type { MessageStatus, Receipt } from '../receipt.ts'
import type { Found, Held, Lease, Look, MailStore, Row, SettleOptions } from '../stores/store.ts'
import { Acceptance } from './acceptance.ts'
import { Book, type BookOptions } from './book.ts'
import { Entry } from './entry.ts'
import { LastWords } from './last-words.ts'
import { abandoned, ended, freesKey, type HandOverResult, withLateAnswer } from './row.ts'

export interface LedgerOptions extends BookOptions {
  /** Milliseconds a key is held. */
  readonly idempotencyTtl: number
}

/**
 * The book between accept and dispatch: a row per message, which is its idempotency record, its place in the queue and its
 * status in one. Nothing is handed over that has no row here, and no attempt begins that is not written here first.
 */
export class Ledger {
  readonly acceptance: Acceptance
  /** What the store would not take yet of what messages came to. */
  readonly lastWords: LastWords
  readonly #book: Book

  constructor({ idempotencyTtl, ...options }: LedgerOptions) {
    this.#book = new Book(options)
    this.acceptance = new Acceptance(this.#book, idempotencyTtl)
    this.lastWords = new LastWords(options.clock)
  }

  get store(): MailStore {
    return this.#book.store
  }

  /** Messages this process works on, from their claim to their last word. */
  get open(): ReadonlyMap<string, Entry> {
    return this.#book.open
  }

  /** @throws MailError when this process does not work on the message. */
  entry(id: string): Entry {
    const entry = this.open.get(id)
    if (entry) return entry
    throw new MailError('INVALID_STATE', 'This process no longer works on the message; nothing was handed over.', {
      id,
    })
  }

  lease(timeout: number): Lease {
    return this.#book.lease(timeout)
  }

  /** What is certain of a row that was taken from nobody: where it stands, or that nobody was promised anything. */
  asFound(row: Row): Row {
    if (this.#book.isDenied(row.id)) return { ...ended(row, 'failed'), accepted: false }
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
        ? await this.#book.insert(entry, row, { lease: this.lease(leaseMs), ...(look ? { look } : {}) })
        : (await this.#book.store.renew(row, entry.fence, leaseMs + this.#book.leaseMargin, look))?.found
    if (!found) {
      throw new MailError(
        'INVALID_STATE',
        'Another process took the message over; this one has stopped working on it.',
        { id: row.id },
      )
    }
    entry.row = row
    this.#book.promise(entry)
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
      if (fence === undefined) written = (await this.#book.insert(entry, row, {})) !== undefined
      else written = await this.#end(row, fence, options)
    } catch (error) {
      this.warn(error, row.id)
      if (fence !== undefined) this.lastWords.add(row.id, () => this.#end(row, fence, options))
    }
    this.#book.drop(entry)
    if (written) this.#book.promise(entry)
    if (written !== false) this.#book.tellEnd(row)
    return written === true
  }

  async #end(row: Row, fence: number, options: SettleOptions): Promise<boolean> {
    return (await this.#book.settle(row, fence, options)) || (await this.#correct(row))
  }

  /** Another process took the row for abandoned in the middle of the hand-over whose end is known here. */
  async #correct(row: Row): Promise<boolean> {
    const held = await this.#book.store.takeover(row.id, ['unknown'], this.lease(0))
    if (!held) return false
    const known = held.row.attempts.length === row.attempts.length
    await this.#book.settle(known ? row : held.row, held.fence, { release: known && freesKey(row) })
    return known
  }

  /**
   * A provider answered hand-over `number` after it was given up. The row that says `unknown` learns the truth; nothing
   * is ever handed over because of it.
   */
  async learn(entry: Entry, delivery: Delivery, number: number, late: Promise<HandOverResult>): Promise<void> {
    const [result] = await Promise.all([late, entry.finished()])
    try {
      const held = await this.#book.store.takeover(delivery.id, ['unknown', 'partial', 'queued'], this.lease(0))
      if (!held) return
      const row = withLateAnswer(held.row, number, delivery, result, this.#book.clock.now())
      await this.#book.settle(row ?? held.row, held.fence, { release: row !== undefined && freesKey(row) })
      if (row) this.#book.tellEnd(row)
    } catch (error) {
      this.warn(error, delivery.id)
    }
  }

  /** What `receipt` says is this call's own to dispatch now. */
  workOn(receipt: Receipt, delivery: Delivery): Entry | undefined {
    const own = receipt.id === delivery.id && receipt.status === 'dispatching' && !receipt.replayed
    return own ? this.open.get(delivery.id) : undefined
  }

  /** With `onUnknown: 'resend'`, takes an `unknown` row of the same key back to work; undefined when there is none. */
  async resume(receipt: Receipt, delivery: Delivery): Promise<Entry | undefined> {
    if (receipt.status !== 'unknown' || receipt.replayed || receipt.id === delivery.id) return undefined
    const held = await this.#book.store.takeover(
      receipt.id,
      ['unknown'],
      this.lease(callOf(delivery).deadline.remaining),
    )
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
    const written = await this.#book.settle(row, held.fence, options)
    if (written) this.#book.tellEnd(row)
    return written
  }

  /** Makes this process the one that works on the row. */
  adopt(held: Held, delivery: Delivery): Entry {
    const entry = new Entry(held.row, held.fence, delivery)
    this.#book.keep(entry)
    return entry
  }

  /** Takes a row nobody works on and writes it anew; undefined when it is held or in no such state. */
  async change(
    id: string,
    states: readonly MessageStatus[],
    change: (row: Row) => Row,
    options?: (row: Row) => SettleOptions,
  ): Promise<Row | undefined> {
    const held = await this.#book.store.takeover(id, states, this.lease(0))
    if (!held) return undefined
    const row = change(held.row)
    try {
      if (!(await this.#book.settle(row, held.fence, options?.(row)))) return undefined
    } catch (error) {
      // A queue that is full, say: it stays what it was.
      if (!(error instanceof MailError && error.code === 'STORE_UNAVAILABLE')) {
        await this.#book.settle(held.row, held.fence)
      }
      throw error
    }
    this.#book.tellEnd(row)
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
    this.#book.warnUnreadable(id)
  }

  warn(error: unknown, id?: string): void {
    this.#book.warn(error, id)
  }
}
