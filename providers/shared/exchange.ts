import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import { type FailureKind, handOverError, MailError } from '../../src/provider.ts'

/**
 * The one HTTP exchange under the adapters of HTTP APIs: one keep-alive pool per provider instance, one request per
 * attempt, no redirects, no proxies from the environment, no retries. An SDK builds, addresses and signs the request;
 * this module makes the call, so the outcome is known by construction: `failed` while no byte of the request was given to
 * the socket, `unknown` from then on until a whole answer is there.
 */

export interface HttpRequest {
  readonly method: string
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  /** At most 1 MB; what came beyond is dropped. */
  readonly body: Buffer
}

/** One attempt. */
export interface Call {
  /** Aborts at the deadline and when the caller gives up: for whatever is awaited before the request. */
  readonly signal: AbortSignal
  /** Makes the request; a second one is refused (INVARIANTS O4). Rejects with a `MailError`. */
  request(request: HttpRequest): Promise<HttpAnswer>
}

export interface CallContext {
  readonly signal?: AbortSignal
  /** Milliseconds. Default 30,000. */
  readonly timeout?: number
}

export interface ExchangeOptions {
  /** Milliseconds from the start of a connection to its readiness, TLS included. Default 10,000. */
  readonly connectTimeout?: number
}

const defaultTimeout = 30_000
const defaultConnectTimeout = 10_000
const longestBody = 1_000_000

// Shorter than what servers and load balancers keep an idle connection for (5 s in Node, 60 s at the providers): a
// connection closed under a request cannot be told from a lost answer. A `Keep-Alive: timeout=` of the server shortens it.
const idleTimeout = 4_000
const maxSockets = 50

/** Sockets that were connected, and secure where they had to be. */
const readySockets = new WeakSet<Socket>()

export class Exchange {
  readonly #connectTimeout: number
  #agents = new Agents()

  constructor(options: ExchangeOptions = {}) {
    this.#connectTimeout = options.connectTimeout ?? defaultConnectTimeout
  }

  /**
   * Runs `start`, which makes at most one `call.request`, and answers what came back. Whatever `start` does with the
   * answer or the failure is not waited for: SDKs wrap, retry and wait. If it fails before its request, `unprepared` says
   * what that means.
   */
  async run(
    context: CallContext,
    start: (call: Call) => Promise<unknown>,
    unprepared: (error: unknown) => MailError = notPrepared,
  ): Promise<HttpAnswer> {
    const agents = this.#agents
    agents.running++
    try {
      return await new Attempt(agents, this.#connectTimeout, context).run(start, unprepared)
    } finally {
      agents.running--
      agents.destroyIfDone()
    }
  }

  /** Ends the pool once what runs has ended. A later `run` opens a new one. */
  async close(): Promise<void> {
    const agents = this.#agents
    this.#agents = new Agents()
    await agents.close()
  }
}

class Agents {
  running = 0
  readonly http = new http.Agent({ keepAlive: true, timeout: idleTimeout, maxSockets })
  readonly https = new https.Agent({ keepAlive: true, timeout: idleTimeout, maxSockets })
  readonly #destroyed = Promise.withResolvers<void>()
  #closing = false

  close(): Promise<void> {
    this.#closing = true
    this.destroyIfDone()
    return this.#destroyed.promise
  }

  destroyIfDone(): void {
    if (!this.#closing || this.running > 0) return
    this.http.destroy()
    this.https.destroy()
    this.#destroyed.resolve()
  }
}

class Attempt implements Call {
  readonly #agents: Agents
  readonly #connectTimeout: number
  readonly #context: CallContext
  readonly #abort = new AbortController()
  readonly #end = Promise.withResolvers<HttpAnswer>()
  #begun = false
  /** From here on the provider may act on the request. */
  #sent = false

