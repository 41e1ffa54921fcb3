import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSmtpServer, type ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import { Chance } from './chance.ts'
import type { Engine } from './engines.ts'
import { drain, inTurns, noted, readAll } from './finish.ts'
import { type Ground, open, prepare } from './ground.ts'
import { type History, type Violation, violations } from './history.ts'
import { readCalls } from './journal.ts'
import { type Mortal, startLife } from './mortal.ts'
import { faultsOf, numberOf, planned } from './planned.ts'
import { mailerOn, type Servers } from './scenario.ts'

export interface Run {
  readonly engine: Engine
  readonly seed: number
  /** How many processes are killed and started again. */
  readonly cycles: number
  /** Milliseconds the fresh mailer may work; what is not settled or held by then counts as left. Default 40,000. */
  readonly patience?: number
}

export interface Figures {
  readonly cycles: number
  readonly kills: number
  /** How often the engine itself was made to fail. */
  readonly disturbances: number
  readonly calls: number
  readonly messages: number
  readonly taken: number
  readonly unknown: number
  readonly lost: number
  readonly doubled: number
}

const slots = 3
const messagesPerCycle = 25
/** Milliseconds after which a process is killed that does too little to get any further. */
const longestLife = 3_000
/** Longer than any lease: a process that is paused for so long has lost all it held. */
const pause = 3_500

/**
 * Several processes submit and work on one store, are killed at moments the seed chooses, and are started again; then a
 * fresh mailer brings everything to its end. Answers what happened, and what of it should not have.
 */
export async function runCycles(run: Run): Promise<{ history: History; found: Violation[]; figures: Figures }> {
  const cycles = new Cycles(run)
  try {
    await cycles.begin()
    await cycles.live()
    const history = await cycles.end()
    const found = violations(history)
    return { history, found, figures: cycles.figures(history, found) }
  } finally {
    await cycles.clear()
  }
}

class Cycles {
  readonly #run: Run
  readonly #folder = mkdtempSync(join(tmpdir(), 'sendwright-crash-'))
  readonly #journals: { readonly process: string; readonly path: string }[] = []
  readonly #mortals = new Set<Mortal>()
  readonly #refused = new Set<string>()
  #posts: Record<'a' | 'b', ScriptedSmtpServer> | undefined
  #ground: Ground | undefined
  #deaths = 0
  #kills = 0
  #disturbances = 0
  #disturbing: Promise<void> = Promise.resolve()

  constructor(run: Run) {
    this.#run = run
  }

  async begin(): Promise<void> {
    const { engine, seed, cycles } = this.#run
    this.#ground = await engine.newGround()
    await prepare(this.#ground)
    this.#posts = { a: await createSmtpServer(), b: await createSmtpServer() }
    for (let number = 0; number < messagesPerCycle * cycles + 1_000; number++) {
      const message = planned(seed, number)
      for (const fault of faultsOf(message)) this.#posts.a.fail(fault)
      if (message.fate === 'refused') this.#refused.add(message.subject)
    }
  }

  /** Until enough processes have died. */
  async live(): Promise<void> {
    await Promise.all(Array.from({ length: slots }, (_, slot) => this.#lives(slot)))
    await this.#disturbing
  }

  async #lives(slot: number): Promise<void> {
    for (let number = 1; this.#deaths < this.#run.cycles; number++) {
      const chance = new Chance(this.#run.seed, 'death', slot, number)
      const mortal = this.#start(`${slot}.${number}`, chance)
      await mortal.ready
      if (chance.is(0.08)) mortal.pause(pause)
      const over = sleep(longestLife, undefined, { ref: false })
      // Counted in what it does, so that a slow machine tries as much as a fast one.
      await Promise.race([mortal.lines(chance.between(2, 80)), over])
      await sleep(chance.between(0, 15))
      if (chance.is(0.3)) this.#post('b').fail({ at: 'afterBody', kind: chance.pick(['stall', 'reset', '4xx']) })
      if (chance.is(0.15)) this.#disturb(chance)
      // All at once, and nobody is left to notice.
      for (const one of chance.is(0.2) ? this.#mortals : [mortal]) one.kill()
      const { how, stderr } = await mortal.death
      this.#mortals.delete(mortal)
      if (how !== 'killed') throw new Error(`process ${slot}.${number} ${how}: ${stderr}`)
      this.#kills++
      this.#deaths++
    }
  }

  #start(process: string, chance: Chance): Mortal {
    const { seed } = this.#run
    const journal = join(this.#folder, `${process}.jsonl`)
    // There also when it dies before it can write.
    writeFileSync(journal, '')
    this.#journals.push({ process, path: journal })
    const works = chance.is(0.75)
    const death = { verb: chance.between(1, 300), moment: chance.pick(['before', 'during', 'after'] as const) }
    const mortal = startLife({
      process,
      seed,
      ground: this.#ground!,
      servers: this.#servers(),
      journal,
      from: this.#deaths * messagesPerCycle,
      works,
      submits: !works || chance.is(0.8),
      ...(chance.is(0.5) ? { death } : {}),
    })
    this.#mortals.add(mortal)
    return mortal
  }

  #disturb(chance: Chance): void {
    const { disturb } = this.#run.engine
    if (!disturb) return
    this.#disturbances++
    this.#disturbing = this.#disturbing.then(() => disturb(chance))
  }

  async end(): Promise<History> {
    const { seed, patience } = this.#run
    const calls = this.#journals.flatMap(({ process, path }) => readCalls(path, process))
    const { store, free } = await open(this.#ground!)
    const mailer = mailerOn(store, this.#servers(), { queue: { work: true, concurrency: 20 } })
    try {
      await drain(mailer, patience)
      // Whoever repeats a call with its key, however late, hears what became of the first.
      const keyed = new Set(calls.flatMap(({ key, subject }) => (key === undefined ? [] : numberOf(subject))))
      const repeats = await inTurns([...keyed], (number) => {
        const { verb, subject, key, message, options } = planned(seed, number)
        const facts = { process: 'last', verb, subject, key: key! }
        return noted(facts, () => mailer[verb](message, { ...options, timeout: 10_000 }))
      })
      await drain(mailer, patience)
      const history = await readAll(mailer, this.#posts!, [...calls, ...repeats])
      return { ...history, refused: this.#refused, storeFailed: this.#disturbances > 0 }
    } finally {
      await mailer.close()
      await free()
    }
  }

  figures({ calls, taken, held, ledger }: History, found: readonly Violation[]): Figures {
    return {
      cycles: this.#deaths,
      kills: this.#kills,
      disturbances: this.#disturbances,
      calls: calls.length,
      messages: ledger.length,
      taken: taken.length,
      unknown: held.length,
      lost: found.filter(({ kind }) => kind === 'lost' || kind === 'left' || kind === 'denied').length,
      doubled: found.filter(({ kind }) => kind === 'doubled' || kind === 'two effects').length,
    }
  }

  async clear(): Promise<void> {
    for (const mortal of this.#mortals) mortal.kill()
    await Promise.all([...this.#mortals].map(({ death }) => death))
    await Promise.all([this.#posts?.a.close(), this.#posts?.b.close()])
    rmSync(this.#folder, { recursive: true })
  }

  #post(name: 'a' | 'b'): ScriptedSmtpServer {
    return this.#posts![name]
  }

  #servers(): Servers {
    return { a: this.#post('a').url, b: this.#post('b').url }
  }
}

/** One line for people. */
export const inWords = (engine: string, seed: number, figures: Figures): string =>
  `${engine} SEED=${seed}: ${Object.entries(figures)
    .map(([name, amount]) => `${amount} ${name}`)
    .join(', ')}`
