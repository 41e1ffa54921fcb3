import type PQueue from 'p-queue'
import type { Clock, Timer } from '../clock.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Held } from '../stores/store.ts'
import type { Resting } from './resting.ts'
import type { SharedPause } from './shared-pause.ts'

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
  /** Milliseconds between looks when nothing is known to be due: short where other processes may have queued something. */
  readonly poll: number
  /** Whether the worker keeps the process alive: `waiting` does where waiting messages would be lost with it. */
  readonly holdsProcess: 'never' | 'waiting' | 'always'
  readonly resting: Resting
  /** One that another process may have asked for. */
  readonly sharedPause?: SharedPause
}

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
  #paused = false

  constructor(parts: LocalQueueParts) {
    this.#parts = parts
  }

  /** Looks for due rows now: at the start, and whenever one was accepted. */
  wake(): void {
    if (this.#pumping) this.#again = true
    else if (!this.#stopped) this.#pumped = this.#pump()
  }

  /** Messages taken and not yet ended. */
  get active(): number {
    return this.#gate ? this.#gate.size + this.#gate.pending : 0
  }

  get paused(): boolean {
    return this.#paused
  }

  /** Begins nothing more until `resume`; what is under way goes on. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.wake()
  }

  /** Runs `task` in its turn; `otherwise` instead when the worker was stopped or paused until then. */
  async admit(task: () => Promise<void>, otherwise: () => Promise<void>): Promise<void> {
    const gate = await this.#opened()
    await gate.add(() => (this.#stopped || this.#paused ? otherwise() : task()))
  }

  /** Takes nothing more and gives back what was not begun; resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    // What waits behind slow ones is given back now.
    if (this.#gate) this.#gate.concurrency = Number.POSITIVE_INFINITY
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
      if (left <= 0 || this.#stopped || this.#paused || !this.#gate || this.active === 0) return
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
      const gate = await this.#opened()
      do {
        this.#again = false
        const { sharedPause, poll } = this.#parts
        if (sharedPause && (await sharedPause.ask())) this.#sleep(poll)
        else await this.#fill(gate)
      } while (this.#again && !this.#stopped)
    } catch (error) {
      this.#parts.ledger.warn(error)
      this.#sleep(afterFailure)
    } finally {
      this.#pumping = false
    }
  }

  async #opened(): Promise<PQueue> {
    if (this.#gate) return this.#gate
    const { default: Gate } = await import('p-queue')
    this.#gate ??= new Gate({ concurrency: this.#parts.concurrency })
    return this.#gate
  }

  async #fill(gate: PQueue): Promise<void> {
    const { ledger, timeout, concurrency, run, giveBack, poll, resting, sharedPause } = this.#parts
    for (;;) {
      const room = 2 * concurrency - this.active
      if (this.#stopped || this.#paused) return
      // What runs now wakes it before, unless it is the engine's.
      if (room <= 0) return this.#sleep(poll)
      const without = resting.tenants()
      const { held, next, unreadable = [] } = await ledger.store.due(room, ledger.lease(2 * timeout), { without })
      for (const id of unreadable) ledger.warnUnreadable(id)
      for (const one of held) {
        void gate.add(async () => {
          if (this.#stopped || this.#paused || sharedPause?.isOn) return giveBack(one)
          await run(one)
          // In batches: asking for one row after each would cost a round trip a message.
          if (2 * gate.size <= concurrency) this.wake()
        })
      }
      if (held.length < room) {
        const soonest = Math.min(next ?? poll, resting.next() ?? poll, poll)
        return this.#sleep(soonest, next !== undefined || without.size > 0)
      }
    }
  }

  #sleep(ms: number, waiting = true): void {
    if (this.#stopped) return
    const { clock, holdsProcess } = this.#parts
    this.#timer?.cancel()
    this.#timer = clock.setTimeout(() => this.wake(), ms)
    if (holdsProcess === 'never' || (holdsProcess === 'waiting' && !waiting)) this.#timer.unref()
  }
}
