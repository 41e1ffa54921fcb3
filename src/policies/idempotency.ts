import { callOf, changeCall } from '../call.ts'
import { MailError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { errorOf, receiptOf } from '../ledger/record.ts'
import { fingerprint } from '../message/fingerprint.ts'
import type { Receipt } from '../receipt.ts'
import type { Found, Row } from '../stores/store.ts'
import type { Policy } from './policy.ts'
import { lookAt } from './suppression.ts'

/** How long a call waits for the first one with its key. */
const longestWait = 10_000
const firstPoll = 25
const slowestPoll = 500

/**
 * One key, one mail (INVARIANTS P7): claims the key in one atomic step, or answers what the claim before it came to. A
 * refusal further in frees the key.
 */
export const idempotency =
  (ledger: Ledger): Policy =>
  (next) =>
  async (delivery) => {
    const call = callOf(delivery)
    if (call.idempotencyKey === undefined) return next(delivery)
    const print = fingerprint(delivery.message)
    const look = lookAt(delivery)
    let found: Found
    const waitUntil = Math.max(0, call.deadline.remaining - longestWait)
    for (let poll = firstPoll; ; poll = Math.min(poll * 2, slowestPoll)) {
      const claim = await ledger.acceptance.claimKey(delivery, print, look)
      if (claim.state === 'claimed') {
        found = claim.found
        break
      }
      if (claim.row.fingerprint !== print) throw mismatch(claim.row)
      if (call.onUnknown === 'resend' && call.kind === 'send' && claim.row.status === 'unknown') {
        return receiptOf(claim.row)
      }
      const working = claim.row.kind === 'send' && claim.row.status === 'dispatching'
      if (!working) return replay(claim.row, call.kind)
      if (!claim.leased && (await ledger.recover(claim.row.id))) continue
      if (call.deadline.remaining <= waitUntil) throw inProgress(claim.row)
      const finished = ledger.open.get(claim.row.id)?.finished()
      const inTime = await call.deadline.wait(finished ? call.deadline.remaining - waitUntil : poll, finished)
      if (!inTime) throw call.deadline.cause === 'signal' ? cancelled() : inProgress(claim.row)
    }
    try {
      return await next(changeCall(delivery, { found }))
    } catch (error) {
      await ledger.acceptance.refuse(delivery.id)
      throw error
    }
  }

/** The row as it stands: `enqueue` always resolves, `send` rejects as the first call did. */
function replay(row: Row, kind: 'send' | 'queue'): Receipt {
  const error = kind === 'send' ? errorOf(row, true) : undefined
  if (error) throw error
  return receiptOf(row, true)
}

const mismatch = (row: Row) =>
  new MailError('IDEMPOTENCY_MISMATCH', 'The idempotency key was used for another message; use a new key.', {
    id: row.id,
  })

const inProgress = (row: Row) =>
  new MailError('IDEMPOTENCY_IN_PROGRESS', 'The first call with this idempotency key has not finished; repeat later.', {
    id: row.id,
    retryAfter: 1_000,
  })

const cancelled = () =>
  new MailError('CANCELLED', 'The signal aborted while the first call with this key was under way.')
