import { lacksScript, notInTime } from './failure.ts'
import type { Script } from './script.ts'

export interface GivenScriptsOptions {
  send(command: string[]): Promise<unknown>
  /** Milliseconds after which nobody waits any more for another call. */
  readonly patience: number
  /** The server had scripts and has them no more. */
  onLost(): void
}

/** Calls scripts by their names, and gives the server those it does not have. */
export class GivenScripts {
  readonly #options: GivenScriptsOptions
  /** Those the server had. */
  readonly #given = new Set<string>()
  /** Those it is being given, and since when. */
  readonly #giving = new Map<string, { readonly since: number; readonly done: Promise<void> }>()

  constructor(options: GivenScriptsOptions) {
    this.#options = options
  }

  /** Runs it, or throws what the server or the client threw. `started` is when the call it belongs to began. */
  async run(script: Script, rest: readonly string[], started: number): Promise<unknown> {
    const { sha } = script
    const { send, patience } = this.#options
    if (this.#given.has(sha)) {
      try {
        return await send(['EVALSHA', sha, ...rest])
      } catch (error) {
        if (!lacksScript(error)) throw error
        if (this.#given.has(sha)) this.#options.onLost()
        this.#given.clear()
      }
    }
    const giving = this.#giving.get(sha)
    if (!giving || started - giving.since > patience) return this.#give(script, rest, started)
    await giving.done
    if (performance.now() - started > patience) throw notInTime(script.verb)
    return this.#callOrGive(script, rest)
  }

  /** Whoever calls a script first gives it to the server; the others wait for that rather than all send its text. */
  async #give(script: Script, rest: readonly string[], since: number): Promise<unknown> {
    const work = this.#callOrGive(script, rest)
    const giving = { since, done: work.then(nothing, nothing) }
    this.#giving.set(script.sha, giving)
    try {
      return await work
    } finally {
      if (this.#giving.get(script.sha) === giving) this.#giving.delete(script.sha)
    }
  }

  /** Another process may have given it before. */
  async #callOrGive({ sha, text }: Script, rest: readonly string[]): Promise<unknown> {
    let reply: unknown
    try {
      reply = await this.#options.send(['EVALSHA', sha, ...rest])
    } catch (error) {
      if (!lacksScript(error)) throw error
      reply = await this.#options.send(['EVAL', text, ...rest])
    }
    this.#given.add(sha)
    return reply
  }
}

const nothing = () => {}
