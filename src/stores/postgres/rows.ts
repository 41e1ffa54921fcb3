import type { MessageStatus } from '../../receipt.ts'
import { idInMessageId } from '../message-id.ts'
import { withoutContent } from '../row-content.ts'
import { labelsOf, recordOfRow, rowOfRecord } from '../row-record.ts'
import { isWaiting, isWork } from '../row-status.ts'
import {
  type Claim,
  type ClaimOptions,
  defaultRetention,
  type Held,
  type Lease,
  type Look,
  type QueuedWork,
  type Renewed,
  type Retention,
  type Row,
  type SettleOptions,
  settledStatuses,
} from '../store.ts'
import type { Query } from './pool.ts'
import { type GivenTime, Statement, wholeMs } from './statement.ts'
import { foundOf } from './suppressions.ts'
import { indexed, labelOf, tenantText } from './text.ts'

const day = 86_400_000

/** What a write that adds to the queue answers when the queue is full. */
export const full = Symbol('full')

/**
 * The ledger's verbs, each one statement on whatever runs it: a connection of the pool, or a transaction of the application.
 */
export class Rows {
  readonly #statements: ReturnType<typeof statementsIn>
  /** Content that the store holds already, by what was written or read. It is sent once, not with every change of status. */
  readonly #kept = new WeakMap<QueuedWork, string>()

  constructor(schema: string) {
    this.#statements = statementsIn(schema)
  }

  async claim(
    query: Query,
    time: GivenTime,
    row: Row,
    { lease, keyTtl = day, look, retention }: ClaimOptions,
    isFull: boolean,
  ): Promise<Claim | typeof full> {
    const [answer] = await this.#statements.claim.run(query, {
      ...time,
      ...this.#facts(row),
      ...retentionOf(retention),
      tenant: tenantText(row.tenant),
      created_at: wholeMs(row.createdAt),
      due_at: dueAt(row),
      content: row.work ? recordOfRow(row).content : null,
      key: row.key === undefined ? null : labelOf('key', row.key),
      key_ttl: wholeMs(keyTtl),
      lease: lease ? wholeMs(lease.ms) : null,
      full: isFull && !lease && isWaiting(row),
      ...lookOf(look),
    })
    if (answer!.state === 'full') return full
    if (answer!.state === 'held') {
      return { state: 'held', row: this.rowOf(answer!), leased: answer!.leased === true }
    }
    this.#keep(row)
    return { state: 'claimed', fence: Number(answer!.fence), found: foundOf(row.tenant, look?.keys, answer!.covered) }
  }

  async renew(
    query: Query,
    time: GivenTime,
    row: Row,
    fence: number,
    leaseMs: number,
    look: Look | undefined,
  ): Promise<Renewed | undefined> {
    const [answer] = await this.#statements.renew.run(query, {
      ...time,
      ...this.#facts(row),
      ...this.#contentOf(row),
      tenant: tenantText(row.tenant),
      fence,
      lease: wholeMs(leaseMs),
      ...lookOf(look),
    })
    if (answer!.renewed !== true) return undefined
    this.#keep(row)
    return { found: foundOf(row.tenant, look?.keys, answer!.covered) }
  }

  async settle(
    query: Query,
    time: GivenTime,
    row: Row,
    fence: number,
    { release = false, remove = false, delay = 0, retention }: SettleOptions,
    isFull: boolean,
  ): Promise<boolean | typeof full> {
    const [answer] = await this.#statements.settle.run(query, {
      ...time,
      ...this.#facts(row),
      ...this.#contentOf(row),
      ...retentionOf(retention),
      due_at: dueAt(row),
      fence,
      release,
      remove,
      delay: Math.max(0, wholeMs(delay)),
      full: isFull && isWaiting(row),
    })
    if (answer!.state === 'full') return full
    return answer!.state === 'settled'
  }

  async takeover(
    query: Query,
    time: GivenTime,
    id: string,
    states: readonly MessageStatus[],
    lease: Lease,
  ): Promise<Held | undefined> {
    const [answer] = await this.#statements.takeover.run(query, {
      ...time,
      id: indexed(id),
      states,
      lease: wholeMs(lease.ms),
    })
    return answer!.fence === null ? undefined : { row: this.rowOf(answer!), fence: Number(answer!.fence) }
  }

  async read(query: Query, time: GivenTime, id: string): Promise<Row | undefined> {
    return this.#found(await this.#statements.read.run(query, { ...time, id: indexed(id), provider_label: null }))
  }

  async find(
    query: Query,
    time: GivenTime,
    by: { readonly messageId: string } | { readonly providerMessageId: string },
  ): Promise<Row | undefined> {
    if ('providerMessageId' in by) {
      const label = labelOf('provider', by.providerMessageId)
      return this.#found(await this.#statements.read.run(query, { ...time, id: null, provider_label: label }))
    }
    const id = idInMessageId(by.messageId)
    const row = id === undefined ? undefined : await this.read(query, time, id)
    return row?.messageId === by.messageId ? row : undefined
  }

  /** @throws MailError `STORE_UNAVAILABLE` for what cannot be read. */
  rowOf({ id, body, content }: Record<string, unknown>): Row {
    const row = rowOfRecord(id as string, { body, content })
    this.#keep(row)
    return row
  }

  #found([answer]: readonly Record<string, unknown>[]): Row | undefined {
    return typeof answer?.id === 'string' ? this.rowOf(answer) : undefined
  }

  #keep({ id, work }: Row): void {
    if (work) this.#kept.set(work, id)
  }

  /** The columns of a row, which every write of it sends. */
  #facts(row: Row) {
    return {
      id: indexed(row.id),
      accepted: row.accepted,
      status: row.status,
      phase: phaseOf(row),
      priority: Math.min(Math.max(Math.trunc(row.priority) || 0, -2_147_483_648), 2_147_483_647),
      body: recordOfRow(withoutContent(row)).body,
      labels: row.accepted ? listedUnder(row) : null,
      provider_label: row.providerMessageId === undefined ? null : labelOf('provider', row.providerMessageId),
    }
  }

  #contentOf(row: Row) {
    const same = row.work !== undefined && this.#kept.get(row.work) === row.id
    return { content: row.work && !same ? recordOfRow(row).content : null, same_content: same }
  }
}

