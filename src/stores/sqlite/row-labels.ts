import type { Row } from '../store.ts'
import type { Connection } from './connection.ts'
import type { Draft } from './draft.ts'
import { addLabels, listLabels, providerLabel, removeLabels } from './labels.ts'
import { liveByNumber, rowOf, rowWithoutContent, type StoredRow, type WithBody } from './stored-row.ts'

/** Rows looked at for one provider id: other ids that have its checksum, or a provider that repeats itself. */
const mostAlike = 100

/** Makes a row that was just inserted findable. */
export function labelRow(connection: Connection, number: number, { row, labels }: Draft): void {
  const at = { number, created_at: row.createdAt }
  if (labels !== null) addLabels(connection, at, listLabels(row))
  if (row.providerMessageId !== undefined) addLabels(connection, at, [providerLabel(row.providerMessageId)])
}

/** @returns the provider ids that lead to the row besides the one in its new body, as JSON. */
export function relabelRow(connection: Connection, stored: StoredRow, { row, labels }: Draft): string | null {
  const at = { number: stored.number, created_at: row.createdAt }
  const relisted = labels !== stored.labels
  // What was written before has to be read only where it leads to the row otherwise than it will.
  const before =
    stored.has_provider_id || (relisted && stored.labels !== null) ? readableRow(connection, stored) : undefined
  if (relisted) {
    if (before && stored.labels !== null) removeLabels(connection, stored, listLabels(before))
    if (labels !== null) addLabels(connection, at, listLabels(row))
  }
  if (before?.providerMessageId === row.providerMessageId) return stored.earlier_provider_ids
  if (row.providerMessageId !== undefined) addLabels(connection, at, [providerLabel(row.providerMessageId)])
  if (before?.providerMessageId === undefined) return stored.earlier_provider_ids
  return JSON.stringify([...earlierIds(stored), before.providerMessageId])
}

export function unlabelRow(connection: Connection, stored: StoredRow): void {
  if (stored.labels === null && !stored.has_provider_id) return
  const row = readableRow(connection, stored)
  const providerIds = [...(row?.providerMessageId === undefined ? [] : [row.providerMessageId]), ...earlierIds(stored)]
  removeLabels(connection, stored, providerIds.map(providerLabel))
  if (row && stored.labels !== null) removeLabels(connection, stored, listLabels(row))
}

/** The newest row to which a provider gave this id. @throws MailError `STORE_UNAVAILABLE` when it cannot be read. */
export function findByProviderId(connection: Connection, providerId: string): Row | undefined {
  const labelled = connection.all<{ number: number }>(
    `SELECT number FROM sendwright_labels WHERE label = ? ORDER BY created_at DESC, number DESC LIMIT ${mostAlike}`,
    providerLabel(providerId),
  )
  for (const { number } of labelled) {
    const stored = liveByNumber(connection, number)
    if (!stored) continue
    const row = rowOf(connection, stored)
    if (row.providerMessageId === providerId || earlierIds(stored).includes(providerId)) return row
  }
  return undefined
}

const earlierIds = ({ earlier_provider_ids: json }: StoredRow): string[] =>
  json === null ? [] : (JSON.parse(json) as string[])

/** Of a torn row nothing is known. What led to it stays behind, and whoever follows it finds that it leads nowhere. */
function readableRow(connection: Connection, stored: StoredRow): Row | undefined {
  const { body } = connection.get<{ body: unknown }>(
    'SELECT body FROM sendwright_messages WHERE number = ?',
    stored.number,
  )!
  try {
    return rowWithoutContent({ ...stored, body } as WithBody)
  } catch {
    return undefined
  }
}
