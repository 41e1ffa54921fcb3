/** Time as an option, so that tests can give their own. */
export interface Clock {
  /** Wall time in milliseconds since 1970: for stored moments only. */
  now(): number
  /** Milliseconds that never step back: for everything measured inside the process. */
  monotonic(): number
  /** Calls `callback` once after `ms`. The handle cancels it, and decides whether it keeps the process alive. */
  setTimeout(callback: () => void, ms: number): Timer
}

export interface Timer {
  cancel(): void
  unref(): void
}

const longestTimeout = 2_147_483_647

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout(callback, ms) {
    const handle = setTimeout(callback, Math.min(Math.max(ms, 0), longestTimeout))
    return { cancel: () => clearTimeout(handle), unref: () => handle.unref() }
  },
}
