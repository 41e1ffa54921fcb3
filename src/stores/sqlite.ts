import { statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Clock } from '../clock.ts'
import { configurationError } from '../errors.ts'
import { type KeyvAdapter, keyvAdapter } from './keyv-adapter.ts'
import { SqliteStore } from './sqlite/sqlite-store.ts'
import type { MailStore } from './store.ts'

export interface SqliteStoreOptions {
  /**
   * What an accepted message survives. Default `'power-loss'`: every accept waits until the disk has it. `'process-crash'`
   * is about twice as fast and may lose the last moments when the machine loses power.
   */
  readonly durability?: 'power-loss' | 'process-crash'
  /** Waiting messages, queued and scheduled, about; more are refused with `QUEUE_FULL`. Default 1,000,000. */
  readonly maxQueued?: number
  readonly clock?: Clock
}

/**
 * A store in one file of SQLite, which comes with Node: nothing to install, and what was accepted survives `kill -9` and
 * the loss of power. Several processes of one host may share the file; it must be on a local disk. Writes that are asked
 * for together are committed together.
 *
 * The file is opened by the first call and made when it does not exist; its folder must. It may hold tables of your own:
 * Sendwright's begin with `sendwright_`. It is also a Keyv adapter, for the application's other data: `new Keyv({ store })`.
 *
 * The file is put into WAL mode: back it up with SQLite's own means, such as `VACUUM INTO`, and never by reading it in a
 * process that has it open, which would end the locks SQLite holds.
 *
 * @throws MailError `CONFIGURATION_ERROR` for a path or options that cannot be meant. What turns out only on opening (no
 * database, no write access, a network file system, written by a newer release) rejects the first call with the same code.
 */
export function sqlite(path: string, options: SqliteStoreOptions = {}): MailStore & KeyvAdapter {
  checkOptions(options)
  const { durability = 'power-loss', maxQueued = 1_000_000, clock } = options
  const store = new SqliteStore({
    path: checkedPath(path),
    durability,
    maxQueued,
    ...(clock === undefined ? {} : { clock }),
  })
  return Object.assign(store, keyvAdapter(store.entries))
}

function checkedPath(path: unknown): string {
  if (typeof path !== 'string') throw configurationError('sqlite(path) takes the path of a file as text.')
  if (path === '' || path === ':memory:') {
    throw configurationError('sqlite(path) keeps a file; for a store that is gone with the process use memory().')
  }
  if (path.startsWith('file:') || path.includes('\0')) {
    throw configurationError('sqlite(path) takes a plain path, such as "data/mail.db", and no URI.')
  }
  const absolute = resolve(path)
  const folder = dirname(absolute)
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw configurationError(`sqlite(): the folder ${folder} does not exist. Create it, or give another path.`)
  }
  if (statSync(absolute, { throwIfNoEntry: false })?.isDirectory()) {
    throw configurationError(`sqlite(): ${absolute} is a folder. Give the path of a file in it.`)
  }
  return absolute
}

function checkOptions(options: unknown): void {
  if (typeof options !== 'object' || options === null) {
    throw configurationError('sqlite(path, options) takes an object.')
  }
  const known = ['durability', 'maxQueued', 'clock']
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw configurationError(`sqlite(): no such option: ${unknown.slice(0, 40)}. There are ${known.join(', ')}.`)
  }
  const { durability, maxQueued, clock } = options as SqliteStoreOptions
  if (durability !== undefined && durability !== 'power-loss' && durability !== 'process-crash') {
    throw configurationError("sqlite({ durability }) must be 'power-loss' or 'process-crash'.")
  }
  if (maxQueued !== undefined && !(typeof maxQueued === 'number' && maxQueued > 0)) {
    throw configurationError('sqlite({ maxQueued }) must be a positive number.')
  }
  if (clock !== undefined && !(isFunction(clock?.now) && isFunction(clock?.monotonic))) {
    throw configurationError('sqlite({ clock }) must be a Clock: now(), monotonic() and setTimeout().')
  }
}

const isFunction = (value: unknown) => typeof value === 'function'
