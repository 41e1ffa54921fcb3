import { crc32 } from 'node:zlib'
import { labelsOf } from '../row-record.ts'
import type { Row } from '../store.ts'
import type { Connection } from './connection.ts'
import { type SqlText, tenantToSql, toSql } from './sql-text.ts'

/** What a row is listed under, apart from its status. */
export type LabelKind = 'recipient' | 'tag'

/** Tells cheaply whether the labels of a row, or their place in the lists, changed. Null for a row that is not listed. */
export function labelsChecksum({ accepted, tenant, createdAt, tags, recipients }: Row): number | null {
  if (!accepted) return null
  return crc32(JSON.stringify([tenant, createdAt, tags, recipients.map(({ address }) => address)]))
}

export function addLabels(connection: Connection, row: Row): void {
  for (const [kind, value] of labels(row)) {
    connection.run(
      'INSERT INTO sendwright_labels (kind, tenant, value, created_at, id) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
      kind,
      tenantToSql(row.tenant),
      value,
      row.createdAt,
      toSql(row.id),
    )
  }
}

export function removeLabels(connection: Connection, row: Row): void {
  for (const [kind, value] of labels(row)) {
    connection.run(
      'DELETE FROM sendwright_labels WHERE kind = ? AND tenant = ? AND value = ? AND created_at = ? AND id = ?',
      kind,
      tenantToSql(row.tenant),
      value,
      row.createdAt,
      toSql(row.id),
    )
  }
}

function* labels(row: Row): Generator<readonly [LabelKind, SqlText]> {
  const { recipients, tags } = labelsOf(row)
  for (const recipient of recipients) yield ['recipient', toSql(recipient)]
  for (const tag of tags) yield ['tag', toSql(tag)]
}
