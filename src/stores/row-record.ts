import { crc32 } from 'node:zlib'
import { MailError } from '../errors.ts'
import { mailboxKey } from '../message/address.ts'
import { rowFromJson, rowToJson } from './row-json.ts'
import type { Row } from './store.ts'

/** A row as the engines keep it: what it says, and apart from that the content, which is dropped sooner. */
export interface RowRecord {
  readonly body: string
  readonly content?: string
}

/** Text with a checksum before it, so that a torn record is noticed rather than believed. */
const seal = (text: string) => crc32(text).toString(16).padStart(8, '0') + text

function unseal(id: string, sealed: unknown): unknown {
  if (typeof sealed !== 'string' || sealed.length < 8) throw unreadable(id)
  const text = sealed.slice(8)
  if (crc32(text) !== Number.parseInt(sealed.slice(0, 8), 16)) throw unreadable(id)
  return JSON.parse(text)
}

export function recordOfRow(row: Row): RowRecord {
  const { work, ...rest } = rowToJson(row) as Record<string, unknown>
  const body = seal(JSON.stringify(rest))
  return work === undefined ? { body } : { body, content: seal(JSON.stringify(work)) }
}

/** @throws MailError `STORE_UNAVAILABLE` for a record that is torn, or of a version this release does not know. */
export function rowOfRecord(id: string, { body, content }: { body: unknown; content?: unknown }): Row {
  const row = unseal(id, body) as Row
  if (row.v !== 1 || row.id !== id) throw unreadable(id)
  return content === undefined || content === null
    ? row
    : rowFromJson({ ...row, work: unseal(id, content) } as ReturnType<typeof rowToJson>)
}

const unreadable = (id: string) =>
  new MailError(
    'STORE_UNAVAILABLE',
    `The stored row of ${id} cannot be read: it is torn, or a newer release wrote it.`,
    {
      id,
    },
  )

/** What a row is listed under besides its tenant, time and status: mailbox keys and tags, each once. */
export function labelsOf({ recipients, tags }: Row): { readonly recipients: string[]; readonly tags: string[] } {
  const keys = recipients.map(({ address }) => mailboxKey(address) ?? address)
  return { recipients: [...new Set(keys)], tags: [...new Set(tags)] }
}
