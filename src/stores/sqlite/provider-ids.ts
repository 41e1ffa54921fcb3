import type { Row } from '../store.ts'
import type { Connection } from './connection.ts'
import { toSql } from './sql-text.ts'
import { liveByNumber, rowOf, rowWithoutContent, type StoredRow, type WithBody } from './stored-row.ts'

/**
 * Writes down the provider's id of a message.
 *
 * @param before The body as it is stored, for a row that has such an id already.
 * @returns the ids before this one, as the row keeps them.
 */
export function addProviderId(
  connection: Connection,
  row: Row,
  stored: Pick<StoredRow, 'number' | 'earlier_provider_ids'>,
  before?: WithBody,
): string | null {
  const earlier = before && readableProviderId(before)
  if (earlier === row.providerMessageId) return stored.earlier_provider_ids
  if (row.providerMessageId !== undefined) {
    connection.run(
      'INSERT INTO sendwright_provider_ids (provider_id, number) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET number = ?2',
      toSql(row.providerMessageId),
      stored.number,
    )
  }
  return earlier === undefined
    ? stored.earlier_provider_ids
    : JSON.stringify([...earlierIds(stored.earlier_provider_ids), earlier])
}

export function removeProviderIds(connection: Connection, stored: StoredRow, row: Row | undefined): void {
  const ids = [row?.providerMessageId, ...earlierIds(stored.earlier_provider_ids)]
  for (const id of ids) {
    if (id === undefined) continue
    connection.run('DELETE FROM sendwright_provider_ids WHERE provider_id = ? AND number = ?', toSql(id), stored.number)
  }
}

/** The row a provider gave this id. @throws MailError `STORE_UNAVAILABLE` when it cannot be read. */
export function findByProviderId(connection: Connection, providerId: string): Row | undefined {
  const found = connection.get<{ number: number }>(
    'SELECT number FROM sendwright_provider_ids WHERE provider_id = ?',
    toSql(providerId),
  )
  const stored = found && liveByNumber(connection, found.number)
  if (!stored) return undefined
  const row = rowOf(connection, stored)
  const own = row.providerMessageId === providerId || earlierIds(stored.earlier_provider_ids).includes(providerId)
  return own ? row : undefined
}

const earlierIds = (json: string | null): string[] => (json === null ? [] : (JSON.parse(json) as string[]))

function readableProviderId(stored: WithBody): string | undefined {
  try {
    return rowWithoutContent(stored).providerMessageId
  } catch {
    // Of a torn body nothing is known; the id it had stays behind and leads to no row.
    return undefined
  }
}
