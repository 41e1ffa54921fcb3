import type { Clock } from '../clock.ts'
import type { QueueEngine } from './engine.ts'

/** Milliseconds for which an answer holds. */
const fresh = 200

/** A pause that holds in every process, as the engine keeps it. */
export class SharedPause {
  readonly #engine: QueueEngine & Required<Pick<QueueEngine, 'paused'>>
  readonly #clock: Clock
  #isOn = false
  #askedAt = Number.NEGATIVE_INFINITY
  #asking: Promise<boolean> | undefined

  private constructor(engine: QueueEngine & Required<Pick<QueueEngine, 'paused'>>, clock: Clock) {
    this.#engine = engine
    this.#clock = clock
  }

  /** Undefined where a pause holds in the process that asks for it. */
  static of(engine: QueueEngine | undefined, clock: Clock): SharedPause | undefined {
    const { paused } = engine ?? {}
    return engine && paused ? new SharedPause({ ...engine, paused }, clock) : undefined
  }

  /** What the engine said a moment ago, or says now. */
  async recent(): Promise<boolean> {
    if (this.#clock.monotonic() - this.#askedAt < fresh) return this.#isOn
    this.#asking ??= this.ask().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  /** As last heard when the engine does not answer: a pause outlives its server. */
  async ask(): Promise<boolean> {
    this.#isOn = await this.#engine.paused().catch(() => this.#isOn)
    this.#askedAt = this.#clock.monotonic()
    return this.#isOn
  }

  async set(on: boolean): Promise<void> {
    await (on ? this.#engine.pause() : this.#engine.resume())
    this.#isOn = on
  }
}
