import { randomBytes } from 'node:crypto'
import type { Clock } from '../../clock.ts'
import { configurationError, MailError } from '../../errors.ts'
import type { Wire } from './client.ts'
import { failureOf, notInTime, unavailable } from './failure.ts'
import { GivenScripts } from './given-scripts.ts'
import { type Argument, flatten, type Script, script } from './script.ts'
import { ServerClock } from './server-clock.ts'

/** Milliseconds after which the server must not begin any more, and after which the caller is told. */
const serverDeadline = 1_500
const patience = 1_600
/** Too little time to try again. */
const tooLate = 1_200
/**
 * How much may wait in the client's own queue whose callers have gone, before others are refused at once. Without this the
 * client would keep every message of an outage.
 */
const mostAbandoned = 1_000
const mostAbandonedLength = 64 * 1024 * 1024
const probeEvery = 1_000

/** What a script answered: a word, and what belongs to it. */
export interface Answer {
  readonly state: string
  readonly values: readonly Value[]
}

export type Value = string | null | readonly Value[]

const hello = script('its first look', [], "return answer('ok')", { writes: false })

/**
 * Runs scripts: one round trip each, with a deadline by the server's own clock, so that a command that lay in a queue
 * while the connection was down does nothing when it arrives.
 */
export class Link {
  readonly #wire: Wire
  /** A key of the prefix, whose hash tag is that of all others. */
  readonly #key: string
  readonly #clock: Clock | undefined
  readonly #check: (send: (command: string[]) => Promise<Value>) => Promise<void>
  readonly #serverClock = new ServerClock()
  readonly #scripts: GivenScripts
  readonly #calls = new Set<Promise<unknown>>()
  readonly #nonce = randomBytes(9).toString('base64url')
  #count = 0
  #ready: Promise<void> | undefined
  /** When that began; Infinity once it is there. */
  #readying = 0
  #abandoned = 0
  #abandonedLength = 0
  #probedAt = Number.NEGATIVE_INFINITY
  #closed = false

