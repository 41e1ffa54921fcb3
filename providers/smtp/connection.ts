import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import type SMTPConnection from 'nodemailer/lib/smtp-connection'
import type { SMTPConnectionAuth } from 'nodemailer/lib/smtp-connection'
import { Body } from './body.ts'
import type { SmtpSettings, SmtpTls } from './options.ts'
import type { Break, Failure, Stage, Transcript } from './outcome.ts'

/** One message on its way over a connection. */
export interface Transaction {
  readonly from: string
  readonly recipients: readonly string[]
  /** A mailbox in envelope or header fields has a local part that is not ASCII (INVARIANTS O9). */
  readonly utf8: boolean
  /** Lines end in CRLF and nothing else; dots are not stuffed yet. */
  readonly bytes: Buffer
}

/** The parts of nodemailer's errors that are read. */
interface ProtocolError extends Error {
  readonly code?: string
  readonly originalCode?: string
  readonly command?: string
  readonly response?: string
  readonly recipient?: string
}

/** What nodemailer writes into the envelope object it was given. */
interface EnvelopeLog {
  readonly from: string
  readonly to: string[]
  readonly size: number
  readonly use8BitMime: boolean
  readonly rejectedErrors?: readonly ProtocolError[]
  readonly mailError?: ProtocolError
}

/** What the server's EHLO offered, which nodemailer keeps without publishing it; read with doubt. */
interface Offers {
  readonly _supportedExtensions?: unknown
}

const nobody: ReadonlyMap<string, string> = new Map()

/** How long, in milliseconds, a server may take to answer when no message depends on it. */
const farewellTime = 1_000

/**
 * An SMTP session for one message after another, over nodemailer's protocol client. What it adds is certainty: the message
 * bytes go to the socket from here, so that it is known whether the terminating dot can have left (INVARIANTS O3).
 */
export class Connection {
  readonly #smtp: SMTPConnection
  readonly #socketTimeout: number
  /** Settles the running operation; every operation ends through it exactly once. */
  #settle: ((failure: ProtocolError | Break) => void) | undefined
  #ended: ProtocolError | Break | undefined
  /** Called when the connection ends while nobody uses it. */
  onIdleEnd: (() => void) | undefined
  /** Messages tried so far. */
  used = 0

