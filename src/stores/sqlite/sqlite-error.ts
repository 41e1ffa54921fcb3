import { configurationError, MailError } from '../../errors.ts'

/** Primary result codes of SQLite (https://sqlite.org/rescode.html). */
const busy = 5
const readonly = 8
const ioError = 10
const corrupt = 11
const full = 13
const cannotOpen = 14
const lockingProtocol = 15
const notADatabase = 26

/** The primary result code of what `node:sqlite` threw; undefined for anything else. */
function codeOf(error: unknown): number | undefined {
  const { code, errcode } = error as { code?: unknown; errcode?: unknown }
  return code === 'ERR_SQLITE_ERROR' && typeof errcode === 'number' ? errcode & 0xff : undefined
}

/** Whether another connection was in the way, so that the same may succeed a few milliseconds later. */
export function isBusy(error: unknown): boolean {
  const code = codeOf(error)
  return code === busy || code === lockingProtocol
}

/** What a verb rejects with, in our words: SQLite's may hold what was stored. Anything that is not SQLite's stays as it is. */
export function storeError(error: unknown, path: string): unknown {
  const code = codeOf(error)
  if (code === undefined) return error
  const why: Readonly<Record<number, string>> = {
    [busy]: 'is locked by another process; nothing was written. Look for a process that holds a transaction open on it',
    [lockingProtocol]: 'is locked by another process; nothing was written. Look for a process that keeps opening it',
    [readonly]: 'cannot be written: the file or its folder is read-only. Nothing was written; mend the permissions',
    [ioError]: 'met an input or output error; nothing was written. Check the disk and the system log',
    [corrupt]: 'is damaged; nothing was written. Run "PRAGMA integrity_check" on it and restore a backup',
    [full]: 'has no room: the disk, or the quota on it, is full. Nothing was written; free some space',
    [cannotOpen]: 'cannot be opened; nothing was written. Check that the file and its folder are there and accessible',
    [notADatabase]: 'is no SQLite database any more; nothing was written. Restore a backup',
  }
  return unavailable(path, why[code] ?? `failed (SQLite result code ${code}); nothing was written. Check the file`)
}

export const unavailable = (path: string, why: string): MailError =>
  new MailError('STORE_UNAVAILABLE', `The SQLite store ${path} ${why}, then retry.`)

/** What cannot be opened the first time is a mistake in the set-up, not an outage. */
export function openingError(error: unknown, path: string): unknown {
  const code = codeOf(error)
  const why: Readonly<Record<number, string>> = {
    [readonly]: 'is read-only: the store needs to write the file and its folder. Mend the permissions',
    [cannotOpen]:
      'cannot be opened: the process may not read or write the file or its folder, or has too many files open. Check both',
    [notADatabase]: 'is not a SQLite database. Give the path of another file, or of one that does not exist yet',
  }
  if (code !== undefined && why[code] !== undefined) return refusal(path, why[code])
  return storeError(error, path)
}

export const refusal = (path: string, why: string): MailError => configurationError(`sqlite(): ${path} ${why}.`)
