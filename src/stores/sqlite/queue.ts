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

/** Tenants with ready rows that one call looks at, and when to look on where more of them were left out than that. */
const lookedAtOnce = 10_000
/** So many of them are read at first, then more at once: few statements, none with a parameter as its limit. */
const [fewTenants, moreTenants] = [32, 1_000]
const lookOnAfter = 100

type Tenants = ReadonlySet<string | undefined>
const none: Tenants = new Set()

/** Tenants that have rows ready, in turn. */
interface Turns {
  readonly tenants: readonly string[]
  /** Where the look ended before it had seen all. */
  readonly endedAt?: string
}

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
    if (!lost) for (let i = 0; i < count; i += ripenedAtOnce) this.#ripen(connection)
    // One more than have a turn now: so much tells whether anything is left.
    const turns = turnsFrom(connection, this.#served, without, lost ? 1 : hand.room + 1)
    if (!lost) this.#takeReady(connection, hand, turns)
    const next = nextDue(connection, without, turns)
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
      'UPDATE sendwright_messages SET state = ?, wake = ?, place = NULL, kept_until = ?, content_until = ? WHERE number = ?',
      plan.state,
      plan.wake,
      plan.keptUntil,
      plan.contentUntil,
      stored.number,
    )
  }

  #planAnew(connection: Connection, stored: WithBody, hand: Hand): Schedule | undefined {
    const row = hand.readable(stored)
    return row && scheduleOf(row, connection.time, {}, stored.key === null ? null : stored.key_until, null)
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
      const tenant = nextTimed(connection, this.#ripened)
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

  #takeReady(connection: Connection, hand: Hand, { tenants, endedAt }: Turns): void {
    for (let left = tenants; left.length > 0 && hand.room > 0; ) {
      const again: string[] = []
      for (const tenant of left) {
        if (hand.room === 0) break
        const rows = firstReady(connection, tenant, left.length === 1 ? readAtOnce : 1)
        if (rows.length === 0) continue
        this.#served = tenant
        again.push(tenant)
        for (const { number } of rows) {
          if (hand.room > 0) hand.take(storedByNumber(connection, number))
        }
      }
      left = again
    }
    if (endedAt !== undefined) this.#served = endedAt
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

/** The tenant with timed rows that comes after another one, the first after the last; undefined when there are no rows. */
function nextTimed(connection: Connection, after: string): string | undefined {
  const select = `SELECT tenant FROM sendwright_messages INDEXED BY sendwright_messages_waiting
    WHERE state IN (${rowState.delayed}, ${rowState.scheduled})`
  const later = connection.get<{ tenant: string }>(`${select} AND tenant > ? ORDER BY tenant LIMIT 1`, after)
  return (later ?? connection.get<{ tenant: string }>(`${select} ORDER BY tenant LIMIT 1`))?.tenant
}

const readyOf = `FROM sendwright_messages INDEXED BY sendwright_messages_ready WHERE state = ${rowState.ready} AND tenant`

const firstReady = (connection: Connection, tenant: string, most: number) =>
  connection.all<{ number: number }>(`SELECT number ${readyOf} = ? ORDER BY priority DESC, place LIMIT ${most}`, tenant)

/** Up to `most` tenants whose turn comes next, but for some. */
function turnsFrom(connection: Connection, served: string, without: Tenants, most: number): Turns {
  const tenants: string[] = []
  let looked = 0
  for (const tenant of readyTenants(connection, served)) {
    if (!without.has(tenantFromSql(tenant))) tenants.push(tenant)
    if (tenants.length === most) break
    if (++looked === lookedAtOnce) return { tenants, endedAt: tenant }
  }
  return { tenants }
}

/** Every tenant with ready rows once, those after `served` first. */
function* readyTenants(connection: Connection, served: string): Generator<string> {
  let first: string | undefined
  let size = fewTenants
  for (const start of [served, undefined]) {
    for (let page: readonly string[], after = start; ; after = page.at(-1)!, size = moreTenants) {
      page = tenantsAfter(connection, after, size)
      for (const tenant of page) {
        if (tenant === first) return
        first ??= tenant
        yield tenant
      }
      if (page.length < size) break
    }
  }
}

/** The next tenants that have ready rows, from the first one when none is given: one step in the index for each. */
function tenantsAfter(connection: Connection, after: string | undefined, most: number): string[] {
  const next = `SELECT tenant ${readyOf}`
  const found = connection.all<{ tenant: string }>(
    `WITH RECURSIVE ready (name) AS (
      SELECT * FROM (${next} ${after === undefined ? '>=' : '>'} ? ORDER BY tenant LIMIT 1)
      UNION ALL SELECT (${next} > name ORDER BY tenant LIMIT 1) FROM ready WHERE name IS NOT NULL LIMIT ${most}
    ) SELECT name AS tenant FROM ready WHERE name IS NOT NULL`,
    after ?? '',
  )
  return found.map(({ tenant }) => tenant)
}

/** Milliseconds until a waiting row is due; undefined when none waits. */
function nextDue(connection: Connection, without: Tenants, { tenants, endedAt }: Turns): number | undefined {
  if (tenants.some((tenant) => firstReady(connection, tenant, 1).length > 0)) return 0
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
  if (endedAt !== undefined) waits.push(lookOnAfter)
  return waits.length > 0 ? Math.min(...waits) : undefined
}
