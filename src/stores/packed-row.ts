import type { Attempt } from '../receipt.ts'
import type { Row, RowRecipient } from './store.ts'

/**
 * A settled row as one short text. Nobody writes it any more and few ask for it again, and as objects a hundred thousand
 * of them would take three times the memory.
 */
export type PackedRow = string

/** What the memory store knows of a row besides. */
export interface Kept {
  readonly place: number
  readonly keptUntil: number
}

/** Rows with content or events stay as they are: they are few, and content is no JSON. */
export const isPackable = (row: Row): boolean => row.work === undefined && row.events === undefined

/** @returns what `unpackRow` gives back, field for field. */
export function packRow(row: Row, { place, keptUntil }: Kept): PackedRow {
  return JSON.stringify([
    [place, keptUntil],
    [row.id, row.kind, row.status, row.messageId, row.from, row.subject, row.stream],
    [row.accepted, row.sandbox, row.priority, row.createdAt, row.runs],
    [row.tenant, row.key, row.fingerprint, row.provider, row.providerMessageId],
    [row.sentAt, row.dueAt, row.notAfter],
    row.lastError,
    row.tags,
    row.recipients.map(({ address, field, status, reason }) => [address, field, status, reason]),
    row.attempts.map(({ number, provider, startedAt, duration, outcome, code, evidence }) => [
      number,
      provider,
      Date.parse(startedAt),
      duration,
      outcome,
      code,
      evidence,
    ]),
  ])
}

export function unpackRow(packed: PackedRow): Kept & { readonly row: Row } {
  const [[place, keptUntil], texts, facts, names, times, lastError, tags, recipients, attempts] = JSON.parse(
    packed,
  ) as Parsed
  const [id, kind, status, messageId, from, subject, stream] = texts
  const [accepted, sandbox, priority, createdAt, runs] = facts
  const [tenant, key, fingerprint, provider, providerMessageId] = names
  const [sentAt, dueAt, notAfter] = times
  const row: Row = {
    v: 1,
    id,
    kind,
    accepted,
    status,
    messageId,
    from,
    subject,
    stream,
    tags,
    recipients: recipients.map(
      ([address, field, state, reason]): RowRecipient => ({ address, field, status: state, ...given({ reason }) }),
    ),
    attempts: attempts.map(
      ([number, name, startedAt, duration, outcome, code, evidence]): Attempt => ({
        number,
        provider: name,
        startedAt: new Date(startedAt).toISOString(),
        ...given({ duration, outcome, code, evidence }),
      }),
    ),
    sandbox,
    priority,
    createdAt,
    runs,
    ...given({ tenant, key, fingerprint, provider, providerMessageId, sentAt, dueAt, notAfter, lastError }),
  }
  return { row, place, keptUntil }
}

type Optional<T> = T | null

type Parsed = [
  kept: [number, number],
  texts: [string, Row['kind'], Row['status'], string, string, string, Row['stream']],
  facts: [boolean, boolean, number, number, number],
  names: [Optional<string>, Optional<string>, Optional<string>, Optional<string>, Optional<string>],
  times: [Optional<number>, Optional<number>, Optional<number>],
  lastError: Optional<NonNullable<Row['lastError']>>,
  tags: string[],
  recipients: [string, RowRecipient['field'], RowRecipient['status'], Optional<string>][],
  attempts: [
    number,
    string,
    number,
    Optional<number>,
    Optional<NonNullable<Attempt['outcome']>>,
    Optional<string>,
    Optional<string>,
  ][],
]

/** Without the fields JSON made null of undefined. */
function given<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)) as {
    [K in keyof T]?: NonNullable<T[K]>
  }
}
