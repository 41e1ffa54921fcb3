import type { MessageSnapshot } from './message.ts'

const headerBytes = 1_000
const partBytes = 300

/**
 * About how many bytes the message takes on the wire, never much too low: attachments as base64 with line ends, bodies
 * as the dearer of their encodings, a flat share for headers and boundaries.
 */
export function encodedSize(message: MessageSnapshot): number {
  let bytes =
    headerBytes + encodedText(message.text) + encodedText(message.html) + encodedText(message.calendar?.content)
  for (const { content, filename } of message.attachments) {
    bytes += partBytes + 3 * filename.length + base64Size(content.byteLength)
  }
  for (const { name, value } of message.headers) bytes += name.length + 4 + 3 * value.length
  for (const list of [message.to, message.cc, message.replyTo]) {
    for (const { name, address } of list) bytes += address.length + 6 + 3 * (name?.length ?? 0)
  }
  return bytes + 3 * message.subject.length
}

const base64Size = (bytes: number) => Math.ceil((Math.ceil(bytes / 3) * 4 * 78) / 76)

/** Text that is not ASCII may be sent as base64; ASCII grows a little by soft line breaks. */
function encodedText(text: string | undefined): number {
  if (text === undefined) return 0
  const bytes = Buffer.byteLength(text)
  return partBytes + (bytes === text.length ? Math.ceil(bytes * 1.06) : base64Size(bytes))
}
