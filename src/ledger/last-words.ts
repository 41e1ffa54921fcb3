import type { Clock, Timer } from '../clock.ts'
import { MailError } from '../errors.ts'

/** Milliseconds between two tries, each of which ends with the first that fails: a store that is down has its peace. */
const pause = 1_000
/** Milliseconds after which nobody waits for the store any more. */
const longest = 600_000
const most = 1_000

interface Word {
  /** Rejects with `STORE_UNAVAILABLE` when it could not be said. */
  readonly say: () => Promise<unknown>
  readonly until: number
}

/**
 * What messages came to that the store would not take: said again until it does, for ten minutes. Without them an outage of
 * some seconds would leave every message whose hand-over ended meanwhile `unknown`, although this process knows better.
 */
export class LastWords {
  readonly #clock: Clock
  readonly #waiting = new Map<string, Word>()
  #timer: Timer | undefined
  #saying: Promise<void> | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Beyond 1,000 they are left to whoever finds the row without its worker. */
  add(id: string, say: Word['say']): void {
    if (this.#waiting.size >= most) return
    this.#waiting.set(id, { say, until: this.#clock.monotonic() + longest })
    this.#wait()
  }

  /** Says them now, until one fails. Never rejects. */
  say(): Promise<void> {
    this.#saying ??= this.#sayAll().finally(() => {
      this.#saying = undefined
    })
    return this.#saying
  }

  /** Says them once more, and then no more. */
  async close(): Promise<void> {
    await this.say()
    this.#waiting.clear()
    this.#timer?.cancel()
  }

  async #sayAll(): Promise<void> {
    for (const [id, { say, until }] of this.#waiting) {
      try {
        if (this.#clock.monotonic() < until) await say()
      } catch (error) {
        if (error instanceof MailError && error.code === 'STORE_UNAVAILABLE') return
      }
      this.#waiting.delete(id)
    }
  }

  #wait(): void {
    if (this.#timer || this.#waiting.size === 0) return
    this.#timer = this.#clock.setTimeout(async () => {
      await this.say()
      this.#timer = undefined
      this.#wait()
    }, pause)
    this.#timer.unref()
  }
}
