import type { Clock } from '../clock.ts'
import { MailError } from '../errors.ts'
import { nameOf } from '../stores/checked.ts'
import type { QueueEngine } from './engine.ts'

const timeout = 2_000
/** A transaction depends on its job, and the engine may have to start for it. */
const startTimeout = 10_000
/** To let go of a server that no longer answers. */
const closeTimeout = 5_000
/** Between two warnings of the same. */
const quiet = 30_000
const mostSaid = 100

/**
 * The one wrapper around every engine: each call has 2 s, and whatever goes wrong inside is a MailError without the driver's
 * words. What an engine does after that does no harm, since a job is a hint.
 */
export function checkedEngine(engine: QueueEngine, clock: Clock): QueueEngine {
  const within = <T>(verb: string, answer: Promise<T>, ms = timeout): Promise<T> => {
    const late = Promise.withResolvers<never>()
    const timer = clock.setTimeout(() => late.reject(unavailable(verb, `did not answer within ${ms} ms`)), ms)
    return Promise.race([answer, late.promise]).finally(() => timer.cancel())
  }
  const checked =
    <A extends readonly unknown[], T>(verb: string, call: (...args: A) => Promise<T>, ms?: number) =>
    async (...args: A): Promise<T> => {
      try {
        return await within(verb, call(...args), ms)
      } catch (error) {
        throw failed(verb, error)
      }
    }
  return {
    transactional: engine.transactional === true,
    enqueue: (jobs, options) =>
      options?.transaction
        ? checked(inTransaction, () => engine.enqueue(jobs, options), startTimeout)()
        : checked('enqueue', () => engine.enqueue(jobs))(),
    async work(handler, { warn, ...options }) {
      const said = new Map<string, number>()
      /** Connections that are tried again and again fail each time. */
      const say = (error: MailError) => {
        const before = said.get(error.message) ?? Number.NEGATIVE_INFINITY
        if (clock.monotonic() - before < quiet) return
        if (said.size >= mostSaid) said.clear()
        said.set(error.message, clock.monotonic())
        warn?.(error)
      }
      try {
        return await engine.work(handler, { ...options, warn: (error) => say(failed('work', error)) })
      } catch (error) {
        throw failed('work', error)
      }
    },
    pause: checked('pause', () => engine.pause()),
    resume: checked('resume', () => engine.resume()),
    ...(engine.paused ? { paused: checked('paused', () => engine.paused!()) } : {}),
    stats: checked('stats', () => engine.stats()),
    close: checked('close', () => engine.close(), closeTimeout),
  }
}

const failed = (verb: string, error: unknown): MailError =>
  error instanceof MailError ? error : unavailable(verb, `failed (${nameOf(error)})`)

const inTransaction = 'enqueue in a transaction'

function unavailable(verb: string, why: string): MailError {
  const advice =
    verb === inTransaction
      ? 'Roll the transaction back'
      : 'Messages are safe in the store, where workers look every 30 s; check the engine’s server'
  return new MailError('STORE_UNAVAILABLE', `The queue engine ${why} at ${verb}. ${advice}.`)
}
