import type { Clock } from '../clock.ts'
import type { Deadline } from '../deadline.ts'
import type { Take } from '../stores/store.ts'

export type Refusal = Extract<Take, { ok: false }>

/** What asking the store once came to. */
type Answer = { readonly ok: true } | Refusal

/** Milliseconds after which the first of a line asks again, whatever it was told: another process may give back what it took. */
const longestWait = 10_000
/** How long the first of a line lets the queue go before it. */
const yields = 300

interface Line {
  /** Those who wait, in the order they came; calling one makes it the first. */
  readonly turns: Set<() => void>
  /** What the first was told last, and the monotonic moment at which room was promised. */
  refusal: { readonly answer: Refusal; readonly freeAt: number }
  /** There is room again, sooner than promised. */
  wake?: () => void
  /** A queued message met the line. */
  queueWaits: boolean
  /** The queue may go now, and says when it did. */
  queueGoes?: () => void
}

/**
 * Those who wait for room in a limit, by its key, in the order they came. Only the first of a line asks the store, so that
 * a thousand waiting calls cost no more than one, and none is overtaken but by the queue, which gets every other turn.
 */
export class Lines {
  readonly #clock: Clock
  readonly #byKey = new Map<string, Line>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** What a call has to wait for that may not overtake those who wait; undefined where nobody does. */
  refusal(key: string): Refusal | undefined {
    const line = this.#byKey.get(key)
    return line && this.#refusal(line)
  }

  /** What a queued message has to wait for, where others do: it takes no place in the line, but the first lets it go before. */
  ahead(key: string): Refusal | undefined {
    const line = this.#byKey.get(key)
    if (!line || line.queueGoes) return undefined
    line.queueWaits = true
    return this.#refusal(line)
  }

  /** A queued message took, or was refused, in the turn that was left to it. */
  queueWent(key: string): void {
    this.#byKey.get(key)?.queueGoes?.()
  }

  /** Something was given back: the first asks again. */
  wake(key: string): void {
    this.#byKey.get(key)?.wake?.()
  }

  /**
   * Takes now if nobody waits and there is room, else as soon as there is room and it is our turn.
   *
   * @param take Asks the store once.
   * @returns a refusal when the room comes only after the deadline.
   * @throws MailError when the call is given up meanwhile.
   */
  async pass<T extends Answer>(key: string, deadline: Deadline, take: () => Promise<T>): Promise<T | Refusal> {
    let line = this.#byKey.get(key)
    if (!line) {
      const answer = await take()
      if (answer.ok || answer.retryAfter >= deadline.remaining) return answer
      // Somebody may have been faster.
      line = this.#byKey.get(key) ?? { turns: new Set(), refusal: this.#noted(answer), queueWaits: false }
      this.#byKey.set(key, line)
    }
    const turn = Promise.withResolvers<void>()
    line.turns.add(turn.resolve)
    try {
      if (line.turns.size === 1) await this.#wait(line, deadline)
      else await deadline.within(turn.promise)
      return await this.#first(line, deadline, take)
    } catch (error) {
      // Whoever runs out of time here ran into the limit.
      if (deadline.cause === 'timeout') return this.#refusal(line)
      throw error
    } finally {
      this.#leave(key, line, turn.resolve)
    }
  }

  async #first<T extends Answer>(line: Line, deadline: Deadline, take: () => Promise<T>): Promise<T> {
    for (;;) {
      const answer = await take()
      if (answer.ok || answer.retryAfter >= deadline.remaining) return answer
      line.refusal = this.#noted(answer)
      await this.#wait(line, deadline)
    }
  }

  /** Until there may be room for the first. */
  async #wait(line: Line, deadline: Deadline): Promise<void> {
    const woken = Promise.withResolvers<void>()
    line.wake = woken.resolve
    await deadline.wait(Math.min(this.#refusal(line).retryAfter, longestWait), woken.promise)
    deadline.check()
    if (line.queueWaits) await this.#letQueueGo(line, deadline)
  }

  async #letQueueGo(line: Line, deadline: Deadline): Promise<void> {
    const gone = Promise.withResolvers<void>()
    line.queueWaits = false
    line.queueGoes = gone.resolve
    await deadline.wait(yields, gone.promise)
    delete line.queueGoes
    deadline.check()
  }

  #noted(answer: Refusal): Line['refusal'] {
    return { answer, freeAt: this.#clock.monotonic() + answer.retryAfter }
  }

  #refusal({ refusal: { answer, freeAt } }: Line): Refusal {
    return { ...answer, retryAfter: Math.max(1, freeAt - this.#clock.monotonic()) }
  }

  #leave(key: string, line: Line, turn: () => void): void {
    const [first] = line.turns
    line.turns.delete(turn)
    if (line.turns.size === 0) this.#byKey.delete(key)
    else if (first === turn) {
      const [next] = line.turns
      next!()
    }
  }
}
