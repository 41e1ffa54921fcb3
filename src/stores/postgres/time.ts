import type { Clock } from '../../clock.ts'

/** Time as a test gives it; null for the server's own. */
export interface GivenTime {
  readonly now: number | null
  readonly wall: number | null
}

/** Both clocks of a store that was given one, and what makes the server look at its own otherwise. */
export const timeOf = (clock: Clock | undefined): GivenTime =>
  clock ? { now: Math.floor(clock.monotonic()), wall: Math.floor(clock.now()) } : { now: null, wall: null }

const longest = 2 ** 50

/** Milliseconds as the server counts them. */
export const wholeMs = (ms: number): number => Math.min(Math.max(Math.ceil(ms), -longest), longest)
