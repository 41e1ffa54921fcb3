/**
 * Writes until the disk is full, and some more, then reads, and writes again once there is room: `node sqlite-full.ts <path>`
 * under a soft limit on the size of files, which it lifts itself. Prints a summary.
 */
import { execFileSync } from 'node:child_process'
import { MailError } from '../../../src/errors.ts'
import { sqlite } from '../../../src/stores/sqlite.ts'
import { message, rowOf, work } from '../../../src/testing/stores/samples.ts'

const store = sqlite(process.argv[2]!)
const acknowledged: string[] = []
const codes: string[] = []

for (let i = 0; i < 2_000 && codes.length < 20; i++) {
  const row = rowOf({ id: `msg_${i}`, work: { ...work(), message: message({ text: 'x'.repeat(5_000) }) } })
  try {
    await store.claim(row, {})
    acknowledged.push(row.id)
  } catch (error) {
    codes.push(error instanceof MailError ? error.code : String(error))
  }
}
const read = (await store.read(acknowledged[0]!)) !== undefined && (await store.list({ limit: 5 })).items.length === 5
execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited'])
const last = rowOf({ id: 'msg_last' })
const again = (await store.claim(last, {})).state === 'claimed'
console.log(JSON.stringify({ acknowledged: [...acknowledged, last.id], refused: codes.length, codes, read, again }))
await store.close()
