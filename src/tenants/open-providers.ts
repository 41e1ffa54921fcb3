import type { Provider } from '../provider.ts'
import type { TenantContext } from './context.ts'

interface Waiting {
  readonly context: TenantContext
  readonly wake: () => void
}

/**
 * Bounds how many tenants have providers open at once. Over the cap the longest unused are closed (they open anew when
 * needed); when all are busy a hand-over waits for one to fall idle.
 */
export class OpenProviders {
  readonly #cap: number
  /** Hand-overs in flight, least recently used first. */
  readonly #inFlight = new Map<TenantContext, number>()
  /** Replaced: a message that still belongs to one opens it for itself only. */
  readonly #retired = new WeakSet<TenantContext>()
  /** In the order they came. */
  readonly #waiting = new Set<Waiting>()
  readonly #closing = new Set<Promise<unknown>>()

  constructor(cap: number) {
    this.#cap = cap
  }

  /** Call the answer when the hand-over is over. Waits while `cap` other tenants are busy, until `signal` aborts. */
  async acquire(context: TenantContext, signal: AbortSignal): Promise<() => void> {
    // The mailer's own stay open until it closes: every tenant may route through them.
    if (context.tenant === undefined || context.own.size === 0) return () => undefined
    while (!this.#inFlight.has(context) && this.#inFlight.size >= this.#cap && !signal.aborted) {
      const idle = [...this.#inFlight].find(([, count]) => count === 0)?.[0]
      if (idle) await this.#close(idle)
      else await this.#turn(context, signal)
    }
    const first = !this.#inFlight.has(context)
    const count = this.#inFlight.get(context) ?? 0
    this.#inFlight.delete(context)
    this.#inFlight.set(context, count + 1)
    if (first) this.#wake((waiting) => waiting.context === context)
    return () => this.#release(context)
  }

  /** Closes a replaced tenant's providers as soon as nothing is in flight through them. */
  retire(context: TenantContext): void {
    this.#retired.add(context)
    if (this.#inFlight.get(context) === 0) void this.#close(context)
  }

  /** Closes all; running hand-overs finish. */
  async close(): Promise<void> {
    await Promise.all([...this.#inFlight.keys()].map((context) => this.#close(context)))
    await Promise.all(this.#closing)
  }

  #release(context: TenantContext): void {
    const count = this.#inFlight.get(context)
    // Absent when `close` did not wait for it.
    if (count === undefined) return
    this.#inFlight.set(context, count - 1)
    if (count > 1) return
    if (this.#retired.has(context)) void this.#close(context)
    else this.#wakeOne()
  }

  async #close(context: TenantContext): Promise<void> {
    this.#inFlight.delete(context)
    const closing = closeAll(context.own.values())
    this.#closing.add(closing)
    await closing
    this.#closing.delete(closing)
    this.#wakeOne()
  }

  #wakeOne(): void {
    const [next] = this.#waiting
    next?.wake()
  }

  #wake(wanted: (waiting: Waiting) => boolean): void {
    for (const waiting of this.#waiting) if (wanted(waiting)) waiting.wake()
  }

  #turn(context: TenantContext, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake)
        this.#waiting.delete(waiting)
        resolve()
      }
      const waiting: Waiting = { context, wake }
      this.#waiting.add(waiting)
      signal.addEventListener('abort', wake, { once: true })
    })
  }
}

/** Closes providers whatever they do about it; resolves when all have answered. */
export async function closeAll(providers: Iterable<Provider>): Promise<void> {
  await Promise.allSettled([...providers].map(async (provider) => provider.close?.()))
}
