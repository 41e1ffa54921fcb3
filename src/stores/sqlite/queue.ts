import { MailError } from '../../errors.ts'
import { contentBytes } from '../row-content.ts'
import { type Due, type DueOptions, type Held, type Lease, type Row, settledStatuses } from '../store.ts'
import type { Connection } from './connection.ts'
import type { Rows } from './rows.ts'
import { resting, type Schedule, scheduleOf } from './schedule.ts'
import { rowState } from './schema.ts'
import { fromSql, tenantFromSql } from './sql-text.ts'
import { rowOf, storedByNumber, type WithBody } from './stored-row.ts'

/** Rows that are made ready at once for up to as many that are asked for, and tenants looked at when there are more. */
const ripenedAtOnce = 100
const tenantsAtOnce = 32
const ripenedPerTenant = 4
/** Leases that ran out and are looked at: those on rows that are nobody's work are ended. */
const lostAtOnce = 200
/** Rows read ahead of a tenant that is alone. */
const readAtOnce = 25
/** Bytes of content handed out at once: they are decoded while the event loop waits. */
const contentAtOnce = 8 * 1024 * 1024

type Tenants = ReadonlySet<string | undefined>
const none: Tenants = new Set()

/** The rows whose time has come: lost ones first, then waiting ones by priority and arrival, tenants in turn. */
export class Queue {
  readonly #rows: Rows
  /** The tenants whose turn was last: when rows are handed out, and when they are made ready. */
  #served = ''
  #ripened = ''

  constructor(rows: Rows) {
    this.#rows = rows
  }

  due(connection: Connection, count: number, lease: Lease, { lost, without = none }: DueOptions): Due {
    const hand = new Hand(this.#rows, connection, count, lease)
    this.#takeLost(connection, hand)
    if (!lost) {
      for (let i = 0; i < count; i += ripenedAtOnce) this.#ripen(connection)
      this.#takeReady(connection, hand, without)
    }
    const next = nextDue(connection, without)
    return {
      held: hand.held,
      ...(next === undefined ? {} : { next }),
      ...(hand.unreadable.length > 0 ? { unreadable: hand.unreadable } : {}),
    }
  }

  #takeLost(connection: Connection, hand: Hand): void {
    const lost = connection.all<{ number: number }>(
      `SELECT number FROM sendwright_messages INDEXED BY sendwright_messages_agenda
        WHERE state = ${rowState.leased} AND wake <= ? ORDER BY wake LIMIT ${lostAtOnce}`,
      connection.time.steady(),
    )
    for (const { number } of lost) {
      const stored = storedByNumber(connection, number)
      const rests = settledStatuses.has(stored.status) || stored.status === 'unknown'
      if (rests) this.#endLease(connection, stored, hand)
      else if (hand.room > 0) hand.take(stored)
    }
  }

  /** As before the lease, for a row that nobody settled since; what it was settled as in the lease begins its time now. */
  #endLease(connection: Connection, stored: WithBody, hand: Hand): void {
    const settled = settledStatuses.has(stored.status)
    const isPlanned = (settled ? stored.kept_until : stored.content_until) !== null
    const plan = isPlanned ? planOf(stored, settled) : this.#planAnew(connection, stored, hand)
    if (!plan) return
    connection.run(
      'UPDATE sendwright_messages SET state = ?, wake = ?, kept_until = ?, content_until = ? WHERE number = ?',
      plan.state,
      plan.wake,
      plan.keptUntil,
      plan.contentUntil,
      stored.number,
    )
  }

  #planAnew(connection: Connection, stored: WithBody, hand: Hand): Schedule | undefined {
    const row = hand.readable(stored)
    return row && scheduleOf(row, connection.time, {}, stored.key === null ? null : stored.key_until)
  }

  /**
   * Makes rows ready whose time has come, a bounded number. When there are more, every tenant gets some in turn, so that
   * thousands of one tenant's for the same moment do not delay another's one.
   */
  #ripen(connection: Connection): void {
    let ripened = 0
    for (const [state, now] of timed(connection)) {
      ripened += connection.run(
        `UPDATE sendwright_messages SET state = ${rowState.ready}, wake = NULL WHERE number IN (
          SELECT number FROM sendwright_messages INDEXED BY sendwright_messages_agenda
            WHERE state = ${state} AND wake <= ? ORDER BY wake LIMIT ${ripenedAtOnce})`,
        now,
      )
    }
    if (ripened < ripenedAtOnce) return
    const looked = new Set<string>()
    while (looked.size < tenantsAtOnce) {
      const tenant = nextTenant(connection, 'waiting', this.#ripened)
      if (tenant === undefined || looked.has(tenant)) return
      looked.add(tenant)
      this.#ripened = tenant
      for (const [state, now] of timed(connection)) {
        connection.run(
          `UPDATE sendwright_messages SET state = ${rowState.ready}, wake = NULL WHERE number IN (
            SELECT number FROM sendwright_messages INDEXED BY sendwright_messages_waiting
              WHERE state IN (${rowState.delayed}, ${rowState.scheduled}) AND tenant = ? AND state = ${state} AND wake <= ?
              ORDER BY wake LIMIT ${ripenedPerTenant})`,
          tenant,
          now,
        )
      }
    }
  }

  #takeReady(connection: Connection, hand: Hand, without: Tenants): void {
    while (hand.room > 0) {
      const tenant = nextReady(connection, this.#served, without)
      if (tenant === undefined) return
      this.#served = tenant
      const alone = tenant === nextReady(connection, tenant, without)
      const rows = connection.all<{ number: number }>(
        `SELECT number FROM sendwright_messages INDEXED BY sendwright_messages_ready
          WHERE state = ${rowState.ready} AND tenant = ? ORDER BY priority DESC, place LIMIT ${alone ? readAtOnce : 1}`,
        tenant,
      )
      for (const { number } of rows) {
        if (hand.room > 0) hand.take(storedByNumber(connection, number))
      }
    }
  }
}

