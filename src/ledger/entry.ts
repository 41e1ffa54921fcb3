import type { Delivery } from '../delivery.ts'
import { configurationError } from '../errors.ts'
import type { Row } from '../stores/store.ts'

/** A message this process works on: its row as last written, the fence that proves the claim, and who waits for the end. */
export class Entry {
  row: Row
  readonly fence: number
  delivery: Delivery
  #handingOver = false
  #finished = false
  #waiting: (() => void)[] = []

  constructor(row: Row, fence: number, delivery: Delivery) {
    this.row = row
    this.fence = fence
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

  /**
   * The last guard before a provider: one hand-over at a time, and only to those `open` names (INVARIANTS P2, O5).
   *
   * @throws MailError `CONFIGURATION_ERROR` when a policy passed the same delivery on twice.
   */
  beginHandOver({ envelope }: Delivery, resend: boolean): void {
    const open = this.open(resend)
    if (this.#finished || this.#handingOver || envelope.recipients.some(({ address }) => !open.has(address))) {
      throw configurationError('A dispatch policy called `next` more than once; nobody was mailed again.')
    }
    this.#handingOver = true
  }

  endHandOver(): void {
    this.#handingOver = false
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
