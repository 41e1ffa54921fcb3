import { MailError } from '../../errors.ts'

/** Faster than any database takes rows, in rows a millisecond: how long a count can be trusted follows from it. */
const fastestGrowth = 20
/** Between two counts, in milliseconds: the more rows may wait, the longer. */
const pause = { least: 10, most: 1_000, perRow: 0.01 }
const latest = 60_000

/**
 * Whether the queue is full, without counting it at every write: a count holds until the queue could have grown to its
 * bound since, and one that says the queue is full holds for a second at most. So the bound may be passed by what many
 * processes write in a second.
 */
export class QueueGauge {
  readonly #most: number
  readonly #soonest: number
  readonly #count: (most: number) => Promise<number>
  #counted = 0
  #countedAt = Number.NEGATIVE_INFINITY
  /** Since it was counted, by this process. */
  #taken = 0
  #counting: Promise<void> | undefined

  /** @param count How many wait, counted no further than `most`. */
  constructor(most: number, count: (most: number) => Promise<number>) {
    this.#most = most
    this.#soonest = Math.min(Math.max(most * pause.perRow, pause.least), pause.most)
    this.#count = count
  }

  /** Takes a place in the queue, unless it is full. A place that was not needed is given back. */
  async take(): Promise<boolean> {
    const age = performance.now() - this.#countedAt
    const room = this.#most - this.#counted - this.#taken
    if (age > Math.max(this.#soonest, Math.min(latest, room / fastestGrowth))) await this.#recount()
    if (this.#counted + this.#taken >= this.#most) return false
    this.#taken++
    return true
  }

  giveBack(): void {
    this.#taken = Math.max(0, this.#taken - 1)
  }

  #recount(): Promise<void> {
    this.#counting ??= this.#count(this.#most)
      .then((waiting) => {
        this.#counted = waiting
        this.#taken = 0
        this.#countedAt = performance.now()
      })
      .finally(() => {
        this.#counting = undefined
      })
    return this.#counting
  }
}

export const queueFull = (most: number): MailError =>
  new MailError(
    'QUEUE_FULL',
    `At most ${most} messages may wait in the PostgreSQL store; wait for the queue to drain, or raise maxQueued.`,
  )
