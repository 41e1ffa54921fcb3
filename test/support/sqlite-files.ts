import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'

const folder = mkdtempSync(join(tmpdir(), 'sendwright-sqlite-'))
after(() => rmSync(folder, { recursive: true, force: true }))

/** The path of a database that does not exist yet, in a folder of its own that goes when the tests of the file end. */
export const newDatabase = (name = 'mail.db'): string => join(mkdtempSync(join(folder, 'store-')), name)
