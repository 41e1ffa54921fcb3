import type { Timer } from '../clock.ts'
import type { Parts } from '../parts.ts'
import { isWaiting } from '../stores/row-status.ts'
import type { Held, Row } from '../stores/store.ts'
import { settleHeld } from './held.ts'

/** Gives messages whose process vanished the state that is certain about them. */
export interface Recovery {
  /** Looks now, unless it did a second ago. Never rejects. */
  run(): Promise<void>
  stop(): void
}

const every = 30_000
const atMostEvery = 1_000
const batch = 100

/**
 * Somebody has to notice that a lease ran out, also where no process works on the queue. So every mailer over a store that
 * outlives it looks when it starts, every 30 s, and before it answers what became of messages.
 */
export function recovering(parts: Parts, waits: (row: Row) => Promise<void>): Recovery {
  const { ledger, clock, store, state } = parts
  let timer: Timer | undefined
  let running: Promise<void> | undefined
  let ranAt = Number.NEGATIVE_INFINITY
  let stopped = store.guarantees.durability === 'none'

  const recoverAll = async (): Promise<void> => {
    for (let found = batch; found === batch && !stopped && !state.closed; ) {
      const { held, unreadable = [] } = await store.due(batch, ledger.lease(0), { lost: true })
      for (const id of unreadable) ledger.warnUnreadable(id)
      found = held.length
      await Promise.all(held.map(recover))
    }
  }
  const recover = async (held: Held): Promise<void> => {
    const row = ledger.asFound(held.row)
    try {
      await settleHeld(parts, held, row)
      if (isWaiting(row)) await waits(row)
    } catch (error) {
      ledger.warn(error, row.id)
    }
  }
  const run = (): Promise<void> => {
    if (stopped || clock.monotonic() - ranAt < atMostEvery) return running ?? Promise.resolve()
    ranAt = clock.monotonic()
    running ??= recoverAll()
      .catch((error) => ledger.warn(error))
      .finally(() => {
        running = undefined
        if (!stopped) wait()
      })
    return running
  }
  const wait = (): void => {
    timer?.cancel()
    timer = clock.setTimeout(() => void run(), every)
    timer.unref()
  }
  return {
    run,
    stop() {
      stopped = true
      timer?.cancel()
    },
  }
}
