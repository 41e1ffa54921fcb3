import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { RawMail } from './parse-mail.ts'
import type { Fault, FaultPoint } from './scripted-server.ts'

export interface SmtpServerOptions {
  /** Default `none`. With the other two the client has to trust `ca`. */
  readonly tls?: 'none' | 'starttls' | 'implicit'
  /** Makes login necessary. A token is what XOAUTH2 presents. Default: no AUTH is offered. */
  readonly auth?: { readonly user: string; readonly pass: string } | { readonly user: string; readonly token: string }
  /** Most bytes of one message, announced as SIZE. Default: SIZE is not offered. */
  readonly size?: number
  /** Most recipients of one message; the others are answered 452 4.5.3. Default `Infinity`. */
  readonly recipients?: number
  /** Default true. */
  readonly smtputf8?: boolean
  /** Default true. */
  readonly pipelining?: boolean
  /** Writes every reply in pieces of one byte, each in a packet of its own. Default false. */
  readonly trickle?: boolean
}

/** What a session needs of its server. */
export interface SmtpPost {
  readonly options: SmtpServerOptions
  readonly commands: string[]
  /** The fault that strikes here, if any; it is used up by asking. */
  strike(at: FaultPoint, recipient?: string): Fault | undefined
  countBody(): void
  /** Files a mail and names its queue id. */
  accept(mail: Omit<RawMail, 'providerMessageId'>): string
  encrypt(socket: Socket): TLSSocket
}

/** What a whole refusal reads like at each point, by kind of fault. */
const refusals: Readonly<Record<FaultPoint, { readonly '4xx': string; readonly '5xx': string }>> = {
  connect: { '4xx': '421 4.3.2 Not now', '5xx': '554 5.3.2 Go away' },
  greeting: { '4xx': '421 4.3.2 Not now', '5xx': '554 5.3.2 Go away' },
  hello: { '4xx': '450 4.3.2 Not now', '5xx': '550 5.3.3 Who are you' },
  tls: { '4xx': '454 4.7.0 TLS not available now', '5xx': '554 5.7.3 No TLS here' },
  login: { '4xx': '454 4.7.0 Temporary authentication failure', '5xx': '535 5.7.8 Credentials invalid' },
  sender: { '4xx': '451 4.3.0 Try later', '5xx': '550 5.1.8 Sender refused' },
  envelope: { '4xx': '450 4.2.1 Mailbox busy', '5xx': '550 5.1.1 No such user' },
  data: { '4xx': '451 4.3.0 Try later', '5xx': '554 5.7.1 Refused' },
  midBody: { '4xx': '451 4.3.0 Try later', '5xx': '554 5.6.0 Refused' },
  afterBody: { '4xx': '451 4.3.0 Try later', '5xx': '554 5.7.1 Refused as spam' },
  midAnswer: { '4xx': '451 4.3.0 Try later', '5xx': '554 5.7.1 Refused' },
}

const throttled = (at: FaultPoint) =>
  ['connect', 'greeting', 'hello', 'login'].includes(at)
    ? '421 4.7.0 Too many connections, slow down'
    : '451 4.7.0 Rate limit reached, slow down'

const crlf = '\r\n'
const endOfData = Buffer.from('\r\n.\r\n')

const isAscii = (text: string) => !/[^\0-\x7f]/.test(text)

type Mode = 'command' | 'data' | 'deaf' | 'login'

/** One connection of the scripted server. */
export class SmtpSession {
  readonly #raw: Socket
  readonly #post: SmtpPost
  #socket: Socket | TLSSocket
  #mode: Mode = 'command'
  #line = ''
  #body: Buffer[] = []
  /** What the client will answer to a 334. */
  #onLogin: ((answer: string) => void) | undefined
  #secure = false
  #loggedIn = false
  #deafToHello: Fault | undefined
  #from: string | undefined
  #utf8 = false
  #recipients: string[] = []

  constructor(socket: Socket, post: SmtpPost) {
    this.#raw = socket
    this.#socket = socket
    this.#post = post
    socket.on('error', () => {})
  }

