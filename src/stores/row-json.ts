import type { Row } from './store.ts'

/** A row as plain JSON: its attachments' bytes are base64. */
export type RowJson = Record<string, unknown> & { readonly v: 1 }

interface WithContent {
  readonly work?: { readonly message: { readonly attachments: readonly { readonly content: unknown }[] } }
}

export const rowToJson = (row: Row): RowJson =>
  mapContent(row, (content) => Buffer.from(content as Uint8Array).toString('base64')) as unknown as RowJson

/** Trusts its input: it is what `rowToJson` made. */
export const rowFromJson = (json: RowJson): Row =>
  mapContent(json as WithContent, (content) => new Uint8Array(Buffer.from(content as string, 'base64'))) as Row

function mapContent<T extends WithContent>(row: T, change: (content: unknown) => unknown): WithContent {
  const { work } = row
  if (!work || work.message.attachments.length === 0) return row
  const attachments = work.message.attachments.map((attachment) => ({
    ...attachment,
    content: change(attachment.content),
  }))
  return { ...row, work: { ...work, message: { ...work.message, attachments } } }
}
