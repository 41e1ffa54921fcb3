import type { MailStore } from '../store.ts'
import type { Database } from './database.ts'
import { type GivenTime, Statement, wholeMs } from './statement.ts'
import { indexed } from './text.ts'

/** A counter nobody has added to for so long is forgotten. */
const counterLife = 400 * 86_400_000

/** What is remembered of a key and no more: how often, or that it was there. */
export class Marks {
  readonly counters: MailStore['counters']
  readonly #database: Database
  readonly #time: () => GivenTime
  readonly #once: ReturnType<typeof statementsIn>['once']

  constructor(database: Database, schema: string, time: () => GivenTime) {
    const { count, counted, once } = statementsIn(schema)
    this.#database = database
    this.#time = time
    this.#once = once
    this.counters = {
      add: async (key, amount) => {
        const { now } = time()
        await database.call((query) => count.run(query, { now, key: indexed(key), amount, life: counterLife }))
      },
      read: async (keys) => {
        if (keys.length === 0) return []
        const answers = await database.call((query) => counted.run(query, { keys: keys.map(indexed) }))
        return answers.map(({ amount }) => Number(amount))
      },
    }
  }

  async once(id: string, ttl: number): Promise<boolean> {
    const [answer] = await this.#database.call((query) =>
      this.#once.run(query, { now: this.#time().now, id: indexed(id), life: wholeMs(ttl) }),
    )
    return answer!.first === true
  }
}

function statementsIn(schema: string) {
  return {
    count: new Statement(schema, 'count', {
      now: 'bigint',
      key: 'text',
      amount: 'double precision',
      life: 'bigint',
    }),
    counted: new Statement(schema, 'counted', { keys: 'text[]' }),
    once: new Statement(schema, 'once', { now: 'bigint', id: 'text', life: 'bigint' }),
  }
}
