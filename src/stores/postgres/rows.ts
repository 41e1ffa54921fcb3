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
import type { Functions } from './functions.ts'
import type { Call } from './pool.ts'
import { foundOf } from './suppressions.ts'
import { indexed, labelOf, tenantText, textOf } from './text.ts'
import { type GivenTime, wholeMs } from './time.ts'

const day = 86_400_000

/** What a write that adds to the queue answers when the queue is full. */
export const full = Symbol('full')

/**
 * The ledger's verbs, each one statement on whatever runs it: a connection of the pool, or a transaction of the application.
 */
export class Rows {
  readonly #functions: Functions
  /**
   * Content that the store holds already, and the fence it is held with: what nobody else may have changed is sent once, not
   * with every change of status.
   */
  readonly #kept = new WeakMap<QueuedWork, string>()

  constructor(functions: Functions) {
    this.#functions = functions
  }

  async claim(
    call: Call,
    time: GivenTime,
    row: Row,
    { lease, keyTtl = day, look, retention }: ClaimOptions,
    isFull: boolean,
  ): Promise<Claim | typeof full> {
    const [answer] = await this.#functions.run(call, 'claim', {
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
    const fence = Number(answer!.fence)
    this.#keep(row, fence)
    return { state: 'claimed', fence, found: foundOf(row.tenant, look?.keys, answer!.covered) }
  }

  async renew(
    call: Call,
    time: GivenTime,
    row: Row,
    fence: number,
    leaseMs: number,
    look: Look | undefined,
  ): Promise<Renewed | undefined> {
    const [answer] = await this.#functions.run(call, 'renew', {
      ...time,
      ...this.#facts(row),
      ...this.#contentOf(row, fence),
      tenant: tenantText(row.tenant),
      fence,
      lease: wholeMs(leaseMs),
      ...lookOf(look),
    })
    if (answer!.renewed !== true) return undefined
    this.#keep(row, fence)
    return { found: foundOf(row.tenant, look?.keys, answer!.covered) }
  }

  async settle(
    call: Call,
    time: GivenTime,
    row: Row,
    fence: number,
    { release = false, remove = false, delay = 0, retention }: SettleOptions,
    isFull: boolean,
  ): Promise<boolean | typeof full> {
    const [answer] = await this.#functions.run(call, 'settle', {
      ...time,
      ...this.#facts(row),
      ...this.#contentOf(row, fence),
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
    call: Call,
    time: GivenTime,
    id: string,
    states: readonly MessageStatus[],
    lease: Lease,
  ): Promise<Held | undefined> {
    const [answer] = await this.#functions.run(call, 'takeover', {
      ...time,
      id: indexed(id),
      states,
      lease: wholeMs(lease.ms),
    })
    if (answer!.fence === null) return undefined
    const fence = Number(answer!.fence)
    try {
      return this.held(answer!, fence)
    } catch (error) {
      await this.setAside(call, answer!.id, fence)
      throw error
    }
  }

  async read(call: Call, time: GivenTime, id: string): Promise<Row | undefined> {
    return this.#found(await this.#functions.run(call, 'read', { ...time, id: indexed(id), provider_label: null }))
  }

  async find(
    call: Call,
    time: GivenTime,
    by: { readonly messageId: string } | { readonly providerMessageId: string },
  ): Promise<Row | undefined> {
    if ('providerMessageId' in by) {
      const label = labelOf('provider', by.providerMessageId)
      return this.#found(await this.#functions.run(call, 'read', { ...time, id: null, provider_label: label }))
    }
    const id = idInMessageId(by.messageId)
    const row = id === undefined ? undefined : await this.read(call, time, id)
    return row?.messageId === by.messageId ? row : undefined
  }

  /** What was taken and cannot be read is let go, and never comes up again. */
  async setAside(call: Call, id: unknown, fence: number): Promise<void> {
    await this.#functions.run(call, 'set_aside', { id, fence })
  }

  /** @throws MailError `STORE_UNAVAILABLE` for what cannot be read. */
  rowOf({ id, body, content }: Record<string, unknown>): Row {
    return rowOfRecord(textOf(id as string), { body, content })
  }

  /** The same for a row that was taken. */
  held(answer: Record<string, unknown>, fence: number): Held {
    const row = this.rowOf(answer)
    this.#keep(row, fence)
    return { row, fence }
  }

  #found([answer]: readonly Record<string, unknown>[]): Row | undefined {
    return typeof answer?.id === 'string' ? this.rowOf(answer) : undefined
  }

  #keep({ id, work }: Row, fence: number): void {
    if (work) this.#kept.set(work, `${fence} ${id}`)
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

  #contentOf(row: Row, fence: number) {
    const same = row.work !== undefined && this.#kept.get(row.work) === `${fence} ${row.id}`
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
