import http from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { AcceptedMail, Fault, FaultKind, FaultPoint, ScriptedServer } from './scripted-server.ts'

/** What the scripted HTTP APIs share: connections, faults and the log. A dialect reads requests and words the answers. */

export interface HttpDialect {
  /** Whether this request hands mail over; faults strike only those. */
  handsOver(method: string, path: string): boolean
  /** Checks key and body, and says what the provider would. */
  answer(request: DialectRequest): DialectReply | Promise<DialectReply>
  /** How this provider words a refusal. */
  refusal(kind: RefusalKind, retryAfter: number): DialectReply
}

export type RefusalKind = 'refuse' | '4xx' | '5xx' | 'throttle' | 'login'

export interface DialectRequest {
  readonly method: string
  /** Without the query. */
  readonly path: string
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer
}

export interface DialectReply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** What was taken by this request: one mail per group of readers that see the same. */
  readonly mails?: readonly AcceptedMail[]
}

const points: readonly FaultPoint[] = ['connect', 'greeting', 'login', 'envelope', 'midBody', 'afterBody', 'midAnswer']
const refusals: ReadonlySet<FaultKind> = new Set(['refuse', '4xx', '5xx', 'throttle'])

/**
 * Faults strike in the order given. A fault at `connect` or `greeting` ends idle connections first, so that the next
 * hand-over meets it. `connect` with `refuse` stops listening until `reset()`; the other kinds strike once the connection
 * was taken, which a client over plain HTTP cannot tell from a lost answer.
 */
export class ScriptedHttpServer implements ScriptedServer {
  readonly host = '127.0.0.1'
  bodies = 0
  connections = 0
  readonly #dialect: HttpDialect
  /** Takes connections, so that those a fault strikes never reach the HTTP parser. */
  readonly #server = createServer({ noDelay: true }, (socket) => this.#connected(socket))
  readonly #http = http.createServer()
  readonly #sockets = new Set<Socket>()
  readonly #busy = new WeakSet<Socket>()
  #faults: { fault: Fault; left: number }[] = []
  #accepted: AcceptedMail[] = []
  #port = 0
  #closed: Promise<void> | undefined

  private constructor(dialect: HttpDialect) {
    this.#dialect = dialect
    this.#http.on('request', (request, response) => {
      this.#serve(request, response).catch(() => request.socket.destroy())
    })
  }

  static async start(dialect: HttpDialect): Promise<ScriptedHttpServer> {
    const server = new ScriptedHttpServer(dialect)
    await server.#listen(0)
    server.#port = (server.#server.address() as AddressInfo).port
    return server
  }

  get port(): number {
    return this.#port
  }

  get url(): string {
    return `http://${this.host}:${this.#port}`
  }

  async accepted(): Promise<readonly AcceptedMail[]> {
    return [...this.#accepted]
  }

  fail(fault: Fault): void {
    if (!points.includes(fault.at)) throw new Error(`an HTTP API has no fault point ${fault.at}`)
    if (fault.at === 'connect' || fault.at === 'greeting') this.#endIdle()
    if (fault.at === 'connect' && fault.kind === 'refuse') this.#server.close()
    else this.#faults.push({ fault, left: fault.times ?? 1 })
  }

  reset(): void {
    this.#faults = []
    this.#accepted = []
    if (!this.#server.listening && !this.#closed) void this.#listen(this.#port)
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      this.#server.close(() => resolve())
      for (const socket of this.#sockets) socket.destroy()
    })
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, this.host, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
  }

  #endIdle(): void {
    for (const socket of this.#sockets) if (!this.#busy.has(socket)) socket.destroy()
  }

  #connected(socket: Socket): void {
    this.connections++
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    const fault = this.#strike('connect') ?? this.#strike('greeting', (kind) => !refusals.has(kind))
    if (fault) breakOff(socket, fault.kind)
    else this.#http.emit('connection', socket)
  }

  #strike(at: FaultPoint, fits: (kind: FaultKind) => boolean = () => true): Fault | undefined {
    const next = this.#faults[0]
    if (next?.fault.at !== at || !fits(next.fault.kind)) return undefined
    if (--next.left <= 0) this.#faults.shift()
    return next.fault
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { socket, method = 'GET', headers } = request
    this.#busy.add(socket)
    response.on('close', () => this.#busy.delete(socket))
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
    const faulty = this.#dialect.handsOver(method, path)
    const strike = (at: FaultPoint) => (faulty ? this.#strike(at) : undefined)

    const login = strike('login')
    const early = login ?? strike('greeting') ?? strike('envelope')
    if (early) return this.#fault(response, early, login && 'login')
    const body = await readBody(request, () => strike('midBody'))
    if (!Buffer.isBuffer(body)) return this.#fault(response, body)
    if (faulty) this.bodies++

    const late = strike('afterBody')
    if (late && late.kind !== '5xx' && refusals.has(late.kind)) return this.#fault(response, late)
    const reply = await this.#dialect.answer({ method, path, headers, body })
    if (reply.mails) this.#accepted.push(...reply.mails)
    if (late) return this.#fault(response, late)
    const half = reply.mails && strike('midAnswer')
    if (half) return breakOff(socket, half.kind, reply)
    respond(response, reply)
  }

  #fault(response: http.ServerResponse, fault: Fault, as?: RefusalKind): void {
    const { kind, retryAfter = 1 } = fault
    if (!refusals.has(kind)) breakOff(response.socket, kind)
    else respond(response, this.#dialect.refusal(as ?? (kind as RefusalKind), retryAfter))
  }
}

/** The whole body, or the fault that struck once part of it was read. */
async function readBody(request: http.IncomingMessage, strike: () => Fault | undefined): Promise<Buffer | Fault> {
  const chunks: Buffer[] = []
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const fault = chunks.length === 0 ? strike() : undefined
    if (fault) return fault
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function respond(response: http.ServerResponse, { status, headers = {}, body = '' }: DialectReply): void {
  response.writeHead(status, { ...headers, 'Content-Length': Buffer.byteLength(body) })
  response.end(body)
}

/** Ends or freezes the connection, after half of `reply` if there is one. */
function breakOff(socket: Socket | null, kind: FaultKind, reply?: DialectReply): void {
  if (reply) socket?.write(kind === 'garbage' ? garbageAfterHead : halfOf(reply))
  if (kind === 'stall') return
  if (kind === 'garbage' && !reply) socket?.write(noHttp)
  if (kind === 'reset') socket?.resetAndDestroy()
  else socket?.end()
}

const noHttp = '\u0000\u0001 this is no answer\r\n\r\n'
const garbageAfterHead = 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<html><p>'

function halfOf({ status, headers = {}, body = '' }: DialectReply): string {
  const lines = Object.entries({ ...headers, 'Content-Length': String(Buffer.byteLength(body)) })
  const whole = `HTTP/1.1 ${status} OK\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`
  return whole.slice(0, whole.length >> 1)
}