  constructor(
    wire: Wire,
    prefix: string,
    clock: Clock | undefined,
    check: (send: (command: string[]) => Promise<Value>) => Promise<void>,
  ) {
    this.#wire = wire
    this.#key = `{${prefix}}:version`
    this.#clock = clock
    this.#check = check
    this.#scripts = new GivenScripts({
      send: (command) => this.#send(command),
      patience: serverDeadline,
      // It restarted, perhaps with other settings.
      onLost: () => {
        this.#ready = undefined
      },
    })
  }

  /** @throws MailError `STORE_UNAVAILABLE` when there is no certain answer in time; `CONFIGURATION_ERROR`; `CLOSED`. */
  async run(script: Script, args: readonly Argument[]): Promise<Answer> {
    if (this.#closed) throw new MailError('CLOSED', 'The Redis store is closed.', { retryable: false })
    if (!this.#wire.isOpen()) {
      throw unavailable('The Redis client is not connected: call its connect() before the mailer is used.')
    }
    this.#checkRoom()
    const flat = flatten(args)
    const call = this.#within(script, flat, this.#attempt(script, flat, performance.now()))
    this.#calls.add(call)
    try {
      return await call
    } catch (error) {
      throw failureOf(error, script.verb)
    } finally {
      this.#calls.delete(call)
    }
  }

  /** Waits for the calls under way, which end within two seconds. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled(this.#calls)
  }

  async #attempt(script: Script, args: readonly string[], started: number): Promise<Answer> {
    await this.#prepare(started)
    const answer = await this.#evaluate(script, args, started)
    // The server's clock was set forth: from this answer we know by how much.
    const again = answer.state === 'late' && performance.now() - started < tooLate
    return this.#usable(script, again ? await this.#evaluate(script, args, started) : answer)
  }

  #usable({ verb }: Script, answer: Answer): Answer {
    if (answer.state === 'late')
      throw unavailable(`Redis got ${verb} too late and did not do it; check the connection.`)
    if (answer.state === 'again') {
      throw unavailable(`The connection to Redis was lost before ${verb} was answered. Nothing is assumed.`)
    }
    if (answer.state === 'newer') {
      throw configurationError(
        'A newer release of Sendwright has written this Redis prefix; upgrade this process, or give it a prefix of its own.',
      )
    }
    return answer
  }

  /** Whoever comes first looks at the server for all; one who has waited in vain is not waited for by others. */
  async #prepare(started: number): Promise<void> {
    if (!this.#ready || started - this.#readying > patience) {
      this.#readying = started
      this.#ready = this.#setUp(started)
    }
    const ready = this.#ready
    try {
      await ready
      if (this.#ready === ready) this.#readying = Number.POSITIVE_INFINITY
    } catch (error) {
      if (this.#ready === ready) this.#ready = undefined
      throw error
    }
  }

  async #setUp(started: number): Promise<void> {
    this.#usable(hello, await this.#evaluate(hello, [], started))
    await this.#check(async (command) => plain(await this.#send(command)))
  }

  async #evaluate(script: Script, args: readonly string[], started: number): Promise<Answer> {
    const sent = performance.now()
    const left = started + serverDeadline - sent
    if (left <= 0) throw notInTime(script.verb)
    const hasDeadline = this.#serverClock.known && script !== hello
    const deadline = hasDeadline ? this.#serverClock.at(started + serverDeadline) : Number.MAX_SAFE_INTEGER
    const now = this.#clock ? [this.#clock.monotonic(), this.#clock.now()].map(String) : ['', '']
    const nonce = script.guarded && this.#wire.repeats ? `${this.#nonce}${(this.#count++).toString(36)}` : ''
    const rest = ['1', this.#key, String(deadline), ...now, nonce, ...args] as string[]
    const answer = readAnswer(script, await this.#scripts.run(script, rest, started))
    const received = performance.now()
    if (received - sent < patience) this.#serverClock.learn(answer.serverTime, received)
    return answer
  }

  async #send(command: string[]): Promise<unknown> {
    return this.#wire.send(this.#key, command)
  }

  #checkRoom(): void {
    if (this.#abandoned < mostAbandoned && this.#abandonedLength < mostAbandonedLength) return
    const now = performance.now()
    if (now - this.#probedAt < probeEvery) {
      throw unavailable('Redis has not answered many calls, so others are refused at once; check the server.')
    }
    this.#probedAt = now
  }

  /** Gives up after `patience`, and keeps account of what the client still holds then. */
  #within({ verb }: Script, args: readonly string[], work: Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      let left = false
      let abandoned = 0
      const timer = setTimeout(() => {
        abandoned = args.reduce((sum, { length }) => sum + length, 0)
        this.#abandoned++
        this.#abandonedLength += abandoned
        left = true
        reject(unavailable(`Redis did not answer ${verb} within ${patience} ms; check the server and the connection.`))
      }, patience)
      const done = () => {
        clearTimeout(timer)
        if (!left) return
        this.#abandoned--
        this.#abandonedLength -= abandoned
      }
      work.then(resolve, reject).finally(done)
    })
  }
}

function readAnswer({ verb }: Script, reply: unknown): Answer & { readonly serverTime: number } {
  const values = plain(reply)
  if (Array.isArray(values)) {
    const [state, serverTime, ...rest] = values as readonly Value[]
    if (typeof state === 'string' && typeof serverTime === 'string') {
      return { state, serverTime: Number(serverTime), values: rest }
    }
  }
  throw unavailable(`Redis gave no usable answer to ${verb}.`)
}

/** Texts, lists and nothing, whatever the client makes of replies by its own settings. */
function plain(reply: unknown): Value {
  if (typeof reply === 'string' || reply === null) return reply
  if (Array.isArray(reply)) return reply.map(plain)
  if (reply instanceof Uint8Array) return Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength).toString('utf8')
  if (reply instanceof Map) return [...reply].flat().map(plain)
  if (typeof reply === 'object' && reply !== undefined) return Object.entries(reply).flat().map(plain)
  return reply === undefined ? null : String(reply)
}