function planOf({ kept_until, content_until: contentUntil }: WithBody, settled: boolean): Schedule {
  const keptUntil = settled ? kept_until : null
  return { ...resting(keptUntil, contentUntil), place: null, keptUntil, contentUntil }
}

/** What one call takes. */
class Hand {
  readonly held: Held[] = []
  readonly unreadable: string[] = []
  readonly #rows: Rows
  readonly #connection: Connection
  readonly #count: number
  readonly #lease: Lease
  #content = 0

  constructor(rows: Rows, connection: Connection, count: number, lease: Lease) {
    this.#rows = rows
    this.#connection = connection
    this.#count = count
    this.#lease = lease
  }

  get room(): number {
    return this.#content < contentAtOnce ? this.#count - this.held.length : 0
  }

  take(stored: WithBody): void {
    const held = this.#orSetAside(stored, () => this.#rows.take(this.#connection, stored, this.#lease))
    if (!held) return
    this.held.push(held)
    this.#content += contentBytes(held.row)
  }

  readable(stored: WithBody): Row | undefined {
    return this.#orSetAside(stored, () => rowOf(this.#connection, stored))
  }

  /** A row that cannot be read is nobody's work any more: somebody has to look at it (INVARIANTS D2). */
  #orSetAside<T>(stored: WithBody, read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof MailError)) throw error
      this.unreadable.push(fromSql(stored.id))
      this.#rows.setAside(this.#connection, stored)
      return undefined
    }
  }
}

const timed = ({ time }: Connection) =>
  [
    [rowState.delayed, time.steady()],
    [rowState.scheduled, time.wall()],
  ] as const

/** The tenant with such rows that comes after another one, the first after the last; undefined when there are no rows. */
function nextTenant(connection: Connection, index: 'ready' | 'waiting', after: string): string | undefined {
  const states =
    index === 'ready' ? `state = ${rowState.ready}` : `state IN (${rowState.delayed}, ${rowState.scheduled})`
  const select = `SELECT tenant FROM sendwright_messages INDEXED BY sendwright_messages_${index} WHERE ${states}`
  const later = connection.get<{ tenant: string }>(`${select} AND tenant > ? ORDER BY tenant LIMIT 1`, after)
  return (later ?? connection.get<{ tenant: string }>(`${select} ORDER BY tenant LIMIT 1`))?.tenant
}

/** The same, passing over some tenants; undefined when no other has rows. */
function nextReady(connection: Connection, after: string, without: Tenants): string | undefined {
  const first = nextTenant(connection, 'ready', after)
  let tenant = first
  while (tenant !== undefined && without.has(tenantFromSql(tenant))) {
    tenant = nextTenant(connection, 'ready', tenant)
    if (tenant === first) return undefined
  }
  return tenant
}

/** Milliseconds until a waiting row is due; undefined when none waits. */
function nextDue(connection: Connection, without: Tenants): number | undefined {
  if (nextReady(connection, '', without) !== undefined) return 0
  const waits = timed(connection).flatMap(([state, now]) => {
    const first = connection.all<{ wake: number; tenant: string }>(
      `SELECT wake, tenant FROM sendwright_messages INDEXED BY sendwright_messages_agenda
        WHERE state = ${state} AND wake IS NOT NULL ORDER BY wake LIMIT ${tenantsAtOnce}`,
    )
    const asked = first.find(({ tenant }) => !without.has(tenantFromSql(tenant)))
    // Where only others are near, to look again then is early rather than late.
    const next = asked ?? (first.length === tenantsAtOnce ? first.at(-1) : undefined)
    return next ? [Math.max(0, next.wake - now)] : []
  })
  return waits.length > 0 ? Math.min(...waits) : undefined
}
