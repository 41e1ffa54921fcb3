import { MailError } from '../../errors.ts'
import { idInMessageId } from '../message-id.ts'
import { pageSize } from '../page.ts'
import { labelsOf, recordOfRow, rowOfRecord } from '../row-record.ts'
import {
  type Claim,
  type ClaimOptions,
  type Due,
  type DueOptions,
  defaultRetention,
  type Held,
  type Lease,
  type ListQuery,
  type Look,
  type MailStore,
  type QueuedWork,
  type Renewed,
  type Retention,
  type Row,
  type RowPage,
  type SettleOptions,
} from '../store.ts'
import { cursorOf, invalid, partsOf } from './cursor.ts'
import { due } from './due-script.ts'
import type { Answer, Link, Value } from './link.ts'
import { list } from './list-script.ts'
import { escaped, nameFor, tenantName, unescaped } from './names.ts'
import { claim, read, readGiven, renew, setAside, settle, takeover, waiting } from './row-scripts.ts'
import type { Argument, Script } from './script.ts'
import { foundIn, lookArguments } from './suppressions.ts'

const day = 86_400_000
/** 31,000 years: what is longer is for good, and stays exact in the server's arithmetic. */
const longest = 1e15
/** Rows one `due` takes at most, so that no call holds up the server for long. */
const mostAtOnce = 250

type Rows = Pick<MailStore, 'claim' | 'renew' | 'settle' | 'takeover' | 'read' | 'find' | 'list' | 'due'>

/** The ledger in Redis: each verb one script. */
export class RedisRows implements Rows {
  readonly #link: Link
  readonly #maxQueued: number
  /** Content that is in the store as it stands here, by the seal it has there, so that it need not be sent again. */
  readonly #sealed = new WeakMap<QueuedWork, string>()

  constructor(link: Link, maxQueued: number) {
    this.#link = link
    this.#maxQueued = maxQueued
  }

