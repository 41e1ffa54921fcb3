/**
 * Claims and settles without end, and prints what each acknowledged: `node sqlite-writer.ts <path> <name> <callers>`. To be
 * killed.
 */
import { writeSync } from 'node:fs'
import { sqlite } from '../../../src/stores/sqlite.ts'
import { rowOf, work } from '../../../src/testing/stores/samples.ts'

const [path, name, callers] = process.argv.slice(2) as [string, string, string]
const store = sqlite(path)
const lease = { owner: name, ms: 40_000 }
let made = 0

async function write(): Promise<never> {
  for (;;) {
    const id = `${name}-${++made}`
    const row = rowOf({ id, key: `key-${id}`, kind: 'queue', work: work() })
    const claim = await store.claim(row, { lease })
    if (claim.state !== 'claimed') throw new Error(`${id} was there before`)
    writeSync(1, `claimed ${id}\n`)
    await store.settle({ ...row, status: 'sent', providerMessageId: `provider-${id}` }, claim.fence)
    writeSync(1, `settled ${id}\n`)
  }
}

await Promise.all(Array.from({ length: Number(callers) }, write))
