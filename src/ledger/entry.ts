import type { Delivery } from '../delivery.ts'
import { configurationError } from '../errors.ts'
import type { Row } from '../stores/store.ts'

/** A message this process works on: its row as it stands, the fence that proves the claim, and who waits for the end. */
export class Entry {
  row: Row
  /** Absent until the row is in the store. */
  fence: number | undefined
  /** Whether the store holds it as accepted. */
  promised: boolean
  delivery: Delivery
  /** Milliseconds until its next run, once it went back to the queue. */
  delay: number | undefined
  /** The attempt that may hand over now. */
  #turn: Delivery['attempt']
  #handOver: PromiseWithResolvers<void> | undefined
  #finished = false
  #waiting: (() => void)[] = []

  constructor(row: Row, fence: number | undefined, delivery: Delivery) {
    this.row = row
    this.fence = fence
    this.promised = fence !== undefined && row.accepted
    this.delivery = delivery
  }

  /** Addresses that no provider has taken or refused; with `resend`, also those that may have been taken. */
  open(resend: boolean): ReadonlySet<string> {
    const open = new Set<string>()
    for (const { address, status } of this.row.recipients) {
      if (status === 'pending' || status === 'failed' || (resend && status === 'unknown')) open.add(address)
    }
    return open
  }

  beginTurn({ attempt }: Delivery): void {
    this.#turn = attempt
  }

  /** From here on the attempt can no longer hand over; resolves when a hand-over it began has ended. */
  async endTurn(): Promise<void> {
    this.#turn = undefined
    await this.#handOver?.promise
  }

  /**
   * The last guard before a provider, whatever policies do: one hand-over a turn, and only to those `open` names
   * (INVARIANTS P2, O5).
   *
   * @throws MailError `CONFIGURATION_ERROR` when a policy called `next` twice, or after it had ended.
   */
  beginHandOver({ attempt, envelope }: Delivery, resend: boolean): void {
    const open = this.open(resend)
    if (attempt !== this.#turn || envelope.recipients.some(({ address }) => !open.has(address))) {
      throw configurationError('A dispatch policy calls `next` once, and before it ends; nobody was mailed again.')
    }
    this.#turn = undefined
    this.#handOver = Promise.withResolvers()
  }

  endHandOver(): void {
    this.#handOver?.resolve()
    this.#handOver = undefined
  }

  /** Resolves when the work on it ends. */
  finished(): Promise<void> {
    if (this.#finished) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  finish(): void {
    this.#finished = true
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
