import { type Call, callOf } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import { configurationError, MailError } from '../errors.ts'
import { mailboxKey } from '../message/address.ts'
import type { MessageReader } from '../message/reader.ts'
import { takeMessage } from '../message/take.ts'
import type { Receipt } from '../receipt.ts'
import type { Policy, Send } from './policy.ts'

/** A user's policies, already made; they take their places once there is a reader for what they change. */
export type CustomPolicies = (read: MessageReader) => readonly Policy[]

/**
 * A user's policies, each held to these rules: what it changes in the message is read again like any input (and so
 * fingerprinted after), nothing but the message can be changed, `next` is called once at most, and one that hangs is cut
 * off when the call's time is up. `mayAddRecipients` holds for accept only; at dispatch suppression and limits have been
 * decided.
 *
 * @throws MailError `CONFIGURATION_ERROR` for one that answers no function.
 */
export function customPolicies(policies: readonly Policy[] = [], mayAddRecipients: boolean): CustomPolicies {
  const made = policies.map((policy) => {
    // The call's facts travel with every copy of a delivery, so they tell whose turn it is.
    const turns = new WeakMap<Call, Turn>()
    const wrapped = policy(async (passed) => {
      const turn = turns.get(callOf(passed))
      if (!turn) throw configurationError('A policy must pass on the delivery it was given, or a copy of it.')
      return turn.pass(passed)
    })
    if (typeof wrapped !== 'function') {
      throw configurationError('A policy is a function of `next` that answers a function: (next) => (delivery) => …')
    }
    return { wrapped, turns }
  })
  return (read) =>
    made.map(({ wrapped, turns }) => (next) => async (delivery) => {
      const turn = new Turn(async (passed) => next(await reread(delivery, passed, read, mayAddRecipients)))
      turns.set(callOf(delivery), turn)
      return run(wrapped, Object.freeze(delivery), turn)
    })
}

/** One delivery's single way through one policy. */
class Turn {
  /** What the rest of the way came to, once the policy called `next`. */
  result: Promise<Receipt> | undefined
  readonly #next: Send
  #over = false

  constructor(next: Send) {
    this.#next = next
  }

  pass(delivery: Delivery): Promise<Receipt> {
    if (this.#over || this.result) throw configurationError('A policy calls `next` at most once, and before it ends.')
    this.result = this.#next(delivery)
    return this.result
  }

  end(): void {
    this.#over = true
  }
}

async function run(policy: Send, delivery: Delivery, turn: Turn): Promise<Receipt> {
  const { deadline } = callOf(delivery)
  deadline.check()
  try {
    const receipt = await deadline.within((async () => policy(delivery))())
    if (typeof receipt?.id === 'string' && typeof receipt.status === 'string') return receipt
    throw configurationError('A custom policy answered no receipt; answer what `next` does, or throw a MailError.')
  } catch (error) {
    // Given up while the policy was at work: what it had already set going decides.
    if (error === deadline.signal.reason && turn.result) return turn.result
    if (error instanceof MailError) throw error
    const failure = configurationError('A custom policy threw something other than a MailError; see `cause`.')
    failure.cause = error
    throw failure
  } finally {
    turn.end()
    // A policy may call `next` and leave; what comes of it then has nobody else to hear it.
    turn.result?.catch(() => undefined)
  }
}

async function reread(
  original: Delivery,
  passed: Delivery,
  read: MessageReader,
  mayAddRecipients: boolean,
): Promise<Delivery> {
  if (passed.message === original.message) return original
  const { context, deadline } = callOf(original)
  const { message, recipients } = await read(takeMessage(passed.message, context.limits), {
    limits: context.limits,
    signal: deadline.signal,
    ...(context.from ? { from: context.from } : {}),
  })
  const known = new Set(original.envelope.recipients.map(({ key }) => key))
  if (!mayAddRecipients && recipients.some(({ key }) => !known.has(key) && !shownBefore(original, key))) {
    throw configurationError('A dispatch policy cannot add recipients; do it in an accept policy.')
  }
  const envelope = Object.freeze({
    from: message.from.address,
    recipients: mayAddRecipients ? recipients : Object.freeze(recipients.filter(({ key }) => known.has(key))),
  })
  return Object.freeze({ ...original, message, envelope })
}

/** People To and Cc show although this attempt does not mail them. */
function shownBefore({ message }: Delivery, key: string): boolean {
  return [...message.to, ...message.cc].some(({ address }) => mailboxKey(address) === key)
}
