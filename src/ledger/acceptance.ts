import { callOf } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import { MailError, withDetails } from '../errors.ts'
import { hashKey } from '../message/fingerprint.ts'
import type { MessageStatus, Receipt } from '../receipt.ts'
import type { Found, Look, Row } from '../stores/store.ts'
import type { Book, Writes } from './book.ts'
import { Entry } from './entry.ts'
import { receiptOf } from './record.ts'

/** What the claim of a key found: the way is free, or another call's row. */
export type KeyClaim =
  | { readonly state: 'claimed'; readonly found: Found }
  | { readonly state: 'held'; readonly row: Row; readonly leased: boolean }

/** How a message comes into the ledger, or is refused. */
export class Acceptance {
  readonly #book: Book
  readonly #idempotencyTtl: number

  /** @param idempotencyTtl Milliseconds a key is held. */
  constructor(book: Book, idempotencyTtl: number) {
    this.#book = book
    this.#idempotencyTtl = idempotencyTtl
  }

  /** Claims the delivery's idempotency key with a row that promises nothing yet, and looks at suppressions on the way. */
  async claimKey(delivery: Delivery, fingerprint: string, look: Look): Promise<KeyClaim> {
    const call = callOf(delivery)
    const key = hashKey('idempotency', delivery.tenant, delivery.sandbox ? 'sandbox' : 'live', call.idempotencyKey)
    const row: Row = { ...rowOf(delivery, 'dispatching'), kind: 'send', accepted: false, key, fingerprint }
    const claim = await this.#writesFor(delivery).claim(row, {
      lease: this.#book.lease(call.deadline.remaining),
      keyTtl: this.#idempotencyTtl,
      look,
    })
    if (claim.state === 'held') return claim
    this.#book.keep(new Entry(row, claim.fence, delivery))
    return { state: 'claimed', found: claim.found }
  }

  /**
   * Accept's last step. What is queued is written, and promised from here on. A direct send promises nothing until it has
   * ended, so its row is first written with its first attempt.
   */
  async accept(delivery: Delivery): Promise<Receipt> {
    const call = callOf(delivery)
    call.deadline.check()
    if (call.kind === 'send') return receiptOf(this.#enter(delivery, rowOf(delivery, 'dispatching')).row)
    const { sendAt } = call
    const waits = sendAt !== undefined && sendAt > this.#book.clock.now()
    return this.#write(delivery, {
      ...rowOf(delivery, waits ? 'scheduled' : 'queued'),
      ...(waits ? { dueAt: sendAt } : {}),
      work: {
        message: delivery.message,
        ...(call.provider === undefined ? {} : { provider: call.provider }),
        ...(call.route === undefined ? {} : { route: call.route.names }),
        onUnknown: call.onUnknown,
        // What the caller had no time for is no reason to hurry a hand-over later.
        timeout: Math.max(call.timeout, this.#book.timeout),
        taken: call.taken,
      },
    })
  }

  /** The end of a sandboxed message: kept with its content, handed to nobody. */
  acceptSandboxed(delivery: Delivery): Promise<Receipt> {
    const row = rowOf(delivery, 'sandboxed')
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
    const entry = this.#book.open.get(id)
    if (!entry || entry.promised) return
    this.#book.drop(entry)
    this.#book.deny(entry.row)
    try {
      if (entry.fence === undefined) return
      const removed = await this.#writesFor(entry.delivery).settle(entry.row, entry.fence, { remove: true })
      if (removed) this.#book.undeny(id)
    } catch (error) {
      // The caller is to hear why the message was refused; the key frees itself when the lease runs out, or with the
      // transaction, in which nothing more can be done if it failed.
      if (callOf(entry.delivery).transaction === undefined) this.#book.warn(error, id)
    }
  }

  /** Writes what nobody works on now: a queued message, or the end of a sandboxed one. */
  async #write(delivery: Delivery, given: Row): Promise<Receipt> {
    const entry = this.#enter(delivery, given)
    const { row, fence } = entry
    const store = this.#writesFor(delivery)
    let failure: unknown
    try {
      if (fence === undefined) await this.#book.insert(entry, row, {}, store)
      else if (!(await this.#book.settle(row, fence, {}, store))) failure = claimRanOut()
    } catch (error) {
      failure = error
    }
    if (failure !== undefined && store === this.#book.store) failure = await this.#whyNotTaken(row, failure)
    if (failure !== undefined) {
      // The row of a claimed key is still to be removed.
      if (fence === undefined) this.#book.drop(entry)
      throw failure
    }
    this.#book.promise(entry)
    this.#book.drop(entry)
    this.#book.tellEnd(row)
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
      if ((await this.#book.store.read(id))?.accepted === true) return undefined
      this.#book.deny(row)
      return failure
    } catch {
      this.#book.deny(row)
      return withDetails(failure, { id })
    }
  }

  /** The entry of a message that was accepted just now; it takes over what the claim of its key wrote. */
  #enter(delivery: Delivery, row: Row): Entry {
    const claimed = this.#book.open.get(delivery.id)
    if (!claimed) {
      const entry = new Entry(row, undefined, delivery)
      this.#book.keep(entry)
      return entry
    }
    claimed.row = { ...row, key: claimed.row.key!, fingerprint: claimed.row.fingerprint! }
    claimed.delivery = delivery
    return claimed
  }

  /** Where an accepted message is written: the store, or the caller's transaction. */
  #writesFor(delivery: Delivery): Writes {
    const { transaction } = callOf(delivery)
    return (transaction && this.#book.store.within?.(transaction)) ?? this.#book.store
  }
}

const claimRanOut = () =>
  new MailError('STORE_UNAVAILABLE', 'The claim on the idempotency key ran out before the message was accepted.')

/** The row of a message that was just accepted. */
function rowOf(delivery: Delivery, status: MessageStatus): Row {
  const call = callOf(delivery)
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
