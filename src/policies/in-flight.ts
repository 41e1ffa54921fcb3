import type { Clock, Timer } from '../clock.ts'
import type { MailStore, Move } from '../stores/store.ts'
import type { Budget } from '../tenants/context.ts'
import { refund } from './quota.ts'

export interface InFlightParts {
  readonly store: MailStore
  readonly clock: Clock
  /** Told once when moves begin to fail. */
  readonly warn: (error: unknown) => void
}

/** A take of the store, and when this process asked for it and heard of it, monotonic. */
export interface TimedTake {
  readonly at: number
  readonly asked: number
  readonly answered: number
}

/** What one hand-over took from a limit. */
export interface Charge {
  /** Gives back what certainly was not mailed. At most once, and before `end`. */
  refund(mailboxes: number): Promise<void>
  /** The hand-over is over; what was not given back has been mailed by now, or may have been. */
  end(): void
}

/**
 * What was taken from limits for hand-overs under way. A provider counts a mail when it arrives, and that is some time after
 * the take: so a take moves along in its windows while its hand-over lasts, and stays where that ended. Thus the limit holds
 * for what arrives, in any window, however long each hand-over takes, where the store answers within a quarter of the
 * shortest window. Moves go to it together, a few times a window and only when they change something.
 */
export class InFlight {
  readonly #parts: InFlightParts
  readonly #accounts = new Map<Budget, Account>()

  constructor(parts: InFlightParts) {
    this.#parts = parts
  }

  begin(budget: Budget, cost: number, take: TimedTake): Charge {
    let account = this.#accounts.get(budget)
    if (!account) {
      account = new Account(this.#parts, budget, () => this.#accounts.delete(budget))
      this.#accounts.set(budget, account)
    }
    return account.begin(cost, take)
  }

  /** Leaves in the store what this process knows, for those that go on. */
  async close(): Promise<void> {
    await Promise.all([...this.#accounts.values()].map((account) => account.close()))
  }
}

/** Of the shortest window. */
const movesPerWindow = 4
const longestPause = 5_000
const shortestPause = 10
const movesPerCall = 500
/** Hand-overs that have ended and could not be moved yet; the oldest are forgotten first. */
const mostKept = 10_000

/** The hand-overs that pay from one budget. */
class Account {
  readonly #parts: InFlightParts
  readonly #budget: Budget
  readonly #pause: number
  readonly #longest: number
  readonly #charges = new Set<MovingCharge>()
  readonly #onEmpty: () => void
  #timer: Timer | undefined
  #moving: Promise<void> | undefined
  /** Moves that failed in a row. */
  #failures = 0

  constructor(parts: InFlightParts, budget: Budget, onEmpty: () => void) {
    this.#parts = parts
    this.#budget = budget
    this.#onEmpty = onEmpty
    const lengths = budget.windows.map(({ per }) => per)
    this.#pause = Math.max(shortestPause, Math.min(Math.min(...lengths) / movesPerWindow, longestPause))
    this.#longest = Math.max(...lengths)
  }

  begin(cost: number, take: TimedTake): Charge {
    const charge = new MovingCharge(cost, take)
    this.#charges.add(charge)
    this.#rearm()
    return {
      refund: async (mailboxes) => {
        // Where it counts is not known before a move of it has ended.
        await this.#moving
        charge.stays = true
        charge.cost -= mailboxes
        await refund(this.#parts.store, [{ ...this.#budget, at: charge.at }], mailboxes)
        charge.stays = false
        if (charge.cost <= 0) this.#charges.delete(charge)
      },
      end: () => {
        charge.end(this.#parts.clock.monotonic())
        if (!this.#moving && !this.#changes(charge.at, charge.endedAt!)) this.#charges.delete(charge)
      },
    }
  }

  async close(): Promise<void> {
    this.#timer?.cancel()
    await this.#moving
    await this.#move()
    this.#timer?.cancel()
  }

  #rearm(): void {
    if (this.#timer || this.#moving) return
    this.#timer = this.#parts.clock.setTimeout(
      () => {
        this.#timer = undefined
        this.#moving = this.#move().finally(() => {
          this.#moving = undefined
          if (this.#charges.size > 0) this.#rearm()
          else this.#onEmpty()
        })
      },
      Math.min(this.#pause * 2 ** this.#failures, longestPause),
    )
    this.#timer.unref()
  }

  async #move(): Promise<void> {
    const now = this.#parts.clock.monotonic()
    const due: { readonly charge: MovingCharge; readonly to: number; readonly over: boolean }[] = []
    for (const charge of this.#charges) {
      if (charge.stays) continue
      const over = charge.endedAt !== undefined
      const to = charge.endedAt ?? charge.earliest(now)
      if (this.#changes(charge.at, to)) due.push({ charge, to, over })
      else if (over) this.#charges.delete(charge)
    }
    const { key, windows } = this.#budget
    try {
      for (let i = 0; i < due.length; i += movesPerCall) {
        const some = due.slice(i, i + movesPerCall)
        const moves = some.map(({ charge, to }): Move => ({ cost: charge.cost, from: charge.at, to }))
        await this.#parts.store.limits.move(key, windows, moves)
        for (const { charge, to, over } of some) {
          charge.at = to
          if (over) this.#charges.delete(charge)
        }
      }
      this.#failures = 0
    } catch (error) {
      if (this.#failures++ === 0) this.#parts.warn(error)
      this.#forget(now)
    }
  }

  /** What no window counts any more, and what is too much to keep; the rest the next move brings along. */
  #forget(now: number): void {
    for (const charge of this.#charges) {
      if (charge.endedAt === undefined) continue
      const isLate = charge.earliest(now) - charge.endedAt > this.#longest
      if (isLate || this.#charges.size > mostKept) this.#charges.delete(charge)
    }
  }

  #changes(from: number, to: number): boolean {
    return this.#budget.windows.some(({ per }) => Math.floor(from / (per / 60)) !== Math.floor(to / (per / 60)))
  }
}

/** Its times but those of this process are the store's. */
class MovingCharge {
  cost: number
  /** Where it counts now. */
  at: number
  endedAt: number | undefined
  /** Where it counts is being changed by a refund. */
  stays = false
  readonly #take: TimedTake

  constructor(cost: number, take: TimedTake) {
    this.cost = cost
    this.at = take.at
    this.#take = take
  }

  /** The store's time at a moment of this process: it is no earlier. */
  earliest(now: number): number {
    return Math.floor(this.#take.at + now - this.#take.answered)
  }

  /** Whatever was mailed arrived before that. */
  end(now: number): void {
    this.endedAt = Math.ceil(this.#take.at + now - this.#take.asked)
  }
}
