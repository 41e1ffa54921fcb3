import type PQueue from 'p-queue'
import type { Clock, Timer } from '../clock.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Held } from '../stores/store.ts'

export interface LocalQueueParts {
  readonly ledger: Ledger
  readonly clock: Clock
  /** Brings one taken row to its end; never rejects. */
  readonly run: (held: Held) => Promise<void>
  /** Leaves a taken row to whoever takes it next; never rejects. */
  readonly giveBack: (held: Held) => Promise<void>
  readonly concurrency: number
  /** Milliseconds a row is leased for. */
  readonly timeout: number
  /** Whether waiting messages keep the process alive: true when they would be lost with it. */
  readonly holdsProcess: boolean
}

const longestSleep = 30_000
const afterFailure = 1_000

/**
 * Dispatches what the ledger says is due. p-queue is only the concurrency gate, over a small window: priority and times
 * live in the ledger, and what this process has not taken any other may.
 */
export class LocalQueue {
  readonly #parts: LocalQueueParts
  #gate: PQueue | undefined
  #timer: Timer | undefined
  #pumping = false
  #pumped: Promise<void> = Promise.resolve()
  #again = false
  #stopped = false

  constructor(parts: LocalQueueParts) {
    this.#parts = parts
  }

  /** Looks for due rows now: at the start, and whenever one was accepted. */
  wake(): void {
    if (this.#pumping) this.#again = true
    else if (!this.#stopped) this.#pumped = this.#pump()
  }

  /** Takes nothing more and gives back what was not begun; resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#pumped
    await this.#gate?.onIdle()
  }

  /** Waits until nothing is due or under way, at most `ms`. */
  async drain(ms: number): Promise<void> {
    const endsAt = this.#parts.clock.monotonic() + ms
    for (;;) {
      this.wake()
      await this.#pumped
      const left = endsAt - this.#parts.clock.monotonic()
      if (left <= 0 || this.#stopped || !this.#gate || this.#gate.size + this.#gate.pending === 0) return
      const late = Promise.withResolvers<void>()
      const timer = this.#parts.clock.setTimeout(() => late.resolve(), left)
      await Promise.race([this.#gate.onIdle(), late.promise])
      timer.cancel()
    }
  }

  async #pump(): Promise<void> {
    this.#pumping = true
    this.#timer?.cancel()
    try {
      this.#gate ??= new (await import('p-queue')).default({ concurrency: this.#parts.concurrency })
      do {
        this.#again = false
        await this.#fill(this.#gate)
      } while (this.#again && !this.#stopped)
    } catch (error) {
      this.#parts.ledger.warn(error)
      this.#sleep(afterFailure)
    } finally {
      this.#pumping = false
    }
  }

  async #fill(gate: PQueue): Promise<void> {
    const { ledger, timeout, concurrency, run, giveBack } = this.#parts
    for (;;) {
      const room = 2 * concurrency - gate.size - gate.pending
      if (room <= 0 || this.#stopped) return
      const { held, next, unreadable = [] } = await ledger.store.due(room, ledger.lease(2 * timeout))
      for (const id of unreadable) ledger.warnUnreadable(id)
      for (const one of held) {
        void gate.add(async () => {
          if (this.#stopped) return giveBack(one)
          await run(one)
          this.wake()
        })
      }
      if (held.length < room) return this.#sleep(next ?? longestSleep, next !== undefined)
    }
  }

  /** With `work` waiting, the timer keeps the process alive where the work would be lost with it. */
  #sleep(ms: number, work = true): void {
    if (this.#stopped) return
    this.#timer?.cancel()
    this.#timer = this.#parts.clock.setTimeout(() => this.wake(), Math.min(ms, longestSleep))
    if (!this.#parts.holdsProcess || !work) this.#timer.unref()
  }
}
