import type { Clock } from './clock.ts'
import { MailError } from './errors.ts'
import { isProblem, parseMailbox } from './message/address.ts'
import { moment, refused } from './options.ts'
import type { MailStore, Page, PageRequest, StoredSuppression } from './stores/store.ts'

/** What a suppression covers: all mail to the mailbox, one stream, or one topic. */
export type SuppressionScope = 'all' | { readonly stream: 'transactional' | 'marketing' } | { readonly topic: string }

export type SuppressionReason = 'hard_bounce' | 'complaint' | 'unsubscribe' | 'invalid' | 'manual'

export interface NewSuppression {
  /** A bare mailbox. */
  readonly address: string
  /** Default `all`. */
  readonly scope?: SuppressionScope
  /** Default `manual`. */
  readonly reason?: SuppressionReason
  /** For people, at most 500 characters. */
  readonly note?: string
  /** Default: never. */
  readonly expiresAt?: Date | number | string
}

export interface Suppression {
  /** The canonical mailbox: what was added in any spelling. */
  readonly address: string
  readonly scope: SuppressionScope
  readonly reason: SuppressionReason
  readonly note?: string
  /** ISO 8601. */
  readonly createdAt: string
  readonly expiresAt?: string
}

/** Who is not mailed, per tenant. Spellings of one mailbox are one entry. */
export interface Suppressions {
  /** Adds, or replaces the entry of the same mailbox and scope. @throws MailError `VALIDATION_ERROR`. */
  add(suppression: NewSuppression): Promise<Suppression>
  /** The same for many, all of them or none. At most 1,000 at a time. */
  addMany(suppressions: readonly NewSuppression[]): Promise<readonly Suppression[]>
  /** Removes one scope, or all of them. Answers whether there was any. */
  remove(address: string, scope?: SuppressionScope): Promise<boolean>
  /** Every entry of the mailbox; empty when it may be mailed. */
  get(address: string): Promise<readonly Suppression[]>
  /** Needs a store that can list; `UNSUPPORTED_FEATURE` otherwise. */
  list(page?: PageRequest): Promise<Page<Suppression>>
}

const mostAtOnce = 1_000
const reasons: ReadonlySet<unknown> = new Set(['hard_bounce', 'complaint', 'unsubscribe', 'invalid', 'manual'])

export function suppressionsOf(
  store: MailStore,
  clock: Clock,
  tenant: () => Promise<string | undefined>,
): Suppressions {
  return {
    async add(input) {
      const entry = entryOf(input, await tenant(), clock.now())
      await store.suppress.add([entry])
      return suppressionOf(entry)
    },
    async addMany(inputs) {
      if (!Array.isArray(inputs) || inputs.length > mostAtOnce) {
        throw refused('suppressions', `Must be a list of at most ${mostAtOnce}.`)
      }
      const owner = await tenant()
      const entries = inputs.map((input) => entryOf(input, owner, clock.now()))
      if (entries.length > 0) await store.suppress.add(entries)
      return entries.map(suppressionOf)
    },
    async remove(address, scope) {
      const removed = await store.suppress.remove(
        await tenant(),
        keyOf(address),
        scope === undefined ? undefined : scopeText(scope),
      )
      return removed > 0
    },
    async get(address) {
      return (await store.suppress.get(await tenant(), keyOf(address))).map(suppressionOf)
    },
    async list(page = {}) {
      if (!store.guarantees.list) {
        throw new MailError(
          'UNSUPPORTED_FEATURE',
          'This store cannot list suppressions; use memory, sqlite, redis or postgres, or ask for one with suppressions.get.',
        )
      }
      const { items, cursor } = await store.suppress.list(await tenant(), page)
      return { items: items.map(suppressionOf), ...(cursor === undefined ? {} : { cursor }) }
    },
  }
}

function entryOf(input: NewSuppression, tenant: string | undefined, now: number): StoredSuppression {
  const { address, scope = 'all', reason = 'manual', note, expiresAt } = taken(input)
  if (!reasons.has(reason)) throw refused('reason', `Must be one of ${[...reasons].join(', ')}.`)
  if (note !== undefined && (typeof note !== 'string' || note.length > 500)) {
    throw refused('note', 'Must be text of at most 500 characters.')
  }
  return {
    key: keyOf(address),
    scope: scopeText(scope),
    reason,
    createdAt: now,
    ...(tenant === undefined ? {} : { tenant }),
    ...(note === undefined ? {} : { note }),
    ...(expiresAt === undefined ? {} : { expiresAt: moment('expiresAt', expiresAt) }),
  }
}

const fields = new Set(['address', 'scope', 'reason', 'note', 'expiresAt'])

/** Each field read once. */
function taken(input: unknown): Partial<NewSuppression> {
  if (typeof input !== 'object' || input === null) throw refused('suppression', 'Must be { address, scope?, reason? }.')
  const unknown = Object.keys(input).find((name) => !fields.has(name))
  if (unknown !== undefined) throw refused('suppression', `Takes ${[...fields].join(', ')} only.`)
  try {
    return { ...input }
  } catch {
    throw refused('suppression', 'Threw while it was read; pass plain data.')
  }
}

/** Whatever form of address a mailer may be told to take can be suppressed. */
function keyOf(address: unknown): string {
  const mailbox = typeof address === 'string' ? parseMailbox(address, { literals: true, singleLabel: true }) : undefined
  if (!mailbox || isProblem(mailbox)) throw refused('address', mailbox?.message ?? 'Must be a bare mailbox.')
  return mailbox.key
}

function scopeText(scope: unknown): string {
  if (scope === 'all') return 'all'
  if (typeof scope === 'object' && scope !== null && Object.keys(scope).length === 1) {
    const { stream, topic } = scope as { stream?: unknown; topic?: unknown }
    if (stream === 'transactional' || stream === 'marketing') return `stream:${stream}`
    if (typeof topic === 'string' && /^[A-Za-z0-9_-]{1,128}$/.test(topic)) return `topic:${topic}`
  }
  throw refused('scope', "Must be 'all', { stream } or { topic }.")
}

function suppressionOf(entry: StoredSuppression): Suppression {
  const [kind, name] = entry.scope.split(/:(.*)/s) as [string, string | undefined]
  const scope = kind === 'all' ? 'all' : kind === 'stream' ? { stream: name } : { topic: name }
  return {
    address: entry.key,
    scope: scope as SuppressionScope,
    reason: entry.reason as SuppressionReason,
    createdAt: new Date(entry.createdAt).toISOString(),
    ...(entry.note === undefined ? {} : { note: entry.note }),
    ...(entry.expiresAt === undefined ? {} : { expiresAt: new Date(entry.expiresAt).toISOString() }),
  }
}
