import type { Clock } from './clock.ts'
import { Deadline } from './deadline.ts'

/** Every call from its first step to its last, so that `close` knows whom it waits for and whom it has to give up. */
export class UnderWay {
  readonly #clock: Clock
  readonly #deadlines = new Set<Deadline>()
  #waiting: (() => void)[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A deadline that counts as a call until its `end`. */
  begin(timeout: number, signal?: AbortSignal): Deadline {
    const deadline = new Deadline(this.#clock, timeout, signal, (ended) => this.#end(ended))
    this.#deadlines.add(deadline)
    return deadline
  }

  /** Gives up every call. */
  abort(): void {
    for (const deadline of this.#deadlines) deadline.abort('close')
  }

  /** Resolves when no call is under way. */
  idle(): Promise<void> {
    if (this.#deadlines.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #end(deadline: Deadline): void {
    this.#deadlines.delete(deadline)
    if (this.#deadlines.size > 0) return
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
