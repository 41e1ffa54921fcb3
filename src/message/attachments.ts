import { setImmediate as nextTurn } from 'node:timers/promises'
import { types } from 'node:util'
import type { StreamSource } from './plain.ts'

/** Bytes, or the reason there are none. */
export type Bytes = Uint8Array | { readonly code: string; readonly message: string }

/** At most how many bytes text content stands for, without decoding it. */
export const mostDecoded = (content: string, encoding: unknown): number =>
  encoding === 'base64' ? Math.ceil(content.length * 0.75) : encoding === 'hex' ? content.length / 2 : content.length

/** `report.pdf` from `../../report.pdf`; empty when nothing readable is left (INVARIANTS F2). */
export function cleanFilename(filename: string): string {
  const base = filename.slice(Math.max(filename.lastIndexOf('/'), filename.lastIndexOf('\\')) + 1)
  const visible = base.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029"]/gu, '').trim()
  return visible === '.' || visible === '..' ? '' : visible
}

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const contentType = new RegExp(`^${token}/${token}(?: ?; ?${token}=(?:${token}|"[^"\\\\\\x00-\\x1f\\x7f-\\uffff]*"))*$`)

/** A strict `type/subtype` with parameters (RFC 2045), no multipart and no message type. */
export function isContentType(value: string): boolean {
  return value.length <= 200 && contentType.test(value) && !/^(?:multipart|message)\//i.test(value)
}

export const isContentId = (value: string): boolean => /^[!#-;=?-~]{1,78}$/.test(value)

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
  const last = compact.slice(-4)
  const sound =
    compact.length % 4 === 0 &&
    /^[A-Za-z0-9+/]*={0,2}$/.test(compact) &&
    // Bits that stand for no byte would be dropped in silence.
    Buffer.from(last, 'base64').toString('base64') === last
  if (!sound) return { code: 'invalid_base64', message: 'Is not valid base64 (RFC 4648 §4, padded).' }
  return within(Buffer.from(compact, 'base64'), limit)
}

/**
 * Reads a stream to its end, or until it has passed `limit` bytes, failed, or `signal` aborted; in those cases it is
 * told to stop and never awaited, since a hostile one may not answer. A stream without a single byte is refused: it was
 * read before.
 */
export async function readStream(source: StreamSource, limit: number, signal: AbortSignal): Promise<Bytes> {
  const sink = new ByteSink()
  let iterator: AsyncIterator<unknown> | undefined
  let giveUp = () => {}
  const onAbort = () => giveUp()
  signal.addEventListener('abort', onAbort, { once: true })
  const next = () =>
    new Promise<IteratorResult<unknown> | undefined>((resolve, reject) => {
      giveUp = () => resolve(undefined)
      if (signal.aborted) giveUp()
      else Promise.resolve(iterator!.next()).then(resolve, reject)
    })
  const refuse = (code: string, message: string): Bytes => {
    stop(iterator)
    return { code, message }
  }
  try {
    iterator = source.open()
    for (let count = 1; ; count++) {
      const result = await next()
      if (result === undefined) return refuse('stream_stalled', 'Did not end before the deadline or the signal.')
      if (result.done) break
      const { value } = result
      if (typeof value === 'string') {
        if (value.length > limit - sink.size) return refuse('too_large', tooLarge(limit).message)
        if (!value.isWellFormed()) return refuse('malformed_unicode', 'Yielded text with a lone surrogate.')
        sink.add(Buffer.from(value, 'utf8'))
      } else if (types.isUint8Array(value)) {
        if (value.byteLength > limit - sink.size) return refuse('too_large', tooLarge(limit).message)
        sink.add(value)
      } else return refuse('invalid_type', 'Must yield bytes or strings.')
      if (sink.size > limit) return refuse('too_large', tooLarge(limit).message)
      // A stream of endless empty chunks would otherwise never let a timer run.
      if (count % 256 === 0) await nextTurn()
    }
  } catch {
    return { code: 'stream_failed', message: 'Failed or was already consumed; pass a fresh stream or bytes.' }
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
  if (sink.size > 0) return sink.bytes()
  return {
    code: 'stream_empty',
    message: 'Yielded nothing: it was consumed before. For an empty file pass empty bytes.',
  }
}

/** Takes a copy of each chunk, since producers reuse their buffers; costs no object per chunk. */
class ByteSink {
  #buffer = new Uint8Array(0)
  #size = 0

  get size(): number {
    return this.#size
  }

  add(chunk: Uint8Array): void {
    const size = this.#size + chunk.byteLength
    if (size > this.#buffer.byteLength) {
      const larger = new Uint8Array(Math.max(size, 2 * this.#buffer.byteLength, 4_096))
      larger.set(this.#buffer.subarray(0, this.#size))
      this.#buffer = larger
    }
    this.#buffer.set(chunk, this.#size)
    this.#size = size
  }

  bytes(): Uint8Array {
    return this.#buffer.slice(0, this.#size)
  }
}

function stop(iterator: AsyncIterator<unknown> | undefined): void {
  try {
    Promise.resolve(iterator?.return?.()).catch(() => undefined)
  } catch {
    // It was asked; there is nothing else to be done.
  }
}

const tooLarge = (limit: number) => ({ code: 'too_large', message: `Is larger than ${limit} bytes.` })

export const within = (bytes: Uint8Array, limit: number): Bytes => (bytes.byteLength > limit ? tooLarge(limit) : bytes)
