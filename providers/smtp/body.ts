import type { Socket } from 'node:net'
import type { Transform } from 'node:stream'

/** Bytes given to the socket at once; above that its back-pressure is waited for. */
const slabBytes = 65_536

const dot = Buffer.from('.')

/**
 * The message, in the one shape nodemailer asks of a stream: something to `pipe`. It is called when the server wants the
 * message, and writes to the socket itself: slabs with back-pressure, dots stuffed, and the dot only with the last slab.
 */
export class Body {
  /** `sender` until the server asked for the message. */
  stage: 'sender' | 'body' | 'end' = 'sender'
  readonly #bytes: Buffer
  readonly #socket: () => Socket | undefined
  #at = 0
  #nextDot: number

  constructor(bytes: Buffer, socket: () => Socket | undefined) {
    this.#bytes = bytes
    this.#socket = socket
    this.#nextDot = bytes[0] === 0x2e ? -1 : bytes.indexOf('\n.')
    if (this.#nextDot === -1 && bytes[0] !== 0x2e) this.#nextDot = Number.POSITIVE_INFINITY
  }

  /** nodemailer's stuffing stream stays unused: what is written here is known to end its lines in CRLF. */
  pipe(stuffing: Transform): void {
    stuffing.unpipe()
    this.stage = 'body'
    this.#write()
  }

  #write(): void {
    const socket = this.#socket()
    if (socket === undefined || socket.destroyed || this.stage !== 'body') return
    const bytes = this.#bytes
    while (bytes.length - this.#at > slabBytes) {
      if (!socket.write(this.#slab(this.#at + slabBytes))) {
        socket.once('drain', () => this.#write())
        return
      }
    }
    socket.cork()
    const last = this.#slab(bytes.length)
    this.stage = 'end'
    socket.write(last)
    socket.write(bytes.at(-1) === 0x0a ? '.\r\n' : '\r\n.\r\n')
    socket.uncork()
  }

  /** The bytes up to `end`, with a dot before each dot that begins a line. */
  #slab(end: number): Buffer {
    if (this.#nextDot + 1 >= end) {
      const slab = this.#bytes.subarray(this.#at, end)
      this.#at = end
      return slab
    }
    const pieces: Buffer[] = []
    while (this.#nextDot + 1 < end) {
      pieces.push(this.#bytes.subarray(this.#at, this.#nextDot + 1), dot)
      this.#at = this.#nextDot + 1
      const next = this.#bytes.indexOf('\n.', this.#at)
      this.#nextDot = next === -1 ? Number.POSITIVE_INFINITY : next
    }
    pieces.push(this.#bytes.subarray(this.#at, end))
    this.#at = end
    return Buffer.concat(pieces)
  }
}
