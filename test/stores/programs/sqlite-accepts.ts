/**
 * Accepts messages one after the other, then as many at once, with a mark on standard output for each that was acknowledged:
 * `node sqlite-accepts.ts <path> <durability> <count>`. To be traced.
 */
import { writeSync } from 'node:fs'
import { type SqliteStoreOptions, sqlite } from '../../../src/stores/sqlite.ts'
import { rowOf } from '../../../src/testing/stores/samples.ts'

const [path, durability, count] = process.argv.slice(2) as [
  string,
  NonNullable<SqliteStoreOptions['durability']>,
  string,
]
const store = sqlite(path, { durability })
await store.read('msg_none')

async function accept(mark: string): Promise<void> {
  await store.claim(rowOf({ status: 'queued', kind: 'queue' }), {})
  writeSync(1, `${mark}\n`)
}

writeSync(1, 'MARK-begin\n')
for (let i = 0; i < Number(count); i++) await accept('MARK-one')
writeSync(1, 'MARK-together\n')
await Promise.all(Array.from({ length: Number(count) }, () => accept('MARK-many')))
writeSync(1, 'MARK-end\n')
await store.close()