  private constructor(smtp: SMTPConnection, socketTimeout: number) {
    this.#smtp = smtp
    this.#socketTimeout = socketTimeout
    smtp.on('error', (error: ProtocolError) => this.#end(error))
    // nodemailer closes before it reports a 421: let the report come first.
    smtp.on('end', () => process.nextTick(() => this.#end('lost')))
  }

  /** Not yet connected; `connect` comes next. Loads nodemailer on first use. */
  static async create(settings: SmtpSettings, timeout: number): Promise<Connection> {
    const { default: SMTPConnection } = await import('nodemailer/lib/smtp-connection')
    const { host, port, tls, timeouts } = settings
    const within = (ms: number) => Math.max(1, Math.min(ms, timeout))
    const smtp = new SMTPConnection({
      host,
      port,
      secure: tls === 'implicit',
      requireTLS: tls === 'required',
      ignoreTLS: tls === 'none',
      opportunisticTLS: tls === 'opportunistic',
      name: settings.name,
      servername: settings.servername,
      tls: {
        rejectUnauthorized: true,
        ...(settings.ca === undefined ? {} : { ca: settings.ca }),
        ...(settings.servername === undefined ? {} : { servername: settings.servername }),
      },
      connectionTimeout: within(timeouts.connection),
      dnsTimeout: within(timeouts.connection),
      greetingTimeout: within(timeouts.greeting),
      socketTimeout: timeouts.socket,
      // Destroyed at once when closed: QUIT is said by `quit`, everything else is over.
      socketCloseTimeout: 0,
      maxResponseSize: 65_536,
    })
    return new Connection(smtp, timeouts.socket)
  }

  get alive(): boolean {
    return this.#ended === undefined
  }

  /** Connects, encrypts and logs in. */
  async open(tls: SmtpTls, login: (() => Promise<SMTPConnectionAuth>) | undefined): Promise<Failure | undefined> {
    const failed = await this.#run((done) => this.#smtp.connect((error) => done(error ?? undefined)))
    if (failed !== undefined) return failureOf(failed, 'connect')
    if (login === undefined) return undefined
    if (!this.#smtp.secure && tls !== 'none') {
      return { stage: 'tls', cause: 'unfit', text: 'no TLS offered, and credentials never travel in clear text:' }
    }
    if (!this.#smtp.allowsAuth) return { stage: 'login', cause: 'unfit', text: 'the server offers no AUTH' }
    const credentials = await login()
    const refused = await this.#run((done) => this.#smtp.login(credentials, (error) => done(error ?? undefined)))
    return refused === undefined ? undefined : failureOf(refused, 'login')
  }

  /** Hands one message over. Never rejects. */
  async send({ from, recipients, utf8, bytes }: Transaction): Promise<Transcript> {
    this.used++
    if (utf8 && !this.#offers('SMTPUTF8')) return failed({ stage: 'sender', cause: 'utf8' })
    // nodemailer says SMTPUTF8 for an envelope that needs it; header fields alone are at least declared as eight bits.
    const envelope: EnvelopeLog = { from, to: [...recipients], size: bytes.length, use8BitMime: utf8 }
    const body = new Body(bytes, () => this.#socket)
    let reply = ''
    const error = await this.#run((done) => {
      this.#smtp.send(envelope, body as unknown as Readable, (error, info) => {
        if (!error) reply = info.response
        done(error ?? undefined)
      })
    })
    // A server that answers before it has the whole message is out of step with us.
    if (body.stage === 'body') this.destroy()
    const refused = refusalsOf(envelope)
    if (error !== undefined) return { failure: failureOf(error, body.stage), refused }
    if (body.stage !== 'end') return { failure: { stage: 'body', cause: 'garbage' }, refused }
    if (!/^2\d\d(?:[ -]|$)/.test(reply)) {
      this.destroy()
      return { failure: { stage: 'end', cause: 'garbage' }, refused }
    }
    return { taken: reply, refused }
  }

  /** Ends a transaction that was refused half-way, so that the next one starts clean. False when that took a second. */
  async reset(): Promise<boolean> {
    const timer = setTimeout(() => this.destroy(), farewellTime)
    const error = await this.#run((done) => this.#smtp.reset((error) => done(error ?? undefined)))
    clearTimeout(timer)
    if (error !== undefined) this.destroy()
    return error === undefined
  }

  /** Unused: keeps no process alive, and the server's silence is no fault. */
  park(): void {
    this.#socket?.setTimeout(0)
    this.#socket?.unref()
  }

  unpark(): void {
    this.#socket?.setTimeout(this.#socketTimeout)
    this.#socket?.ref()
  }

  /** Says QUIT and waits for the end, a second at most. */
  async quit(): Promise<void> {
    if (!this.alive) return
    this.unpark()
    const timer = setTimeout(() => this.destroy(), farewellTime)
    await this.#run(() => this.#smtp.quit())
    clearTimeout(timer)
    this.destroy()
  }

  /** Cuts the connection. What runs on it settles with `cause`. */
  destroy(cause: Break = 'lost'): void {
    this.#end(cause)
    this.#smtp.close()
  }

  get #socket(): Socket | undefined {
    return this.#smtp._socket || undefined
  }

  #offers(extension: string): boolean {
    const extensions = (this.#smtp as unknown as Offers)._supportedExtensions
    return Array.isArray(extensions) && extensions.includes(extension)
  }

  #end(cause: ProtocolError | Break): void {
    if (this.#ended !== undefined) return
    this.#ended = cause
    if (this.#settle === undefined) this.onIdleEnd?.()
    else this.#settle(cause)
  }

  /** Runs one operation; undefined is success. nodemailer does not call back for every way a connection can end. */
  #run(start: (done: (error?: ProtocolError) => void) => void): Promise<ProtocolError | Break | undefined> {
    if (this.#ended !== undefined) return Promise.resolve(this.#ended)
    return new Promise((resolve) => {
      const settle = (result: ProtocolError | Break | undefined) => {
        if (this.#settle !== settle) return
        this.#settle = undefined
        resolve(result)
      }
      this.#settle = settle
      start(settle)
    })
  }
}

const failed = (failure: Failure): Transcript => ({ failure, refused: nobody })

/** A refused sender makes every RCPT fail as well; those replies say nothing about the recipients. */
function refusalsOf({ rejectedErrors = [], mailError }: EnvelopeLog): ReadonlyMap<string, string> {
  if (rejectedErrors.length === 0 || mailError !== undefined) return nobody
  return new Map(rejectedErrors.map(({ recipient = '', response = '' }) => [recipient, response]))
}

const stageOfCommand: Readonly<Record<string, Stage>> = {
  EHLO: 'hello',
  HELO: 'hello',
  STARTTLS: 'tls',
  'MAIL FROM': 'sender',
  'RCPT TO': 'recipient',
}

/** Reads nodemailer's error. `at` is where we know the conversation stood; it decides alone whether anything was taken. */
function failureOf(error: ProtocolError | Break, at: Stage): Failure {
  if (typeof error === 'string') return { stage: at, cause: error }
  const { code, command = '', response } = error
  const network = { code: error.originalCode ?? code }
  const inTransaction = at === 'sender' || at === 'body' || at === 'end'
  // What a dying connection left behind half-said is no whole reply.
  if (at === 'end' && code !== 'EMESSAGE') return { stage: at, cause: breakOf(error), ...network }
  if (inTransaction && code === 'EMESSAGE' && response === undefined) return { stage: 'sender', cause: 'size' }
  const stage = at === 'body' || at === 'end' ? at : stageOf(code, command, response, at)
  if (response !== undefined) return { stage, reply: response }
  return { stage, cause: breakOf(error), ...network }
}

function stageOf(code: string | undefined, command: string, response: string | undefined, at: Stage): Stage {
  if (code === 'ETLS') return 'tls'
  if (code === 'EPROTOCOL' && command === 'CONN' && at === 'connect' && response !== undefined) return 'greeting'
  if (command === 'DATA') return 'data'
  return stageOfCommand[command] ?? at
}

/** Certificate faults and protocol mismatches mend only when somebody acts; what else happens to a socket passes. */
const unfit = /^(?:ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|EREQUIRETLS|EPROTO$)/

function breakOf({ code, originalCode }: ProtocolError): Break {
  if (code === 'ETIMEDOUT') return 'timeout'
  if (code === 'EPROTOCOL') return 'garbage'
  if (originalCode !== undefined && unfit.test(originalCode)) return 'unfit'
  // Without a reply it is the OAuth2 token that could not be had; a code of its own means the network.
  return code === 'EAUTH' && originalCode === undefined ? 'token' : 'lost'
}
