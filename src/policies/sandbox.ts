import type { Ledger } from '../ledger/ledger.ts'
import type { Policy } from './policy.ts'

/** A sandboxed message passed every check before this one; it is kept with its content and goes nowhere. */
export const sandbox =
  (ledger: Ledger): Policy =>
  (next) =>
  (delivery) =>
    delivery.sandbox ? ledger.acceptance.acceptSandboxed(delivery) : next(delivery)
