import type { QueueEngine } from './engine.ts'

/** A pause that holds in every process, as the engine keeps it. */
export class SharedPause {
  readonly #engine: QueueEngine & Required<Pick<QueueEngine, 'paused'>>
  #isOn = false

  private constructor(engine: QueueEngine & Required<Pick<QueueEngine, 'paused'>>) {
    this.#engine = engine
  }

  /** Undefined where a pause holds in the process that asks for it. */
  static of(engine: QueueEngine | undefined): SharedPause | undefined {
    const { paused } = engine ?? {}
    return engine && paused ? new SharedPause({ ...engine, paused }) : undefined
  }

  /** As last heard. */
  get isOn(): boolean {
    return this.#isOn
  }

  /** Asks the engine. As last heard when it does not answer: a pause outlives its server. */
  async ask(): Promise<boolean> {
    this.#isOn = await this.#engine.paused().catch(() => this.#isOn)
    return this.#isOn
  }

  async set(on: boolean): Promise<void> {
    await (on ? this.#engine.pause() : this.#engine.resume())
    this.#isOn = on
  }
}
