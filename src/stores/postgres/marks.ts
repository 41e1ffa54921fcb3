import type { MailStore } from '../store.ts'
import type { Database } from './database.ts'
import type { Functions } from './functions.ts'
import { indexed } from './text.ts'
import { type GivenTime, wholeMs } from './time.ts'

/** A counter nobody has added to for so long is forgotten. */
const counterLife = 400 * 86_400_000

/** What is remembered of a key and no more: how often, or that it was there. */
export class Marks {
  readonly counters: MailStore['counters']
  readonly #database: Database
  readonly #time: () => GivenTime
  readonly #functions: Functions

  constructor(database: Database, functions: Functions, time: () => GivenTime) {
    this.#database = database
    this.#time = time
    this.#functions = functions
    this.counters = {
      add: async (key, amount) => {
        const { now } = time()
        await database.call((call) =>
          functions.run(call, 'count', { now, key: indexed(key), amount, life: counterLife }),
        )
      },
      read: async (keys) => {
        if (keys.length === 0) return []
        const answers = await database.call((call) => functions.run(call, 'counted', { keys: keys.map(indexed) }))
        return answers.map(({ amount }) => Number(amount))
      },
    }
  }

  async once(id: string, ttl: number): Promise<boolean> {
    const [answer] = await this.#database.call((call) =>
      this.#functions.run(call, 'once', { now: this.#time().now, id: indexed(id), life: wholeMs(ttl) }),
    )
    return answer!.first === true
  }
}
