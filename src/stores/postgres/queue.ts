import { MailError } from '../../errors.ts'
import { type Due, type DueOptions, defaultRetention, type Held, type Lease } from '../store.ts'
import { type Database, deadline } from './database.ts'
import type { Functions } from './functions.ts'
import type { Rows } from './rows.ts'
import { tenantText, textOf } from './text.ts'
import { type GivenTime, wholeMs } from './time.ts'

/** The rows that wait for their turn, and those whose holder vanished. */
export class Queue {
  readonly #database: Database
  readonly #rows: Rows
  readonly #functions: Functions
  /** The tenant that had its turn last. */
  #turn = ''

  constructor(database: Database, rows: Rows, functions: Functions) {
    this.#database = database
    this.#rows = rows
    this.#functions = functions
  }

  async due(time: GivenTime, count: number, lease: Lease, { lost = false, without }: DueOptions): Promise<Due> {
    const until = deadline()
    const asked = {
      ...time,
      count: Math.max(0, Math.trunc(count)),
      lease: wholeMs(lease.ms),
      lost,
      turn: this.#turn,
      without: [...(without ?? [])].map(tenantText),
      records: defaultRetention.records,
      contents: defaultRetention.content,
    }
    const answers = await this.#database.call((call) => this.#functions.run(call, 'due', asked), { until })
    const { next, tenant: turn } = answers.at(-1)!
    this.#turn = turn as string
    const held: Held[] = []
    const unreadable: string[] = []
    for (const answer of answers.slice(0, -1)) {
      const fence = Number(answer.fence)
      try {
        held.push(this.#rows.held(answer, fence))
      } catch {
        unreadable.push(textOf(answer.id as string))
        await this.#setAside(answer.id, fence, until)
      }
    }
    return {
      held,
      ...(next === null ? {} : { next: Number(next) }),
      ...(unreadable.length === 0 ? {} : { unreadable }),
    }
  }

  /** How many rows wait, counted no further than `most`. */
  async waiting(most: number): Promise<number> {
    const [answer] = await this.#database.call((call) => this.#functions.run(call, 'waiting', { most }))
    return Number(answer!.waiting)
  }

  async #setAside(id: unknown, fence: number, until: number): Promise<void> {
    try {
      await this.#database.call((call) => this.#rows.setAside(call, id, fence), { until })
    } catch (error) {
      // Then it comes up again when its lease has run out; what else was taken must be worked on.
      if (!(error instanceof MailError)) throw error
    }
  }
}
