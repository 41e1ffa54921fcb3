import type { MessageSnapshot } from './message.ts'

const headerBytes = 1_000
const partBytes = 300

/**
 * About how many bytes the message takes on the wire, never much too low: attachments and bodies as base64 with
 * line ends, a flat share for headers and boundaries.
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

/** As base64 with CRLF for every line end: no part takes more. */
function encodedText(text: string | undefined): number {
  if (text === undefined) return 0
  let lines = 0
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++
  return partBytes + base64Size(Buffer.byteLength(text) + lines)
}
