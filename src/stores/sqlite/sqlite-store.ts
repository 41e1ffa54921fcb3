import type { Clock } from '../../clock.ts'
import type { MessageStatus } from '../../receipt.ts'
import type { Entries } from '../entries.ts'
import { idInMessageId } from '../message-id.ts'
import type {
  Claim,
  ClaimOptions,
  Due,
  DueOptions,
  Guarantees,
  Held,
  Lease,
  ListQuery,
  Look,
  MailStore,
  Move,
  Renewed,
  Row,
  RowPage,
  SettleOptions,
  StoredSuppression,
  Window,
} from '../store.ts'
import type { Durability } from './connection.ts'
import { addToCounter, firstTime, readCounters } from './counters.ts'
import { Database } from './database.ts'
import { Drafts } from './draft.ts'
import { sqliteEntries } from './entries.ts'
import { GroupCommit } from './group-commit.ts'
import { listRows } from './lists.ts'
import { Queue } from './queue.ts'
import { findByProviderId } from './row-labels.ts'
import { Rows } from './rows.ts'
import { liveById, rowOf } from './stored-row.ts'
import { addSuppressions, covering, listSuppressions, removeSuppressions, suppressionsOf } from './suppressions.ts'
import { Sweep } from './sweep.ts'
import { StoreTime } from './time.ts'
import { WaitingCount } from './waiting-count.ts'
import { moveInWindows, refundWindows, takeFromWindows, windowUsage } from './windows.ts'

export interface SqliteStoreSettings {
  /** Absolute. */
  readonly path: string
  readonly durability: Durability
  readonly maxQueued: number
  readonly clock?: Clock
  /** What names this boot of the system. Default: what the system says. */
  readonly boot?: string
}

/** The mailer's store in one SQLite file, shared by the processes of one host. */
export class SqliteStore implements MailStore {
  readonly guarantees: Guarantees
  /** For the application's other data. */
  readonly entries: Entries
  readonly #commits: GroupCommit
  readonly #drafts = new Drafts()
  readonly #waiting: WaitingCount
  readonly #rows: Rows
  readonly #queue: Queue

  constructor({ path, durability, maxQueued, clock, boot }: SqliteStoreSettings) {
    this.guarantees = { scope: 'host', durability, list: true }
    this.#waiting = new WaitingCount(maxQueued)
    this.#rows = new Rows(this.#waiting)
    this.#queue = new Queue(this.#rows)
    const sweep = new Sweep(this.#rows)
    const database = new Database(path, durability, new StoreTime(clock, boot))
    this.#commits = new GroupCommit(database, (connection, operations) => sweep.step(connection, operations))
    this.entries = sqliteEntries(this.#commits)
  }

  async claim(row: Row, options: ClaimOptions): Promise<Claim> {
    const draft = this.#drafts.of(row)
    const claim = await this.#commits.write((connection) => this.#rows.claim(connection, draft, options))
    if (claim.state === 'claimed') this.#drafts.remember(row, claim.fence)
    return claim
  }

  async renew(row: Row, fence: number, leaseMs: number, look?: Look): Promise<Renewed | undefined> {
    const draft = this.#drafts.of(row, fence)
    const renewed = await this.#commits.write((connection) => this.#rows.renew(connection, draft, fence, leaseMs, look))
    if (renewed) this.#drafts.remember(row, fence)
    return renewed
  }

  async settle(row: Row, fence: number, options: SettleOptions = {}): Promise<boolean> {
    const draft = this.#drafts.of(row, fence)
    const settled = await this.#commits.write((connection) => this.#rows.settle(connection, draft, fence, options))
    if (settled) this.#drafts.forget(row.id)
    return settled
  }

  async takeover(id: string, states: readonly MessageStatus[], lease: Lease): Promise<Held | undefined> {
    const held = await this.#commits.write((connection) => this.#rows.takeover(connection, id, states, lease))
    if (held) this.#drafts.remember(held.row, held.fence)
    return held
  }

  async due(count: number, lease: Lease, options: DueOptions = {}): Promise<Due> {
    const due = await this.#commits.write((connection) => this.#queue.due(connection, count, lease, options))
    for (const { row, fence } of due.held) this.#drafts.remember(row, fence)
    return due
  }

  waiting(): number | Promise<number> {
    return this.#commits.read((connection) => this.#waiting.now(connection))
  }

  read(id: string): Row | undefined | Promise<Row | undefined> {
    return this.#commits.read((connection) =>
      connection.snapshot(() => {
        const stored = liveById(connection, id)
        return stored && rowOf(connection, stored)
      }),
    )
  }

  find(
    by: { readonly messageId: string } | { readonly providerMessageId: string },
  ): Row | undefined | Promise<Row | undefined> {
    return this.#commits.read((connection) =>
      connection.snapshot(() => {
        if ('providerMessageId' in by) return findByProviderId(connection, by.providerMessageId)
        const stored = liveById(connection, idInMessageId(by.messageId) ?? '')
        const row = stored && rowOf(connection, stored)
        return row?.messageId === by.messageId ? row : undefined
      }),
    )
  }

  list(query: ListQuery): RowPage | Promise<RowPage> {
    return this.#commits.read((connection) => connection.snapshot(() => listRows(connection, query)))
  }

  readonly suppress: MailStore['suppress'] = {
    add: (entries: readonly StoredSuppression[]) =>
      this.#commits.write((connection) => addSuppressions(connection, entries)),
    hasMany: (tenant, keys, scopes) =>
      this.#commits.read((connection) => connection.snapshot(() => covering(connection, tenant, keys, scopes))),
    get: (tenant, key) => this.#commits.read((connection) => suppressionsOf(connection, tenant, key)),
    remove: (tenant, key, scope) =>
      this.#commits.write((connection) => removeSuppressions(connection, tenant, key, scope)),
    list: (tenant, page) => this.#commits.read((connection) => listSuppressions(connection, tenant, page)),
  }

  readonly limits: MailStore['limits'] = {
    take: (key: string, windows: readonly Window[], cost: number) =>
      this.#commits.write((connection) => takeFromWindows(connection, key, windows, cost)),
    refund: (key: string, windows: readonly Window[], cost: number, at: number) =>
      this.#commits.write((connection) => refundWindows(connection, key, windows, cost, at)),
    move: (key: string, windows: readonly Window[], moves: readonly Move[]) =>
      this.#commits.write((connection) => moveInWindows(connection, key, windows, moves)),
    usage: (key: string, windows: readonly Window[]) =>
      this.#commits.read((connection) => windowUsage(connection, key, windows)),
  }

  readonly counters: MailStore['counters'] = {
    add: (key: string, amount: number) => this.#commits.write((connection) => addToCounter(connection, key, amount)),
    read: (keys: readonly string[]) =>
      this.#commits.read((connection) => connection.snapshot(() => readCounters(connection, keys))),
  }

  once(id: string, ttl: number): Promise<boolean> {
    return this.#commits.write((connection) => firstTime(connection, id, ttl))
  }

  close(): Promise<void> {
    return this.#commits.close()
  }
}
