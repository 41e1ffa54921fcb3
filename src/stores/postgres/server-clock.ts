/** More than clocks drift apart: a millisecond a second. */
const drift = 0.001
/** Longer than any answer we still wait for was on its way; what is further behind was set back. */
const longestWay = 2_000

/**
 * What the server's clock shows at least, learned from the times its answers carry. Never ahead of it: an answer was on its
 * way for a while, so of late the highest estimate is the best.
 */
export class ServerClock {
  /** Server time less ours. */
  #offset: number | undefined
  #learnedAt = 0

  /** @param time What the server said its time was, in an answer that arrived at `now` of this process's own clock. */
  learn(time: number, now: number): void {
    const offset = time - now
    const expected = this.#offset === undefined ? offset : this.#offset - drift * (now - this.#learnedAt)
    this.#offset = expected - offset > longestWay ? offset : Math.max(offset, expected)
    this.#learnedAt = now
  }

  /** The server's time at our moment `now`, or somewhat before it; null while nothing is known. */
  at(now: number): number | null {
    return this.#offset === undefined ? null : Math.floor(now + this.#offset)
  }
}
