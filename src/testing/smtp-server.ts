import { createServer } from 'node:net'
import { TLSSocket } from 'node:tls'
import { testCertificate } from './certificate.ts'
import type { RawMail } from './parse-mail.ts'
import { parseMail } from './parse-mail.ts'
import type { AcceptedMail, Fault, ScriptedServer } from './scripted-server.ts'
import { type SmtpPost, type SmtpServerOptions, SmtpSession } from './smtp-session.ts'

export type { SmtpServerOptions } from './smtp-session.ts'

export interface ScriptedSmtpServer extends ScriptedServer {
  /** PEM of the authority that signed the server's certificate. */
  readonly ca: string
  /** Every command line received, in order, over all connections; what AUTH carried is left out. */
  readonly commands: readonly string[]
  /** Connections open now. */
  readonly open: number
  /** The most connections that were open at once. */
  readonly peak: number
  /** What came over the wire of every accepted mail, unparsed. */
  readonly raw: readonly RawMail[]
  /** Resolves when the next fault strikes. */
  struck(): Promise<Fault>
  /** Ends every open connection as a server does that restarts or tires of idle clients. */
  disconnect(how: 'close' | 'reset' | '421'): void
}

/**
 * An SMTP server on loopback that fails where it is told to and keeps what it accepted. Raw sockets, no dependencies;
 * reading accepted mail (`accepted`) needs `postal-mime`.
 */
export async function createSmtpServer(options: SmtpServerOptions = {}): Promise<ScriptedSmtpServer> {
  const sessions = new Set<SmtpSession>()
  const log: RawMail[] = []
  const parsed: Promise<AcceptedMail>[] = []
  const faults: { readonly fault: Fault; left: number }[] = []
  const commands: string[] = []
  const awaiting: ((fault: Fault) => void)[] = []
  let bodies = 0
  let connections = 0
  let peak = 0
  let filed = 0

  const post: SmtpPost = {
    options,
    commands,
    strike(at, recipient) {
      for (const [index, entry] of faults.entries()) {
        // Faults strike in the order given; those of one point wait side by side, so that recipients may come in any order.
        if (entry.fault.at !== at) return undefined
        if (entry.fault.recipient !== undefined && entry.fault.recipient !== recipient) continue
        entry.left--
        if (entry.left <= 0) faults.splice(index, 1)
        for (const tell of awaiting.splice(0)) tell(entry.fault)
        return entry.fault
      }
      return undefined
    },
    countBody() {
      bodies++
    },
    accept(mail) {
      filed++
      const providerMessageId = `Q${filed.toString(16).toUpperCase().padStart(9, '0')}`
      log.push({ ...mail, providerMessageId })
      return providerMessageId
    },
    encrypt: (socket) =>
      new TLSSocket(socket, { isServer: true, key: testCertificate.key, cert: testCertificate.cert }),
  }

  const server = createServer({ noDelay: true }, (socket) => {
    connections++
    const session = new SmtpSession(socket, post)
    sessions.add(session)
    peak = Math.max(peak, sessions.size)
    socket.once('close', () => sessions.delete(session))
    session.start()
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('the server listens on no port')
  const { port } = address

  async function close(): Promise<void> {
    if (!server.listening) return
    const closed = new Promise((resolve) => server.close(resolve))
    for (const session of sessions) session.destroy()
    await closed
  }

  return {
    host: '127.0.0.1',
    port,
    url: urlOf(options, port),
    ca: testCertificate.ca,
    commands,
    raw: log,
    get bodies() {
      return bodies
    },
    get connections() {
      return connections
    },
    get open() {
      return sessions.size
    },
    get peak() {
      return peak
    },
    accepted() {
      for (const mail of log.slice(parsed.length)) parsed.push(parseMail(mail))
      return Promise.all(parsed)
    },
    fail(fault) {
      faults.push({ fault, left: fault.times ?? 1 })
    },
    struck: () => new Promise((resolve) => awaiting.push(resolve)),
    disconnect(how) {
      for (const session of sessions) session.leave(how)
    },
    reset() {
      faults.length = 0
      log.length = 0
      parsed.length = 0
      commands.length = 0
      bodies = 0
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function urlOf({ tls = 'none', auth }: SmtpServerOptions, port: number): string {
  const login =
    auth !== undefined && 'pass' in auth ? `${encodeURIComponent(auth.user)}:${encodeURIComponent(auth.pass)}@` : ''
  return `${tls === 'implicit' ? 'smtps' : 'smtp'}://${login}127.0.0.1:${port}${tls === 'none' ? '?tls=none' : ''}`
}