const phaseOf = (row: Row): number => {
  if (settledStatuses.has(row.status)) return 2
  return isWork(row) ? 0 : 1
}

const dueAt = (row: Row): number => wholeMs(row.dueAt ?? 0)

const lookOf = (look: Look | undefined) => ({
  look_keys: look ? look.keys.map(indexed) : null,
  look_scopes: look ? look.scopes.map(indexed) : null,
})

const retentionOf = (retention: Retention | undefined) => ({
  records: wholeMs(retention?.records ?? defaultRetention.records),
  contents: wholeMs(retention?.content ?? defaultRetention.content),
})

/** Rows on their way have no label of their status: they are few, and it would be written only to be removed. */
function listedUnder(row: Row): string[] {
  const { recipients, tags } = labelsOf(row)
  return [
    ...recipients.map((key) => recipientLabel(row.tenant, key)),
    ...tags.map((tag) => tagLabel(row.tenant, tag)),
    ...(row.status === 'dispatching' ? [] : [statusLabel(row.tenant, row.status)]),
  ]
}

export const recipientLabel = (tenant: string | undefined, key: string): string => labelOf('recipient', tenant, key)
export const tagLabel = (tenant: string | undefined, tag: string): string => labelOf('tag', tenant, tag)
export const statusLabel = (tenant: string | undefined, status: MessageStatus): string =>
  labelOf('status', tenant, status)

function statementsIn(schema: string) {
  const time = { now: 'bigint', wall: 'bigint' }
  const facts = {
    id: 'text',
    accepted: 'boolean',
    status: 'text',
    phase: 'smallint',
    priority: 'integer',
    body: 'text',
    labels: 'uuid[]',
    provider_label: 'uuid',
    content: 'text',
  }
  const look = { look_keys: 'text[]', look_scopes: 'text[]' }
  const retention = { records: 'bigint', contents: 'bigint' }
  return {
    claim: new Statement(schema, 'claim', {
      ...time,
      ...facts,
      ...look,
      ...retention,
      tenant: 'text',
      created_at: 'bigint',
      due_at: 'bigint',
      key: 'uuid',
      key_ttl: 'bigint',
      lease: 'bigint',
      full: 'boolean',
    }),
    renew: new Statement(schema, 'renew', {
      ...time,
      ...facts,
      ...look,
      tenant: 'text',
      same_content: 'boolean',
      fence: 'bigint',
      lease: 'bigint',
    }),
    settle: new Statement(schema, 'settle', {
      now: 'bigint',
      ...facts,
      ...retention,
      due_at: 'bigint',
      same_content: 'boolean',
      fence: 'bigint',
      release: 'boolean',
      remove: 'boolean',
      delay: 'bigint',
      full: 'boolean',
    }),
    takeover: new Statement(schema, 'takeover', { now: 'bigint', id: 'text', states: 'text[]', lease: 'bigint' }),
    read: new Statement(schema, 'read', { now: 'bigint', id: 'text', provider_label: 'uuid' }),
  }
}
