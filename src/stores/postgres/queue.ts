import { MailError } from '../../errors.ts'
import { type Due, type DueOptions, defaultRetention, type Held, type Lease } from '../store.ts'
import type { Database } from './database.ts'
import type { Query } from './pool.ts'
import type { Rows } from './rows.ts'
import { type GivenTime, Statement, wholeMs } from './statement.ts'
import { tenantText, textOf } from './text.ts'

/** The rows that wait for their turn, and those whose holder vanished. */
export class Queue {
  readonly #database: Database
  readonly #rows: Rows
  readonly #statements: ReturnType<typeof statementsIn>
  /** The tenant that had its turn last. */
  #turn = ''

  constructor(database: Database, rows: Rows, schema: string) {
    this.#database = database
    this.#rows = rows
    this.#statements = statementsIn(schema)
  }

  async due(time: GivenTime, count: number, lease: Lease, { lost = false, without }: DueOptions): Promise<Due> {
    const answers = await this.#database.call((query) =>
      this.#statements.due.run(query, {
        ...time,
        count: Math.max(0, Math.trunc(count)),
        lease: wholeMs(lease.ms),
        lost,
        turn: this.#turn,
        without: [...(without ?? [])].map(tenantText),
        records: defaultRetention.records,
        contents: defaultRetention.content,
      }),
    )
    const next = answers.at(-1)!.next
    const held: Held[] = []
    const unreadable: string[] = []
    for (const answer of answers.slice(0, -1)) {
      const fence = Number(answer.fence)
      this.#turn = answer.tenant as string
      try {
        held.push({ row: this.#rows.rowOf(answer), fence })
      } catch {
        unreadable.push(textOf(answer.id as string))
        await this.#setAside(answer.id, fence)
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
    const [answer] = await this.#database.call((query) => this.#statements.waiting.run(query, { most }))
    return Number(answer!.waiting)
  }

  async #setAside(id: unknown, fence: number): Promise<void> {
    try {
      await this.#database.call((query: Query) => this.#statements.setAside.run(query, { id, fence }))
    } catch (error) {
      // Then it comes up again when its lease has run out; what else was taken must be worked on.
      if (!(error instanceof MailError)) throw error
    }
  }
}

function statementsIn(schema: string) {
  return {
    due: new Statement(schema, 'due', {
      now: 'bigint',
      wall: 'bigint',
      count: 'integer',
      lease: 'bigint',
      lost: 'boolean',
      turn: 'text',
      without: 'text[]',
      records: 'bigint',
      contents: 'bigint',
    }),
    setAside: new Statement(schema, 'set_aside', { id: 'text', fence: 'bigint' }),
    waiting: new Statement(schema, 'waiting', { most: 'bigint' }),
  }
}