  async claim(row: Row, { lease, keyTtl = day, look, retention }: ClaimOptions): Promise<Claim> {
    const { key, createdAt } = row
    const written = this.#written(row, false)
    const { state, values } = await this.#link.run(claim, [
      escaped(row.id),
      tenantName(row.tenant),
      key === undefined ? '-' : nameFor(key),
      createdAt,
      ...written.args,
      lease && duration(lease.ms),
      duration(keyTtl),
      ...retentionArguments(retention),
      this.#maxQueued,
      ...lookArguments(look),
    ])
    if (state === 'full') throw this.#full()
    if (state === 'held') return { state, leased: values[0] === '1', row: rowIn(values[1]!) }
    this.#remember(row, written.seal)
    return { state: 'claimed', fence: Number(values[0]), found: look ? foundIn(values[1]!, row.tenant, look) : [] }
  }

  async renew(row: Row, fence: number, leaseMs: number, look?: Look): Promise<Renewed | undefined> {
    const before = [escaped(row.id), fence, duration(leaseMs)]
    const { state, values } = await this.#write(renew, row, before, lookArguments(look))
    if (state === 'none') return undefined
    return { found: look ? foundIn(values[0]!, row.tenant, look) : [] }
  }

  async settle(row: Row, fence: number, options: SettleOptions = {}): Promise<boolean> {
    const { release = false, remove = false, delay = 0, retention } = options
    const before = [
      escaped(row.id),
      fence,
      Number(release),
      Number(remove),
      duration(delay),
      ...retentionArguments(retention),
      this.#maxQueued,
    ]
    const { state } = remove ? await this.#link.run(settle, before) : await this.#write(settle, row, before, [])
    if (state === 'full') throw this.#full()
    if (state === 'torn') throw unreadable(row.id)
    return state === 'ok'
  }

  async takeover(id: string, states: readonly Row['status'][], lease: Lease): Promise<Held | undefined> {
    const { state, values } = await this.#link.run(takeover, [escaped(id), duration(lease.ms), states])
    if (state === 'none') return undefined
    if (state === 'torn') throw unreadable(id)
    const [fence, seal, parts] = values
    try {
      return { row: this.#known(parts!, seal!), fence: Number(fence) }
    } catch (error) {
      await this.#setAside(id, fence!)
      throw error
    }
  }

  async waiting(): Promise<number> {
    const { values } = await this.#link.run(waiting, [])
    return Number(values[0])
  }

  async read(id: string): Promise<Row | undefined> {
    const { state, values } = await this.#link.run(read, [escaped(id)])
    return state === 'none' ? undefined : this.#known(values[1]!, values[0]!)
  }

  async find(by: { readonly messageId: string } | { readonly providerMessageId: string }): Promise<Row | undefined> {
    if ('providerMessageId' in by) {
      const { state, values } = await this.#link.run(readGiven, [nameFor(by.providerMessageId)])
      return state === 'none' ? undefined : this.#known(values[1]!, values[0]!)
    }
    const id = idInMessageId(by.messageId)
    const row = id === undefined ? undefined : await this.read(id)
    return row?.messageId === by.messageId ? row : undefined
  }

  /** Rows without their content, which nobody asks of a list and which would have no bound. */
  async list(query: ListQuery): Promise<RowPage> {
    const [created = '', id = ''] = partsOf(query, 2) ?? []
    if (Number.isNaN(Number(created))) throw invalid()
    const { since, until } = query
    const args = [listName(query), pageSize(query), since, until, created, id]
    const { values } = await this.#link.run(list, args)
    const [more, lastCreated, lastId, found] = values
    const items: Row[] = []
    const torn: string[] = []
    for (const parts of found as readonly (readonly [string, string | null])[]) {
      const row = readableRowIn(parts)
      if (row) items.push(row)
      else torn.push(unescaped(parts[0]))
    }
    return {
      items,
      ...(torn.length > 0 ? { unreadable: torn } : {}),
      ...(more === '1' ? { cursor: cursorOf(lastCreated as string, lastId as string) } : {}),
    }
  }

  async due(count: number, lease: Lease, { lost = false, without }: DueOptions = {}): Promise<Due> {
    const args = [
      Math.min(Math.max(Math.floor(count) || 0, 0), mostAtOnce),
      duration(lease.ms),
      Number(lost),
      ...retentionArguments(undefined),
      [...(without ?? [])].map(tenantName),
    ]
    const { values } = await this.#link.run(due, args)
    const [next, taken, torn] = values
    const unreadable = (torn as readonly string[]).map(unescaped)
    const held: Held[] = []
    for (const [fence, seal, parts] of taken as readonly (readonly [string, string, Value])[]) {
      if (readableRowIn(parts)) held.push({ row: this.#known(parts, seal), fence: Number(fence) })
      else {
        const id = unescaped(parts![0] as string)
        await this.#setAside(id, fence)
        unreadable.push(id)
      }
    }
    return {
      held,
      ...(next === null ? {} : { next: Number(next) }),
      ...(unreadable.length > 0 ? { unreadable } : {}),
    }
  }

  async #setAside(id: string, fence: Value): Promise<void> {
    await this.#link.run(setAside, [escaped(id), fence as string])
  }

  /** Writes a row; with all of its content when the store has it no more. */
  async #write(verb: Script, row: Row, before: readonly Argument[], after: readonly Argument[]): Promise<Answer> {
    for (const mayKeep of [true, false]) {
      const { args, seal } = this.#written(row, mayKeep)
      const answer = await this.#link.run(verb, [...before, ...args, ...after])
      if (answer.state === 'content' && mayKeep) continue
      if (answer.state === 'torn') throw unreadable(row.id)
      if (answer.state === 'ok') this.#remember(row, seal)
      return answer
    }
    throw unreadable(row.id)
  }

  #written(row: Row, mayKeep: boolean): { readonly args: readonly Argument[]; readonly seal: string } {
    const { work, ...rest } = row
    const kept = mayKeep && work ? this.#sealed.get(work) : undefined
    const { body, content = '' } = recordOfRow(kept === undefined ? row : rest)
    const seal = kept ?? (content === '' ? '-' : `${content.slice(0, 8)}.${content.length}`)
    const { accepted, priority, dueAt = 0, providerMessageId } = row
    const given = providerMessageId === undefined ? '.' : nameFor(providerMessageId)
    const labels = accepted ? labelNames(row) : '.'
    return { args: [body, content, seal, row.status, Number(accepted), priority, dueAt, labels, given], seal }
  }

  #known(parts: Value, seal: Value): Row {
    const row = rowIn(parts)
    this.#remember(row, seal as string)
    return row
  }

  #remember({ work }: Row, seal: string): void {
    if (work) this.#sealed.set(work, seal)
  }

  #full(): MailError {
    return new MailError(
      'QUEUE_FULL',
      `At most ${this.#maxQueued} messages may wait in this Redis store; wait for the queue to drain, or raise maxQueued.`,
    )
  }
}

const duration = (ms: number) => Math.min(Math.max(ms || 0, 0), longest)

const retentionArguments = ({ records, content }: Retention = {}): readonly Argument[] => [
  duration(records ?? defaultRetention.records),
  duration(content ?? defaultRetention.content),
]

function labelNames(row: Row): string {
  const { recipients, tags } = labelsOf(row)
  const names = [
    ...recipients.map((key) => nameFor('recipient', row.tenant, key)),
    ...tags.map((tag) => nameFor('tag', row.tenant, tag)),
  ]
  return names.length === 0 ? '.' : names.join(',')
}

function listName({ tenant, index }: ListQuery): string {
  if (!index) return `list:${tenantName(tenant)}`
  if ('status' in index) return `list:${tenantName(tenant)}:${index.status}`
  return `label:${'tag' in index ? nameFor('tag', tenant, index.tag) : nameFor('recipient', tenant, index.recipient)}`
}

function rowIn(parts: Value): Row {
  const [id, body, content] = parts as readonly [string, string | null, (string | null)?]
  return rowOfRecord(unescaped(id), { body, content })
}

function readableRowIn(parts: Value): Row | undefined {
  try {
    return rowIn(parts)
  } catch {
    return undefined
  }
}

const unreadable = (id: string) =>
  new MailError(
    'STORE_UNAVAILABLE',
    `The stored row of ${id} cannot be read: it is torn, or a newer release wrote it.`,
    {
      id,
    },
  )
