import type { Delivery } from '../delivery.ts'
import type { Row } from '../stores/store.ts'

/** A message this process works on: its row as last written, the fence that proves the claim, and who waits for the end. */
export class Entry {
  row: Row
  readonly fence: number
  delivery: Delivery
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
