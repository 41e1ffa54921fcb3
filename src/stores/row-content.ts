import type { Row } from './store.ts'

/** Memory a row's content takes, about: two bytes a character and the bytes of attachments. */
export function contentBytes({ work }: Row): number {
  if (!work) return 0
  const { text, html, calendar, headers, attachments } = work.message
  let bytes = 2 * ((text?.length ?? 0) + (html?.length ?? 0) + (calendar?.content.length ?? 0))
  for (const { name, value } of headers) bytes += 2 * (name.length + value.length)
  for (const { content } of attachments) bytes += content.byteLength
  return bytes
}

/** The row without what the queue needed to dispatch it. */
export function withoutContent({ work: _, ...row }: Row): Row {
  return row
}