  constructor(agents: Agents, connectTimeout: number, context: CallContext) {
    this.#agents = agents
    this.#connectTimeout = connectTimeout
    this.#context = context
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  async run(start: (call: Call) => Promise<unknown>, unprepared: (error: unknown) => MailError): Promise<HttpAnswer> {
    const { signal, timeout = defaultTimeout } = this.#context
    const giveUp = () => this.#stop('aborted', 'given up by the caller')
    const timer = setTimeout(() => this.#stop('timeout', 'no answer within the deadline'), timeout)
    signal?.addEventListener('abort', giveUp, { once: true })
    try {
      if (signal?.aborted) giveUp()
      else this.#start(start, unprepared)
      return await this.#end.promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
    }
  }

  async request(request: HttpRequest): Promise<HttpAnswer> {
    if (this.#begun) throw failure('failed', 'configuration', 'one attempt makes one request')
    this.#begun = true
    try {
      let answer: HttpAnswer | undefined
      // A pooled connection found dead before a byte was written is no attempt; each one found is dropped.
      while (!answer) {
        if (this.signal.aborted) throw failure('failed', 'aborted', 'given up before the request')
        answer = await this.#exchange(request)
      }
      this.#end.resolve(answer)
      return answer
    } catch (error) {
      this.#end.reject(error)
      throw error
    }
  }

  #start(start: (call: Call) => Promise<unknown>, unprepared: (error: unknown) => MailError): void {
    start(this).then(
      () => this.#begun || this.#end.reject(failure('failed', 'configuration', 'the client made no request')),
      (error) => {
        if (this.#begun) return
        this.#begun = true
        this.#end.reject(error instanceof MailError ? error : unprepared(error))
      },
    )
  }

  /** Settles first, so that errors of the sockets torn down by the abort change nothing. */
  #stop(kind: 'aborted' | 'timeout', reason: string): void {
    this.#end.promise.catch(() => {})
    this.#end.reject(failure(this.#sent ? 'unknown' : 'failed', kind, reason))
    this.#abort.abort()
  }

  /** Undefined when a reused connection turned out to be dead before anything was written to it. */
  #exchange({ method, url, headers, body }: HttpRequest): Promise<HttpAnswer | undefined> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:'
      const length = body === undefined ? undefined : Buffer.byteLength(body)
      const request = (secure ? https : http).request(url, {
        method,
        agent: secure ? this.#agents.https : this.#agents.http,
        headers: length === undefined ? headers : { ...headers, 'Content-Length': length },
      })
      let connecting: NodeJS.Timeout | undefined
      let answering = false
      let reused = false
      const lost = (code: string | undefined) => {
        if (this.#sent)
          reject(failure('unknown', 'connection', 'the connection broke before a whole answer came', code))
        else if (reused) resolve(undefined)
        else reject(failure('failed', 'connection', 'no connection could be made', code))
      }
      const tearDown = () => request.destroy()
      const write = () => {
        clearTimeout(connecting)
        if (request.destroyed || !request.socket?.writable) return lost(undefined)
        this.#sent = true
        request.end(body)
      }
      this.signal.addEventListener('abort', tearDown, { once: true })
      request.once('socket', (socket) => {
        reused = readySockets.has(socket)
        // A close that already reached this machine shows itself in the poll phase between two immediates.
        if (reused) return setImmediate(() => setImmediate(write))
        connecting = setTimeout(() => {
          reject(failure('failed', 'timeout', 'no connection within its time'))
          tearDown()
        }, this.#connectTimeout)
        socket.once(secure ? 'secureConnect' : 'connect', () => {
          readySockets.add(socket)
          write()
        })
      })
      request.on('error', (error: NodeJS.ErrnoException) => lost(error.code))
      request.on('response', (response) => {
        answering = true
        readAnswer(response).then(resolve, (error: NodeJS.ErrnoException) => lost(error.code))
      })
      request.on('upgrade', (_, socket) => socket.destroy())
      request.on('close', () => {
        clearTimeout(connecting)
        this.signal.removeEventListener('abort', tearDown)
        if (!answering) lost(undefined)
      })
    })
  }
}

/** Rejects when the answer breaks off: half an answer says nothing about the mail. */
async function readAnswer(response: http.IncomingMessage): Promise<HttpAnswer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(length + chunk.length > longestBody ? chunk.subarray(0, longestBody - length) : chunk)
    length += chunk.length
    if (length > longestBody) break
  }
  if (length <= longestBody && !response.complete) throw new Error('the answer broke off')
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }
}

function failure(outcome: 'failed' | 'unknown', kind: FailureKind, reason: string, code?: string): MailError {
  return handOverError({ outcome, kind, reason, ...(code === undefined ? {} : { code }) })
}

/** Nothing of the error is shown: SDKs put keys and bodies into theirs. */
function notPrepared(): MailError {
  return failure('failed', 'configuration', 'the client could not build the request')
}
