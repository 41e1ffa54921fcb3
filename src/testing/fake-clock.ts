import type { Clock } from '../clock.ts'

/** Time that stands still until a test moves it. Give it as `clock` to `createMailer`, `memory` and the policies. */
export interface FakeClock extends Clock {
  /**
   * Moves time on by `ms` milliseconds and runs every timer that comes due, in order of time and at its own moment; also
   * those that timers set on the way. Promise callbacks run between timers and before it resolves.
   */
  advance(ms: number): Promise<void>
  /** Sets the wall clock forth or back by `ms` and nothing else, as an operator or a time server would. */
  step(ms: number): void
  /** Timers that wait. */
  readonly pending: number
}

interface Waiting {
  readonly at: number
  readonly callback: () => void
}

/**
 * A clock for tests. No timer of it keeps the process alive.
 *
 * @param start Wall time in milliseconds since 1970. Default 2026-01-01T00:00:00Z.
 */
export function fakeClock(start = Date.UTC(2026, 0, 1)): FakeClock {
  let elapsed = 0
  let stepped = 0
  const timers = new Set<Waiting>()

  const first = (until: number): Waiting | undefined => {
    let next: Waiting | undefined
    for (const timer of timers) {
      if (timer.at <= until && (next === undefined || timer.at < next.at)) next = timer
    }
    return next
  }

  return {
    now: () => start + stepped + elapsed,
    monotonic: () => elapsed,
    setTimeout(callback, ms) {
      const timer = { at: elapsed + Math.max(ms, 0), callback }
      timers.add(timer)
      return { cancel: () => void timers.delete(timer), unref: () => {} }
    },
    async advance(ms) {
      if (!(ms >= 0)) throw new RangeError('fakeClock().advance takes milliseconds, 0 or more.')
      const until = elapsed + ms
      await turn()
      for (let timer = first(until); timer; timer = first(until)) {
        timers.delete(timer)
        elapsed = Math.max(elapsed, timer.at)
        timer.callback()
        await turn()
      }
      elapsed = until
      await turn()
    },
    step(ms) {
      stepped += ms
    },
    get pending() {
      return timers.size
    },
  }
}

/** One turn of the event loop: every promise callback that is ready has run. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
