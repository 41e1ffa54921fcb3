import { setImmediate as nextTurn } from 'node:timers/promises'
import { types } from 'node:util'
import type { AttachmentContent } from './message.ts'

/** Bytes, or the reason there are none. */
export type Bytes = Uint8Array | { readonly code: string; readonly message: string }

/** `report.pdf` from `../../report.pdf`; empty when nothing readable is left (INVARIANTS F2). */
export function cleanFilename(filename: string): string {
  const base = filename.slice(Math.max(filename.lastIndexOf('/'), filename.lastIndexOf('\\')) + 1)
  const visible = base.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029"]/gu, '').trim()
  return visible === '.' || visible === '..' ? '' : visible
}

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const contentType = new RegExp(
  `^${token}/${token}(?:\\s?;\\s?${token}=(?:${token}|"[^"\\\\\\x00-\\x1f\\x7f-\\uffff]*"))*$`,
)

/** A strict `type/subtype` with parameters (RFC 2045), no multipart and no message type. */
export function isContentType(value: string): boolean {
  return value.length <= 200 && contentType.test(value) && !/^(?:multipart|message)\//i.test(value)
}

export const isContentId = (value: string): boolean => /^[!#-;=?A-~]{1,78}$/.test(value)

/** The bytes of text content in its named encoding. Nothing is truncated in silence (INVARIANTS F3). */
export function decodeContent(content: string, encoding: 'utf8' | 'base64' | 'hex', limit: number): Bytes {
  if (content.length > (encoding === 'hex' ? 2 * limit : 1.4 * limit + 4)) return tooLarge(limit)
  if (encoding === 'utf8') {
    if (!content.isWellFormed()) return { code: 'malformed_unicode', message: 'Holds a lone surrogate.' }
    return within(Buffer.from(content, 'utf8'), limit)
  }
  if (encoding === 'hex') {
    const sound = content.length % 2 === 0 && /^[0-9A-Fa-f]*$/.test(content)
    return sound ? within(Buffer.from(content, 'hex'), limit) : { code: 'invalid_hex', message: 'Is not valid hex.' }
  }
  const compact = content.replace(/[\r\n\t ]+/g, '')
  const sound = compact.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(compact)
  if (!sound) return { code: 'invalid_base64', message: 'Is not valid base64 (RFC 4648 §4, padded).' }
  return within(Buffer.from(compact, 'base64'), limit)
}

/** A private copy of bytes. */
export function copyBytes(bytes: Uint8Array | ArrayBufferLike, limit: number): Bytes {
  if (bytes.byteLength > limit) return tooLarge(limit)
  return new Uint8Array(types.isUint8Array(bytes) ? bytes : new Uint8Array(bytes))
}

/**
 * Reads a stream to its end, or until it has passed `limit` bytes, failed, or `signal` aborted; in those cases it is
 * told to stop and never awaited, since a hostile one may not answer.
 */
export async function readStream(stream: AsyncIterable<unknown>, limit: number, signal: AbortSignal): Promise<Bytes> {
  const chunks: Uint8Array[] = []
  let total = 0
  let count = 0
  let iterator: AsyncIterator<unknown> | undefined
  let onAbort: (() => void) | undefined
  const aborted = new Promise<'aborted'>((resolve) => {
    onAbort = () => resolve('aborted')
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
  const stop = (): void => {
    Promise.resolve(iterator?.return?.()).catch(() => undefined)
  }
  try {
    iterator = stream[Symbol.asyncIterator]()
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted])
      if (next === 'aborted') {
        stop()
        return { code: 'stream_stalled', message: 'Did not end before the deadline or the signal.' }
      }
      if (next.done) break
      const chunk = typeof next.value === 'string' ? Buffer.from(next.value, 'utf8') : next.value
      if (!types.isUint8Array(chunk)) {
        stop()
        return { code: 'invalid_type', message: 'Must yield bytes or strings.' }
      }
      total += chunk.byteLength
      if (total > limit) {
        stop()
        return tooLarge(limit)
      }
      // A stream of endless empty chunks would otherwise never let a timer run.
      if (++count % 256 === 0) await nextTurn()
      if (chunk.byteLength > 0) chunks.push(chunk)
    }
  } catch {
    return { code: 'stream_failed', message: 'Failed or was already consumed; pass a fresh stream or bytes.' }
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort)
  }
  return Buffer.concat(chunks, total)
}

export type StreamContent = Exclude<AttachmentContent, string | Uint8Array | ArrayBuffer>

const tooLarge = (limit: number) => ({ code: 'too_large', message: `Is larger than ${limit} bytes.` })

const within = (bytes: Uint8Array, limit: number): Bytes => (bytes.byteLength > limit ? tooLarge(limit) : bytes)
