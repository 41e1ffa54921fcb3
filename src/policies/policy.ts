import type { Delivery } from '../delivery.ts'
import type { Receipt } from '../receipt.ts'

/** Takes a delivery one step further. */
export type Send = (delivery: Delivery) => Promise<Receipt>

/**
 * Wraps a step: may refuse (throw a `MailError`), delay, answer itself, or pass on a changed copy
 * (`next({ ...delivery, message: { ...delivery.message, subject } })`). Calls `next` at most once.
 */
export type Policy = (next: Send) => Send

/** The first policy is the outermost: it sees the delivery first and the receipt last. */
export const compose = (policies: readonly Policy[], innermost: Send): Send =>
  policies.reduceRight((next, policy) => policy(next), innermost)
