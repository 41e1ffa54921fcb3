import type { Deadline } from '../deadline.ts'
import type { Take } from '../stores/store.ts'

/**
 * Those who wait for room in a limit, by its key, in the order they came. Only the first of a line asks the store, so that
 * a thousand waiting calls cost no more than one, and none is overtaken.
 */
export class Lines {
  readonly #byKey = new Map<string, (() => void)[]>()

  /** Whether somebody waits, whom nobody may overtake. */
  has(key: string): boolean {
    return this.#byKey.has(key)
  }

  /**
   * Takes now if nobody waits and there is room, else as soon as there is room and it is our turn.
   *
   * @param take Asks the store once.
   * @returns a refusal when the room comes only after the deadline.
   * @throws MailError when the call is given up meanwhile.
   */
  async pass<T extends Take>(key: string, deadline: Deadline, take: () => Promise<T>): Promise<T> {
    if (!this.has(key)) {
      const answer = await take()
      if (answer.ok || answer.retryAfter >= deadline.remaining) return answer
    }
    const turn = Promise.withResolvers<void>()
    const line = this.#byKey.get(key) ?? []
    this.#byKey.set(key, line)
    line.push(turn.resolve)
    try {
      if (line.length > 1) await deadline.within(turn.promise)
      for (;;) {
        const answer = await take()
        if (answer.ok || answer.retryAfter >= deadline.remaining) return answer
        await deadline.wait(answer.retryAfter)
        deadline.check()
      }
    } finally {
      this.#leave(key, line, turn.resolve)
    }
  }

  #leave(key: string, line: (() => void)[], place: () => void): void {
    const first = line[0] === place
    if (first) line.shift()
    else line.splice(line.indexOf(place), 1)
    if (line.length === 0) this.#byKey.delete(key)
    else if (first) line[0]!()
  }
}
