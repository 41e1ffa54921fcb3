/** Slower than any clock worth running drifts: 1 ms a second. */
const drift = 0.001
/** More than any answer we still listen to took; a server further behind was set back. */
const slowestAnswer = 2_000

/**
 * What the server's clock shows at least, learned from the moments its answers carry, so that a command can name the moment
 * after which it must not be done any more.
 */
export class ServerClock {
  /** Server time less ours, at least; undefined until an answer came. */
  #offset: number | undefined
  #learnedAt = 0

  get known(): boolean {
    return this.#offset !== undefined
  }

  /** Takes the moment an answer was made at, when it arrives. */
  learn(serverTime: number, now: number): void {
    const offset = serverTime - now
    const expected = this.#offset === undefined ? offset : this.#offset - drift * (now - this.#learnedAt)
    this.#offset = expected - offset > slowestAnswer ? offset : Math.max(offset, expected)
    this.#learnedAt = now
  }

  /** Server time at our moment `now`, or somewhat before. */
  at(now: number): number {
    return Math.floor(now + (this.#offset ?? 0))
  }
}
