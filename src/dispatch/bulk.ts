import type { Clock, Timer } from '../clock.ts'
import type { Delivery } from '../delivery.ts'
import type { HandOverResult } from '../ledger/row.ts'
import type { Provider } from '../provider.ts'

/** How long a hand-over waits for the others of its merge. */
const linger = 10

/** Hands over several deliveries of one content in one call of the provider. */
export type BulkCall = (
  provider: Provider,
  name: string,
  deliveries: readonly Delivery[],
) => Promise<readonly HandOverResult[]>

interface Waiting {
  readonly delivery: Delivery
  readonly resolve: (result: HandOverResult) => void
}

/**
 * Joins the hand-overs of one merge: each recipient's message goes its own way through every policy, and those that meet
 * at the same provider within a moment leave in one native call.
 */
export class BulkGroup {
  readonly #clock: Clock
  readonly #waiting = new Map<string, { provider: Provider; list: Waiting[]; timer: Timer | undefined }>()
  readonly #jitter: number[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  join(name: string, provider: Provider, delivery: Delivery, call: BulkCall): Promise<HandOverResult> {
    return new Promise((resolve) => {
      const batch = this.#waiting.get(name) ?? { provider, list: [], timer: undefined }
      this.#waiting.set(name, batch)
      batch.list.push({ delivery, resolve })
      if (batch.list.length >= provider.capabilities.bulk) this.#leave(name, call)
      else batch.timer ??= this.#clock.setTimeout(() => this.#leave(name, call), linger)
    })
  }

  /** One draw for all members, so that they meet again in the next round. */
  jitter(round: number, random: () => number): number {
    this.#jitter[round] ??= random()
    return this.#jitter[round]
  }

  #leave(name: string, call: BulkCall): void {
    const batch = this.#waiting.get(name)
    if (!batch) return
    this.#waiting.delete(name)
    batch.timer?.cancel()
    void call(
      batch.provider,
      name,
      batch.list.map(({ delivery }) => delivery),
    ).then((results) => {
      for (const [i, { resolve }] of batch.list.entries()) resolve(results[i]!)
    })
  }
}
