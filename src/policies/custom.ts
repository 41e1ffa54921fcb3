import { callOf } from '../call.ts'
import type { Delivery } from '../delivery.ts'
import { configurationError, MailError } from '../errors.ts'
import { mailboxKey } from '../message/address.ts'
import { type MessageReader, takeMessage } from '../message/reader.ts'
import type { Policy, Send } from './policy.ts'

/**
 * A user's policies, each held to two rules: what it changes in the message is read again like any input (and so
 * fingerprinted after), and nothing but the message can be changed. `mayAddRecipients` holds for accept only; at dispatch
 * suppression and limits have been decided.
 */
export function customPolicies(
  policies: readonly Policy[],
  read: MessageReader,
  mayAddRecipients: boolean,
): readonly Policy[] {
  return policies.map((policy) => (next) => {
    const given = new WeakMap<object, Delivery>()
    const wrapped = policy(async (passed) => {
      const original = given.get(callOf(passed))
      if (!original) throw configurationError('A policy must pass on the delivery it was given, or a copy of it.')
      return next(passed === original ? passed : await reread(original, passed, read, mayAddRecipients))
    })
    return async (delivery) => {
      // The call's facts travel with every copy, so they tell which delivery a copy was made of.
      given.set(callOf(delivery), delivery)
      return guarded(wrapped, delivery)
    }
  })
}

async function guarded(send: Send, delivery: Delivery) {
  try {
    return await send(delivery)
  } catch (error) {
    if (error instanceof MailError) throw error
    const failure = configurationError('A custom policy threw something other than a MailError; see `cause`.')
    failure.cause = error
    throw failure
  }
}

async function reread(
  original: Delivery,
  passed: Delivery,
  read: MessageReader,
  mayAddRecipients: boolean,
): Promise<Delivery> {
  const { context, deadline } = callOf(original)
  const changed = passed.message !== original.message
  const { message, recipients } = changed
    ? await read(takeMessage(passed.message, context.limits), { limits: context.limits, signal: deadline.signal })
    : { message: original.message, recipients: original.envelope.recipients }
  const known = new Set(original.envelope.recipients.map(({ key }) => key))
  if (!mayAddRecipients && changed && recipients.some(({ key }) => !known.has(key) && !shownBefore(original, key))) {
    throw configurationError('A dispatch policy cannot add recipients; do it in an accept policy.')
  }
  const envelope = changed
    ? {
        from: message.from.address,
        recipients: mayAddRecipients ? recipients : recipients.filter(({ key }) => known.has(key)),
      }
    : original.envelope
  return { ...original, message, envelope }
}

/** People To and Cc show although this attempt does not mail them. */
function shownBefore({ message }: Delivery, key: string): boolean {
  return [...message.to, ...message.cc].some(({ address }) => mailboxKey(address) === key)
}
