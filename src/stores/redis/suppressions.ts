import { MailError } from '../../errors.ts'
import { pageSize } from '../page.ts'
import type { Look, MailStore, Page, PageRequest, StoredSuppression } from '../store.ts'
import { cursorOf, partsOf } from './cursor.ts'
import type { Link, Value } from './link.ts'
import { escaped, tenantName, unescaped } from './names.ts'
import type { Argument } from './script.ts'
import { add, get, hasMany, list, remove } from './suppression-scripts.ts'

/** Entries in one script: more would hold up everybody else. */
const atOnce = 500

/** Suppressions: a hash of scopes per tenant and mailbox, and the tenant's mailboxes in order. */
export class RedisSuppressions implements NonNullable<MailStore['suppress']> {
  readonly #link: Link

  constructor(link: Link) {
    this.#link = link
  }

  async add(entries: readonly StoredSuppression[]): Promise<void> {
    for (let from = 0; from < entries.length; from += atOnce) {
      const some = entries.slice(from, from + atOnce)
      await this.#link.run(add, [some.length, ...some.flatMap(argumentsOf)])
    }
  }

  async hasMany(
    tenant: string | undefined,
    keys: readonly string[],
    scopes: readonly string[],
  ): Promise<readonly (StoredSuppression | undefined)[]> {
    const found: (StoredSuppression | undefined)[] = []
    for (let from = 0; from < keys.length; from += atOnce) {
      const look = { keys: keys.slice(from, from + atOnce), scopes }
      const { values } = await this.#link.run(hasMany, [tenantName(tenant), ...lookArguments(look)])
      found.push(...foundIn(values[0]!, tenant, look))
    }
    return found
  }

  async get(tenant: string | undefined, key: string): Promise<readonly StoredSuppression[]> {
    const { values } = await this.#link.run(get, [tenantName(tenant), escaped(key)])
    return entriesIn(values[0]!, tenant)
  }

  async remove(tenant: string | undefined, key: string, scope?: string): Promise<number> {
    const every = scope === undefined ? 1 : 0
    const { values } = await this.#link.run(remove, [tenantName(tenant), escaped(key), every, escaped(scope ?? '')])
    return Number(values[0])
  }

  async list(tenant: string | undefined, page: PageRequest): Promise<Page<StoredSuppression>> {
    const [after] = partsOf(page, 1) ?? []
    const from = after === undefined ? '' : `=${after}`
    const { values } = await this.#link.run(list, [tenantName(tenant), pageSize(page), from])
    const [more, last, entries] = values
    const items = entriesIn(entries!, tenant)
    return more === '1' ? { items, cursor: cursorOf(last as string) } : { items }
  }
}

export const lookArguments = (look: Look | undefined): readonly Argument[] => [
  look?.keys.map(escaped) ?? [],
  look?.scopes.map(escaped) ?? [],
]

/** One answer per key that was looked for. */
export function foundIn(value: Value, tenant: string | undefined, look: Look): (StoredSuppression | undefined)[] {
  return look.keys.map((key, i) => {
    const one = value?.[i]
    if (one === null) return undefined
    if (!Array.isArray(one)) throw unreadable()
    const [scope, entry] = one as string[]
    return entryOf(tenant, key, look.scopes[Number(scope) - 1]!, entry!)
  })
}

function argumentsOf({ tenant, key, scope, reason, note, createdAt, expiresAt }: StoredSuppression): Argument[] {
  const value = JSON.stringify([reason, createdAt, note, expiresAt])
  return [tenantName(tenant), escaped(key), escaped(scope), expiresAt ?? '-', value]
}

const entriesIn = (value: Value, tenant: string | undefined): StoredSuppression[] =>
  (value as readonly (readonly string[])[]).map(([key, scope, entry]) =>
    entryOf(tenant, unescaped(key!), unescaped(scope!), entry!),
  )

/** An entry that cannot be read might cover somebody: it is a failure, not an absence. */
function entryOf(tenant: string | undefined, key: string, scope: string, stored: string): StoredSuppression {
  try {
    const [reason, createdAt, note, expiresAt] = JSON.parse(stored.slice(stored.indexOf(' ') + 1)) as [
      string,
      number,
      (string | null)?,
      (number | null)?,
    ]
    return {
      ...(tenant === undefined ? {} : { tenant }),
      key,
      scope,
      reason,
      createdAt,
      ...(note == null ? {} : { note }),
      ...(expiresAt == null ? {} : { expiresAt }),
    }
  } catch {
    throw unreadable()
  }
}

const unreadable = () =>
  new MailError('STORE_UNAVAILABLE', 'A stored suppression cannot be read; remove it and add it again.')
