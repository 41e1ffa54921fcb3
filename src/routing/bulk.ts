import { isDeepStrictEqual } from 'node:util'
import type { Clock, Timer } from '../clock.ts'
import type { Delivery } from '../delivery.ts'
import type { Exchanged } from '../ledger/row.ts'
import type { Provider } from '../provider.ts'

/** How long a hand-over waits for the others of its merge. */
const linger = 10

/** Hands over several deliveries of one content in one call of the provider. Never rejects. */
export type BulkCall = (provider: Provider, deliveries: readonly Delivery[]) => Promise<readonly Exchanged[]>

interface Waiting {
  readonly delivery: Delivery
  readonly resolve: (result: Exchanged) => void
}

interface Batch {
  readonly list: Waiting[]
  timer: Timer | undefined
}

/**
 * Joins the hand-overs of one merge: each recipient's message goes its own way through every policy, and those that meet
 * at the same provider within a moment leave in one native call. What a policy made different leaves alone.
 */
export class BulkGroup {
  readonly #clock: Clock
  readonly #waiting = new Map<Provider, Batch>()
  readonly #jitter: number[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async join(provider: Provider, delivery: Delivery, call: BulkCall): Promise<Exchanged> {
    const batch = this.#waiting.get(provider) ?? { list: [], timer: undefined }
    const [first] = batch.list
    if (delivery.envelope.recipients.length !== 1 || (first && !sameContent(first.delivery, delivery))) {
      return (await call(provider, [delivery]))[0]!
    }
    this.#waiting.set(provider, batch)
    return new Promise((resolve) => {
      batch.list.push({ delivery, resolve })
      if (batch.list.length >= provider.capabilities.bulk) this.#leave(provider, call)
      else batch.timer ??= this.#clock.setTimeout(() => this.#leave(provider, call), linger)
    })
  }

  /** One draw for all members, so that they meet again in the next round. */
  jitter(round: number, random: () => number): number {
    this.#jitter[round] ??= random()
    return this.#jitter[round]
  }

  #leave(provider: Provider, call: BulkCall): void {
    const { list, timer } = this.#waiting.get(provider)!
    this.#waiting.delete(provider)
    timer?.cancel()
    const deliveries = list.map(({ delivery }) => delivery)
    void call(provider, deliveries).then((results) => {
      for (const [i, { resolve }] of list.entries()) resolve(results[i]!)
    })
  }
}

/** Equal but for what each recipient of a merge may have of its own. A merge shares the bytes of its attachments. */
function sameContent(a: Delivery, b: Delivery): boolean {
  const [ours, theirs] = [a.message.attachments, b.message.attachments]
  return (
    a.envelope.from === b.envelope.from &&
    ours.length === theirs.length &&
    ours.every(({ content }, i) => content === theirs[i]!.content) &&
    isDeepStrictEqual(contentOf(a), contentOf(b))
  )
}

function contentOf({ message }: Delivery): object {
  const { to: _to, metadata: _metadata, headers: _headers, attachments, ...content } = message
  return { ...content, attachments: attachments.map(({ content: _content, ...facts }) => facts) }
}
