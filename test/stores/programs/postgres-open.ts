/**
 * Opens a store that may not be there yet: `node postgres-open.ts <config> <schema>`. Prints `ready`, waits for a line, and
 * prints `opened` when its first verb was answered, or the code of the error.
 */
import { once } from 'node:events'
import { Pool } from 'pg'
import { postgres } from '../../../src/stores/postgres.ts'

const [config, schema] = process.argv.slice(2) as [string, string]
const pool = new Pool(JSON.parse(config))
console.log('ready')
await once(process.stdin, 'data')
process.stdin.destroy()
const store = postgres({ pool, schema })
for (let answer: string | undefined; !answer; ) {
  try {
    await store.counters.add('opened', 1)
    answer = 'opened'
  } catch (error) {
    // On a busy machine the migration may take longer than a verb may.
    const { code } = error as { code?: string }
    if (code !== 'STORE_UNAVAILABLE') answer = String(code)
  }
  if (answer) console.log(answer)
}
await store.close()
await pool.end()
