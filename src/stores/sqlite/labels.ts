import { crc32 } from 'node:zlib'
import { labelsOf } from '../row-record.ts'
import type { Row } from '../store.ts'
import type { Connection } from './connection.ts'

/** What a message can be found by. */
export type LabelKind = 'recipient' | 'tag' | 'provider id'

/** A message as labels know it. */
export interface Labelled {
  readonly number: number
  readonly created_at: number
}

/**
 * A label: a checksum, so whoever follows it looks whether the message is meant. As 32 bits with a sign it takes the least
 * room. Provider ids are the same for every tenant.
 */
export const labelOf = (kind: LabelKind, tenant: string | undefined, value: string): number =>
  crc32(JSON.stringify([kind, tenant, value])) | 0

/** Tells cheaply whether a row is listed under other labels than before. Null for a row that is not listed. */
export function labelsChecksum({ accepted, tenant, createdAt, tags, recipients }: Row): number | null {
  if (!accepted) return null
  return crc32(JSON.stringify([tenant, createdAt, tags, recipients.map(({ address }) => address)])) | 0
}

/** What a row is listed under, apart from its status. */
export function listLabels(row: Row): number[] {
  const { recipients, tags } = labelsOf(row)
  return [
    ...recipients.map((key) => labelOf('recipient', row.tenant, key)),
    ...tags.map((tag) => labelOf('tag', row.tenant, tag)),
  ]
}

export const providerLabel = (providerId: string): number => labelOf('provider id', undefined, providerId)

export function addLabels(connection: Connection, { number, created_at }: Labelled, labels: readonly number[]): void {
  for (const label of labels) {
    connection.run(
      'INSERT INTO sendwright_labels (label, created_at, number) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
      label,
      created_at,
      number,
    )
  }
}

export function removeLabels(
  connection: Connection,
  { number, created_at }: Labelled,
  labels: readonly number[],
): void {
  for (const label of labels) {
    connection.run(
      'DELETE FROM sendwright_labels WHERE label = ? AND created_at = ? AND number = ?',
      label,
      created_at,
      number,
    )
  }
}
