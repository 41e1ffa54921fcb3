import { callOf, changeCall, narrow } from '../call.ts'
import type { Clock } from '../clock.ts'
import type { Deadline } from '../deadline.ts'
import type { Delivery } from '../delivery.ts'
import { configurationError, type FailureKind, type Issue, MailError, withDetails } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Entry } from '../ledger/entry.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { receiptOf } from '../ledger/record.ts'
import type { Send } from '../policies/policy.ts'
import type { BreakerChange } from '../routing/breaker.ts'
import { type Candidate, candidates } from './candidates.ts'
import { uncarried } from './carry.ts'

export interface RetryOptions {
  /** Each provider of the route is tried once a round. Default 3. */
  readonly rounds?: number
  /** Milliseconds: the pause before round n is a random part of `base * 2^(n - 2)`. Default 500. */
  readonly base?: number
  /** The longest pause, a provider's Retry-After included, in milliseconds. Default 30,000. */
  readonly longest?: number
  /** For queued messages: milliseconds until each later run. Default from 1 minute to 8 hours, over about a day. */
  readonly schedule?: readonly number[]
}

export interface RoundsParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly events: Events
  readonly random: () => number
  readonly retry: Required<RetryOptions>
}

/** The same provider may be asked again after these; after the others only the next one may. */
const kindsToRepeat: ReadonlySet<FailureKind> = new Set(['connection', 'timeout', 'transient', 'throttled'])

/**
 * The route: tries its providers in order, round after round, for those recipients nobody has taken. Goes on only after
 * `failed` (INVARIANTS O6, O7). `unknown` stops it unless the caller asked for at-least-once.
 */
export const rounds =
  (parts: RoundsParts) =>
  (attempt: Send): Send =>
  async (delivery) => {
    const entry = parts.ledger.entry(delivery.id)
    const run = new Run(parts, attempt, delivery, entry, candidates(delivery, parts.random))
    for (let round = 1; ; ) {
      await run.round()
      if (run.open().size === 0) return receiptOf(entry.row)
      if (run.handedOver && round === parts.retry.rounds) throw run.failure()
      await run.pause(round)
      // A round in which every provider was out of budget or asleep is not one.
      if (run.handedOver) round++
    }
  }

class Run {
  readonly #parts: RoundsParts
  readonly #attempt: Send
  readonly #delivery: Delivery
  readonly #entry: Entry
  readonly #deadline: Deadline
  readonly #candidates: readonly Candidate[]
  /** Providers not to be asked again. */
  readonly #spent = new Set<string>()
  /** Monotonic moments before which a provider asked to be left alone. */
  readonly #notBefore = new Map<string, number>()
  /** What fallbacks that were passed over could not carry. */
  readonly #uncarried: Issue[] = []
  #lastFailure: MailError | undefined
  #limited: MailError | undefined
  /** Those a limit stood in the way of this round. */
  readonly #outOfBudget = new Set<string>()
  /** The provider whose budget is waited for, when all are out of it. */
  #patientWith: string | undefined
  handedOver = false

  constructor(parts: RoundsParts, attempt: Send, delivery: Delivery, entry: Entry, all: readonly Candidate[]) {
    this.#parts = parts
    this.#attempt = attempt
    this.#delivery = delivery
    this.#entry = entry
    this.#deadline = callOf(delivery).deadline
    this.#candidates = all
  }

  open(): ReadonlySet<string> {
    return this.#entry.open(callOf(this.#delivery).onUnknown === 'resend')
  }

