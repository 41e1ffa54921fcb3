import { setImmediate as turn } from 'node:timers/promises'
import type PQueue from 'p-queue'
import { type Clock, systemClock, type Timer } from '../clock.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Held } from '../stores/store.ts'
import type { Resting } from './resting.ts'
import type { SharedPause } from './shared-pause.ts'
import { Tally } from './tally.ts'

export interface LocalQueueParts {
  readonly ledger: Ledger
  readonly clock: Clock
  /** Brings one taken row to its end; never rejects. */
  readonly run: (held: Held) => Promise<void>
  /** Leaves a taken row to whoever takes it next; never rejects. */
  readonly giveBack: (held: Held) => Promise<void>
  readonly concurrency: number
  /** Whether there are tenants, none of whom may have all places. */
  readonly shared: boolean
  /** Milliseconds a row is leased for. */
  readonly timeout: number
  /** Milliseconds between looks when nothing is known to be due: short where other processes may have queued something. */
  readonly poll: number
  readonly holdsProcess: Hold
  readonly resting: Resting
  /** One that another process may have asked for. */
  readonly sharedPause?: SharedPause
}

/** Whether the worker keeps the process alive: `waiting` does where waiting messages would be lost with it. */
export type Hold = 'never' | 'waiting' | 'always'

const afterFailure = 1_000
/** Milliseconds: messages are taken ahead only where they begin soon. */
const quick = 50
/** Milliseconds for which the event loop may be kept from anything else. */
const breath = 5

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
  #concurrency: number
  #holds: Hold
  /** Messages taken from the store and not yet ended, in all and of each tenant. */
  readonly #taken = new Tally<string | undefined>()
  /** Those that run. */
  readonly #running = new Tally<string | undefined>()
  /** Those whose turn came while their tenant had all the places it may have. */
  readonly #aside = new Map<string | undefined, Held[]>()
  /** Messages that an engine brought and that run. */
  #brought = 0
  /** Milliseconds a message takes, of late. */
  #pace = Number.POSITIVE_INFINITY
  #breathedAt = performance.now()
  #breath: Promise<void> | undefined

  constructor(parts: LocalQueueParts) {
    this.#parts = parts
    this.#concurrency = parts.concurrency
    this.#holds = parts.holdsProcess
  }

  /** Changes how many are dispatched at a time, and whether that keeps the process alive. */
  resize(concurrency: number, holds: Hold): void {
    this.#concurrency = concurrency
    this.#holds = holds
    if (this.#gate && !this.#stopped) this.#gate.concurrency = concurrency
    this.wake()
  }

  /** Looks for due rows now: at the start, and whenever one was accepted. */
  wake(): void {
    if (this.#pumping) this.#again = true
    else if (!this.#stopped) this.#pumped = this.#pump()
  }

  /** Messages taken and not yet ended. */
  get active(): number {
    return this.#taken.all + this.#brought
  }

  get stopped(): boolean {
    return this.#stopped
  }

  /** Begins nothing more until `resume`; what is under way goes on. */
  pause(): void {
    this.#paused = true
    this.wake()
  }

  resume(): void {
    this.#paused = false
    this.wake()
  }

  /**
   * Runs `task`, which never rejects, in its turn; `otherwise` instead when the worker was stopped or paused until then.
   * Resolves when that has ended, or when `task` says that it has begun what it will bring to an end.
   */
  async admit(task: (begun: () => void) => Promise<void>, otherwise: () => Promise<void>): Promise<void> {
    const gate = await this.#opened()
    await new Promise<void>((resolve) => {
      void gate
        .add(async () => {
          if (this.#stopped || (await this.#pausedNow())) return otherwise()
          await this.#breathe()
          this.#brought++
          await this.#timed(() => task(resolve))
          this.#brought--
        })
        .then(() => resolve())
    })
  }

  /** Takes nothing more and gives back what was not begun; resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    // What waits behind slow ones is given back now.
    if (this.#gate) this.#gate.concurrency = Number.POSITIVE_INFINITY
    for (const tenant of [...this.#aside.keys()]) this.#callBack(tenant, Number.POSITIVE_INFINITY)
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
        if (await this.#pausedNow()) await this.#sleepPaused()
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
    this.#gate ??= new Gate({ concurrency: this.#concurrency })
    return this.#gate
  }

  async #fill(gate: PQueue): Promise<void> {
    const { ledger, timeout, poll, resting } = this.#parts
    for (;;) {
      if (this.#stopped || this.#paused) return
      const { room, without } = this.#room(resting.tenants())
      // What runs now wakes it before, unless it is the engine's.
      if (room <= 0) return this.#sleep(poll)
      const { held, next, unreadable = [] } = await ledger.store.due(room, ledger.lease(2 * timeout), { without })
      for (const id of unreadable) ledger.warnUnreadable(id)
      for (const one of held) this.#begin(gate, one)
      if (held.length < room) {
        const soonest = Math.min(next ?? poll, resting.next() ?? poll, poll)
        return this.#sleep(soonest, next !== undefined || without.size > 0)
      }
    }
  }

  /**
   * How many may be taken now, and of whom none: those who rest, and whoever has so many places that others would have to
   * wait for one. Ahead of time only where messages are quick: who is taken waits behind those that were before. However
   * much an engine brings, some places are left to what is found in the store.
   */
  #room(resting: ReadonlySet<string | undefined>): { room: number; without: ReadonlySet<string | undefined> } {
    const places = this.#pace < quick ? 2 * this.#concurrency : this.#concurrency
    const room = Math.max(places - this.active, fifthOf(this.#concurrency) - this.#taken.all)
    if (!this.#shares) return { room, without: resting }
    const share = places - fifthOf(places)
    const without = new Set(resting)
    let busiest = 0
    for (const [tenant, taken] of this.#taken) {
      if (taken >= share) without.add(tenant)
      else if (!without.has(tenant)) busiest = Math.max(busiest, taken)
    }
    return { room: Math.min(room, share - busiest), without }
  }

  get #shares(): boolean {
    return this.#parts.shared && this.#concurrency > 1
  }

  #begin(gate: PQueue, one: Held): void {
    this.#taken.add(one.row.tenant, 1)
    void gate.add(() => this.#inTurn(gate, one))
  }

  async #inTurn(gate: PQueue, one: Held): Promise<void> {
    const { run, giveBack } = this.#parts
    const { tenant } = one.row
    const over = this.#stopped || (await this.#pausedNow())
    if (!over && this.#shares && this.#running.of(tenant) >= this.#concurrency - fifthOf(this.#concurrency)) {
      this.#aside.set(tenant, [...(this.#aside.get(tenant) ?? []), one])
      return
    }
    this.#running.add(tenant, 1)
    try {
      if (over) await giveBack(one)
      else {
        await this.#breathe()
        await this.#timed(() => run(one))
      }
    } finally {
      this.#running.add(tenant, -1)
      this.#taken.add(tenant, -1)
      this.#callBack(tenant, 1)
    }
    // In batches: asking for one row after each would cost a round trip a message.
    if (2 * gate.size <= this.#concurrency) this.wake()
  }

  /** Those who stepped aside come in turn again. */
  #callBack(tenant: string | undefined, most: number): void {
    const aside = this.#aside.get(tenant) ?? []
    const gate = this.#gate!
    for (const one of aside.splice(0, most)) void gate.add(() => this.#inTurn(gate, one))
    if (aside.length === 0) this.#aside.delete(tenant)
  }

  async #timed(task: () => Promise<void>): Promise<void> {
    const began = this.#parts.clock.monotonic()
    await task()
    const took = this.#parts.clock.monotonic() - began
    this.#pace = Number.isFinite(this.#pace) ? (4 * this.#pace + took) / 5 : took
  }

  #pausedNow(): boolean | Promise<boolean> {
    return this.#paused || (this.#parts.sharedPause?.recent() ?? false)
  }

  /** Messages that need no waiting for anything outside would leave the event loop no turn. */
  async #breathe(): Promise<void> {
    // Time that a test moves on does not pass meanwhile.
    if (this.#parts.clock !== systemClock || performance.now() - this.#breathedAt < breath) return
    this.#breath ??= turn().then(() => {
      this.#breathedAt = performance.now()
      this.#breath = undefined
    })
    await this.#breath
  }

  /** What waits meanwhile may be lost with the process. */
  async #sleepPaused(): Promise<void> {
    const { ledger, poll } = this.#parts
    this.#sleep(poll, this.#holds !== 'waiting' || (await ledger.store.waiting()) > 0)
  }

  #sleep(ms: number, waiting = true): void {
    if (this.#stopped) return
    this.#timer?.cancel()
    this.#timer = this.#parts.clock.setTimeout(() => this.wake(), ms)
    if (this.#holds === 'never' || (this.#holds === 'waiting' && !waiting)) this.#timer.unref()
  }
}

const fifthOf = (places: number) => Math.ceil(places / 5)
