import { readFileSync } from 'node:fs'
import type { Clock } from '../../clock.ts'

/**
 * The times of a store: wall time for stored moments, and steady time, which all processes of the host share and which no
 * step of the wall clock moves.
 *
 * Steady time is the system's monotonic clock plus an offset the database keeps for each boot, chosen so that it goes on
 * from where it was and, at first, reads like wall time. Milliseconds.
 */
export class StoreTime {
  /** Names the boot of the system; empty where that is not known. */
  readonly boot: string
  readonly #clock: Clock | undefined
  #offset = 0
  #lastStamp = 0

  constructor(clock: Clock | undefined, boot: string = clock ? 'clock' : bootId()) {
    this.#clock = clock
    this.boot = boot
  }

  set offset(offset: number) {
    this.#offset = offset
  }

  wall(): number {
    return this.#clock ? this.#clock.now() : Date.now()
  }

  /** Since the system started: the same in every process. */
  monotonic(): number {
    return this.#clock ? this.#clock.monotonic() : Number(process.hrtime.bigint()) / 1e6
  }

  steady(): number {
    return Math.floor(this.monotonic() + this.#offset)
  }

  /** Steady time in microseconds, and always more than the one before: for fences and for the order of arrival. */
  stamp(): number {
    this.#lastStamp = Math.max(this.#lastStamp + 1, Math.floor((this.monotonic() + this.#offset) * 1_000))
    return this.#lastStamp
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return ''
  }
}