  start(): void {
    const fault = this.#post.strike('connect')
    if (fault !== undefined) {
      if (fault.kind === 'stall') this.#listen()
      else if (fault.kind === 'close') this.destroy()
      else this.#reset()
      this.#mode = 'deaf'
    } else if (this.#post.options.tls !== 'implicit') {
      this.#listen()
      this.#greet()
    } else if (!this.#struck('tls')) this.#encrypt(() => this.#greet())
  }

  leave(how: 'close' | 'reset' | '421'): void {
    if (how === 'reset') {
      this.#reset()
      return
    }
    if (how === '421') this.#reply('421 4.3.2 Closing the channel')
    this.#socket.end()
  }

  destroy(): void {
    this.#mode = 'deaf'
    this.#raw.destroy()
  }

  #reset(): void {
    this.#mode = 'deaf'
    this.#raw.resetAndDestroy()
  }

  #greet(): void {
    const fault = this.#post.strike('greeting')
    if (fault !== undefined) this.#fail(fault)
    else this.#reply('220 scripted.test ESMTP')
  }

  #listen(): void {
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk))
    this.#socket.on('error', () => {})
  }

  #encrypt(then: () => void): void {
    this.#socket.removeAllListeners('data')
    this.#socket = this.#post.encrypt(this.#raw)
    this.#line = ''
    this.#listen()
    this.#socket.once('secure', () => {
      this.#secure = true
      then()
    })
  }

  #read(chunk: Buffer): void {
    if (this.#mode === 'deaf') return
    if (this.#mode === 'data') {
      this.#readBody(chunk)
      return
    }
    this.#line += chunk.toString('latin1')
    for (;;) {
      const end = this.#line.indexOf(crlf)
      if (end === -1) return
      const line = Buffer.from(this.#line.slice(0, end), 'latin1').toString()
      this.#line = this.#line.slice(end + 2)
      if (this.#mode === 'login') this.#onLogin?.(line)
      else this.#command(line)
      if (this.#mode === 'command' || this.#mode === 'login') continue
      const rest = Buffer.from(this.#line, 'latin1')
      this.#line = ''
      if (rest.length > 0) this.#read(rest)
      return
    }
  }

  #command(line: string): void {
    const verb = line.split(' ', 1)[0]?.toUpperCase() ?? ''
    this.#post.commands.push(verb === 'AUTH' ? line.split(' ', 2).join(' ') : line)
    const reply = this.#answerTo(verb, line)
    if (reply !== undefined) this.#reply(reply)
  }

  /** The reply; undefined when a fault struck or the handler has replied itself. */
  #answerTo(verb: string, line: string): string | undefined {
    switch (verb) {
      case 'EHLO':
      case 'HELO':
        return this.#hello(verb)
      case 'STARTTLS':
        return this.#startTls()
      case 'AUTH':
        return this.#struck('login') ? undefined : this.#login(line)
      case 'MAIL':
        return this.#struck('sender') ? undefined : this.#mail(line)
      case 'RCPT':
        return this.#rcpt(line)
      case 'DATA':
        return this.#data()
      case 'RSET':
        this.#forget()
        return '250 2.0.0 Ok'
      case 'NOOP':
        return '250 2.0.0 Ok'
      case 'QUIT':
        this.#reply('221 2.0.0 Bye')
        this.#mode = 'deaf'
        this.#socket.end()
        return undefined
      default:
        return '500 5.5.2 What'
    }
  }

  #hello(verb: string): string | undefined {
    // A client that is refused EHLO tries HELO: the fault holds for both.
    const fault = this.#post.strike('hello') ?? (verb === 'HELO' ? this.#deafToHello : undefined)
    this.#deafToHello = fault
    if (fault !== undefined) {
      this.#fail(fault)
      return undefined
    }
    const { tls, auth, size, smtputf8 = true, pipelining = true } = this.#post.options
    const lines = ['scripted.test', '8BITMIME', 'ENHANCEDSTATUSCODES']
    if (pipelining) lines.push('PIPELINING')
    if (smtputf8) lines.push('SMTPUTF8')
    if (size !== undefined) lines.push(`SIZE ${size}`)
    if (tls === 'starttls' && !this.#secure) lines.push('STARTTLS')
    if (auth !== undefined) lines.push('pass' in auth ? 'AUTH PLAIN LOGIN' : 'AUTH XOAUTH2')
    const offered = verb === 'HELO' ? ['scripted.test'] : lines
    return offered.map((text, index) => `250${index === offered.length - 1 ? ' ' : '-'}${text}`).join(crlf)
  }

  #startTls(): string | undefined {
    if (this.#post.options.tls !== 'starttls' || this.#secure) return '503 5.5.1 Not now'
    if (this.#struck('tls')) return undefined
    this.#reply('220 2.0.0 Go ahead')
    this.#forget()
    this.#encrypt(() => {})
    return undefined
  }

  #login(line: string): string {
    const { auth } = this.#post.options
    const [, mechanism = '', initial] = line.split(' ')
    if (auth === undefined) return '503 5.5.1 No AUTH here'
    const ask = (challenge: string, then: (answer: string) => string) => {
      this.#mode = 'login'
      this.#onLogin = (answer) => {
        this.#mode = 'command'
        this.#reply(then(Buffer.from(answer, 'base64').toString()))
      }
      return `334 ${challenge}`
    }
    const check = (right: boolean) => {
      this.#loggedIn = right
      return right ? '235 2.7.0 Welcome' : '535 5.7.8 Credentials invalid'
    }
    const single = (wanted: string) =>
      initial === undefined
        ? ask('', (answer) => check(answer === wanted))
        : check(Buffer.from(initial, 'base64').toString() === wanted)
    switch (mechanism.toUpperCase()) {
      case 'PLAIN':
        return single('pass' in auth ? `\0${auth.user}\0${auth.pass}` : '')
      case 'XOAUTH2':
        return single('token' in auth ? `user=${auth.user}\x01auth=Bearer ${auth.token}\x01\x01` : '')
      case 'LOGIN':
        return ask('VXNlcm5hbWU6', (user) =>
          ask('UGFzc3dvcmQ6', (pass) => check('pass' in auth && user === auth.user && pass === auth.pass)),
        )
      default:
        return '504 5.5.4 Unknown mechanism'
    }
  }

  #mail(line: string): string {
    const { auth, size, smtputf8 = true } = this.#post.options
    if (auth !== undefined && !this.#loggedIn) return '530 5.7.0 Authentication required'
    if (this.#from !== undefined) return '503 5.5.1 One at a time'
    const match = /^MAIL FROM:<([^<>]*)>(.*)$/i.exec(line)
    if (match === null) return '501 5.5.4 Syntax'
    const [, from = '', parameters = ''] = match
    const utf8 = /\bSMTPUTF8\b/i.test(parameters)
    if (utf8 && !smtputf8) return '555 5.5.4 SMTPUTF8 is not known here'
    if (!utf8 && !isAscii(from)) return '553 5.6.7 Address needs SMTPUTF8'
    const announced = Number(/\bSIZE=(\d+)/i.exec(parameters)?.[1] ?? 0)
    if (size !== undefined && announced > size) return '552 5.3.4 Message too big'
    this.#from = from
    this.#utf8 = utf8
    return '250 2.1.0 Ok'
  }

  #rcpt(line: string): string | undefined {
    const { recipients = Number.POSITIVE_INFINITY } = this.#post.options
    const address = /^RCPT TO:<([^<>]+)>/i.exec(line)?.[1]
    if (address === undefined) return '501 5.5.4 Syntax'
    if (this.#from === undefined) return '503 5.5.1 MAIL first'
    if (this.#struck('envelope', address)) return undefined
    if (!this.#utf8 && !isAscii(address)) return '553 5.6.7 Address needs SMTPUTF8'
    if (this.#recipients.length >= recipients) return '452 4.5.3 Too many recipients'
    this.#recipients.push(address)
    return '250 2.1.5 Ok'
  }

  #data(): string | undefined {
    if (this.#recipients.length === 0) return '503 5.5.1 RCPT first'
    if (this.#struck('data')) return undefined
    this.#mode = 'data'
    // So that a first line that is a dot ends the data as well.
    this.#body = [Buffer.from(crlf)]
    return '354 Go ahead'
  }

  #readBody(chunk: Buffer): void {
    const fault = this.#body.length === 1 ? this.#post.strike('midBody') : undefined
    if (fault !== undefined) {
      // A reply in mid-body leaves both sides out of step: nothing more is read, not even from the wire.
      if (!this.#fail(fault)) this.#socket.pause()
      this.#mode = 'deaf'
      return
    }
    this.#body.push(chunk)
    if (this.#body.length > 512) this.#body = [Buffer.concat(this.#body)]
    const overlap = this.#overlap(chunk.length)
    const found = Buffer.concat([overlap, chunk]).indexOf(endOfData)
    if (found === -1) return
    const whole = Buffer.concat(this.#body)
    const end = whole.length - chunk.length - overlap.length + found
    this.#body = [whole.subarray(crlf.length, Math.max(end + crlf.length, crlf.length))]
    this.#mode = 'command'
    this.#finish()
    const rest = whole.subarray(end + endOfData.length)
    if (rest.length > 0) this.#read(rest)
  }

  /** The last bytes before the newest chunk, where the end of the data may have begun. */
  #overlap(newest: number): Buffer {
    const wanted = endOfData.length - 1
    const pieces: Buffer[] = []
    let length = 0
    for (let at = this.#body.length - (newest === 0 ? 1 : 2); at >= 0 && length < wanted; at--) {
      const piece = this.#body[at]?.subarray(-wanted + length)
      if (piece === undefined) break
      pieces.unshift(piece)
      length += piece.length
    }
    return Buffer.concat(pieces).subarray(-wanted)
  }

  #finish(): void {
    const { size = Number.POSITIVE_INFINITY } = this.#post.options
    const raw = unstuffed(Buffer.concat(this.#body))
    const mail = { raw, recipients: this.#recipients, envelopeFrom: this.#from ?? '' }
    this.#forget()
    this.#post.countBody()
    const after = this.#post.strike('afterBody')
    if (after !== undefined) {
      if (['reset', 'close', 'stall', 'garbage'].includes(after.kind)) this.#post.accept(mail)
      this.#fail(after)
      return
    }
    if (raw.length > size) {
      this.#reply('552 5.3.4 Message too big')
      return
    }
    const cut = this.#post.strike('midAnswer')
    const id = this.#post.accept(mail)
    if (cut === undefined) {
      this.#reply(`250 2.0.0 Ok: queued as ${id}`)
      return
    }
    this.#socket.write('250-2.0.0 Ok\r\n250 2.0.0 queu', () => {
      if (cut.kind === 'reset') this.#reset()
      else if (cut.kind === 'stall') this.#mode = 'deaf'
      else this.#socket.end()
    })
    this.#mode = 'deaf'
  }

  #forget(): void {
    this.#from = undefined
    this.#recipients = []
    this.#body = []
  }

  #struck(at: FaultPoint, recipient?: string): boolean {
    const fault = this.#post.strike(at, recipient)
    if (fault !== undefined) this.#fail(fault)
    return fault !== undefined
  }

  /** Plays a fault. True when the connection is gone after it. */
  #fail({ at, kind }: Fault): boolean {
    switch (kind) {
      case 'reset':
        this.#reset()
        return true
      case 'close':
        this.#mode = 'deaf'
        this.#socket.end()
        return true
      case 'stall':
        this.#mode = 'deaf'
        return false
      case 'garbage':
        this.#reply('\x00\x7f<html>nonsense')
        return false
      default: {
        const refusal =
          kind === 'throttle' ? throttled(at) : refusals[at][kind === 'refuse' ? '5xx' : kind === '4xx' ? '4xx' : '5xx']
        this.#reply(refusal)
        if (refusal.startsWith('421')) this.#socket.end()
        return refusal.startsWith('421')
      }
    }
  }

  #reply(text: string): void {
    if (this.#mode === 'deaf') return
    const bytes = Buffer.from(text + crlf)
    if (!this.#post.options.trickle) this.#socket.write(bytes)
    else for (const byte of bytes) this.#socket.write(Buffer.of(byte))
  }
}

/** Takes away the dot that was put before each dot at the beginning of a line. */
function unstuffed(body: Buffer): Buffer {
  const pieces: Buffer[] = []
  let from = body[0] === 0x2e ? 1 : 0
  for (;;) {
    const at = body.indexOf('\r\n.', from)
    if (at === -1) break
    pieces.push(body.subarray(from, at + 2))
    from = at + 3
  }
  pieces.push(body.subarray(from))
  return Buffer.concat(pieces)
}
