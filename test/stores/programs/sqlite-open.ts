/** Opens a store, as another user if one is named, and prints what came of it: `node sqlite-open.ts <path> [<uid>]`. */
import { MailError } from '../../../src/errors.ts'
import { sqlite } from '../../../src/stores/sqlite.ts'

const [path, uid] = process.argv.slice(2) as [string, string?]
if (uid) process.setuid!(Number(uid))
const store = sqlite(path)
try {
  await store.once('event', 1_000)
  console.log('opened')
} catch (error) {
  console.log(error instanceof MailError ? `${error.code} ${error.message}` : `thrown ${error}`)
}