  async round(): Promise<void> {
    this.handedOver = false
    this.#limited = undefined
    this.#outOfBudget.clear()
    const patientWith = this.#patientWith
    this.#patientWith = undefined
    for (const candidate of this.#candidates) {
      if (patientWith !== undefined && candidate.name !== patientWith) continue
      const open = this.open()
      if (open.size === 0) return
      this.#requireTime()
      if (this.#spent.has(candidate.name)) continue
      const delivery = this.#deliveryFor(candidate, open)
      if (!delivery) continue
      if (patientWith !== undefined) await this.#try(candidate.name, changeCall(delivery, { patient: true }))
      else if (this.#awake(candidate.name)) await this.#try(candidate.name, delivery)
    }
  }

  /** What is left for this provider to do; undefined when it cannot carry that. */
  #deliveryFor({ name, provider, issues }: Candidate, open: ReadonlySet<string>): Delivery | undefined {
    const gone = new Set(
      this.#entry.row.recipients.filter(({ status }) => status === 'suppressed').map(({ address }) => address),
    )
    const shown = narrow(this.#delivery, ({ address }) => !gone.has(address), true)
    const left = narrow(shown, ({ address }) => open.has(address), false)
    const lacks = left === this.#delivery ? issues : uncarried(provider, left, left.message.providerOptions[name])
    if (lacks.length > 0) {
      this.#spent.add(name)
      this.#uncarried.push(...lacks)
      return undefined
    }
    return { ...left, attempt: { number: this.#entry.row.attempts.length + 1, provider: name } }
  }

  #awake(name: string): boolean {
    const { context } = callOf(this.#delivery)
    const asleep = context.breaker(name).wait
    if (asleep > 0) {
      this.#sleep(name, asleep)
      this.#lastFailure ??= new MailError('SEND_FAILED', `The breaker of provider '${name}' is open.`, {
        provider: name,
        retryAfter: asleep,
      })
    }
    return (this.#notBefore.get(name) ?? 0) <= this.#parts.clock.monotonic()
  }

  async #try(name: string, delivery: Delivery): Promise<void> {
    const breaker = callOf(delivery).context.breaker(name)
    const probe = breaker.begin()
    const before = this.#entry.row.attempts.length
    try {
      await this.#turn(delivery)
      if (this.#entry.row.attempts.length === before) throw noNext()
      this.handedOver = true
      this.#tell(name, breaker.succeeded(probe))
    } catch (thrown) {
      if (!(thrown instanceof MailError)) {
        breaker.withdraw(probe)
        throw thrown
      }
      if (thrown.outcome === undefined) {
        breaker.withdraw(probe)
        this.#refused(name, thrown)
      } else {
        this.handedOver = true
        this.#tell(name, breaker.failed(probe, thrown), thrown)
        this.#failed(name, thrown)
      }
    }
    // So that a crash from here on leaves no doubt about this attempt.
    const { row } = this.#entry
    if (row.attempts.length > before && this.open().size > 0) {
      await this.#parts.ledger.keep(this.#entry, row, this.#deadline.remaining)
    }
  }

  /** A policy may end before what it began: then the hand-over is waited for, so that the row tells the truth. */
  async #turn(delivery: Delivery): Promise<void> {
    this.#entry.beginTurn(delivery)
    try {
      await this.#attempt(delivery)
    } finally {
      await this.#entry.endTurn()
    }
  }

  #failed(name: string, error: MailError): void {
    // What may pass says more about the message's chances than what the next fallback would never take.
    if (error.retryable || !this.#lastFailure?.retryable) this.#lastFailure = error
    if (error.kind === undefined || !kindsToRepeat.has(error.kind)) this.#spent.add(name)
    if (error.retryAfter !== undefined) this.#sleep(name, error.retryAfter)
  }

  /** A policy stood in the way before anything was handed over: a limit lets the next provider try, all else ends it. */
  #refused(name: string, error: MailError): void {
    if (error.code !== 'SEND_LIMIT_EXCEEDED') throw error
    this.#outOfBudget.add(name)
    if (error.retryAfter === undefined) this.#spent.add(name)
    else this.#sleep(name, error.retryAfter)
    const sooner =
      (error.retryAfter ?? Number.POSITIVE_INFINITY) < (this.#limited?.retryAfter ?? Number.POSITIVE_INFINITY)
    if (this.#limited === undefined || sooner) this.#limited = error
  }

  #sleep(name: string, ms: number): void {
    this.#notBefore.set(name, this.#parts.clock.monotonic() + ms)
  }

  /** Waits until a provider may be asked again. @throws MailError when none may, or not in time. */
  async pause(round: number): Promise<void> {
    this.#requireTime()
    const { clock, random, retry } = this.#parts
    const usable = this.#candidates.filter(({ name }) => !this.#spent.has(name))
    if (usable.length === 0) throw this.failure()
    const now = clock.monotonic()
    const soonest = Math.min(...usable.map(({ name }) => (this.#notBefore.get(name) ?? now) - now))
    const { bulk } = callOf(this.#delivery)
    const chance = bulk ? bulk.jitter(round, random) : random()
    const jitter = this.handedOver ? chance * Math.min(retry.base * 2 ** (round - 1), retry.longest) : 0
    const pause = Math.max(jitter, soonest, 0)
    const { context, kind } = callOf(this.#delivery)
    const waits = this.#limited !== undefined && context.limits.onLimit === 'wait' && kind === 'send'
    const tooLong = pause > retry.longest && this.#limited === undefined
    if ((!this.handedOver && !waits) || tooLong || pause >= this.#deadline.remaining) throw this.failure()
    if (!this.handedOver) {
      this.#patientWith = usable.find(
        ({ name }) => this.#outOfBudget.has(name) && (this.#notBefore.get(name) ?? now) - now === soonest,
      )?.name
      if (this.#patientWith !== undefined) return
    }
    // At least a millisecond, so that a wait that has just run out cannot spin.
    await this.#deadline.wait(Math.max(pause, 1))
    this.#requireTime()
  }

  failure(): MailError {
    const error = (!this.handedOver && this.#limited) || this.#lastFailure || this.#limited
    const issues = this.#uncarried
    if (error) return issues.length === 0 ? error : withDetails(error, { issues: [...error.issues, ...issues] })
    if (issues.length === 0) return new MailError('SEND_FAILED', 'No provider of the route took the message.')
    return new MailError('UNSUPPORTED_FEATURE', issues[0]!.message, { issues })
  }

  #requireTime(): void {
    if (this.#deadline.cause === 'timeout' && (this.#limited || this.#lastFailure)) {
      throw this.#limited ?? this.failure()
    }
    this.#deadline.check()
  }

  #tell(provider: string, change: BreakerChange, error?: MailError): void {
    const lost = error?.kind === 'login' || error?.kind === 'account'
    if (change === undefined && !lost) return
    const { tenant } = this.#delivery
    this.#parts.events.emit('health', {
      provider,
      state: change ?? 'open',
      ...(tenant === undefined ? {} : { tenant }),
      ...(error?.kind === undefined ? {} : { kind: error.kind }),
      ...(error?.providerCode === undefined ? {} : { code: error.providerCode }),
    })
  }
}

const noNext = () =>
  configurationError(
    'A dispatch policy answered without calling `next`; nothing was handed over. Let it throw instead.',
  )
