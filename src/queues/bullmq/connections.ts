import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import type { Queue, Worker } from 'bullmq'
import { MailError } from '../../errors.ts'

const patience = 1_000
const step = 20

/** A queue that is never handed out cut off: its client would keep every command until the server is back. */
export class OpenQueue {
  readonly #queue: Queue
  readonly #waitUntil = performance.now() + patience
  #first: 'connecting' | 'connected' | { readonly failure: unknown } = 'connecting'

  constructor(queue: Queue) {
    this.#queue = queue
    // Whoever calls is told.
    queue.on('error', () => {})
    queue.waitUntilReady().then(
      () => {
        this.#first = 'connected'
      },
      (failure: unknown) => {
        this.#first = { failure }
      },
    )
  }

  /** The first connection is waited for a little, once; where there is none yet, calls do not pile up. */
  async live(): Promise<Queue> {
    while (this.#first === 'connecting' && performance.now() < this.#waitUntil) await sleep(step)
    if (typeof this.#first === 'object') throw this.#first.failure
    if (this.#first === 'connected' && (await isLive(this.#queue))) return this.#queue
    throw new MailError(
      'STORE_UNAVAILABLE',
      'BullMQ has no connection to its server now. Messages are safe in the store, where workers look every 30 s.',
    )
  }

  close(): Promise<void> {
    return this.#queue.getBackend().close(true)
  }
}

/** Whether every connection is up. One that never was is not waited for. */
async function isLive(owner: Queue | Worker): Promise<boolean> {
  const { client, blockingClient } = owner.getBackend()
  const connected = Promise.all(blockingClient ? [client, blockingClient] : [client])
  const clients = await Promise.race([connected.catch(() => []), turn([])])
  return (
    clients.length > 0 &&
    clients.every(({ status, isCluster }) => status === 'ready' || (isCluster && status === 'connect'))
  )
}

/** What a worker has begun. */
export class Running {
  readonly #handled = new Set<Promise<void>>()
  /** Until its end is noted in the server too. */
  readonly #noted = new Set<string>()

  async run(id: string, handled: Promise<void>): Promise<void> {
    this.#noted.add(id)
    this.#handled.add(handled)
    try {
      await handled
    } finally {
      this.#handled.delete(handled)
    }
  }

  note(id: string | undefined): void {
    this.#noted.delete(id ?? '')
  }

  async end(): Promise<void> {
    while (this.#handled.size > 0) await Promise.allSettled(this.#handled)
  }

  get isNoted(): boolean {
    return this.#noted.size === 0
  }
}

/**
 * Ends a worker when what it runs has ended. Its own `close` would wait for a server that is down as long as that takes,
 * and keep the process alive.
 */
export async function stopWorker(worker: Worker, running: Running): Promise<void> {
  await worker.pause(true)
  // Jobs it has asked for come before this answer, and are run.
  const asked = (await isLive(worker)) ? worker.getBackend().hasQueueMetaField('paused') : undefined
  await Promise.race([asked?.catch(() => {}), sleep(patience, undefined, { ref: false })])
  await running.end()
  for (let waited = 0; waited < patience && !running.isNoted && (await isLive(worker)); waited += step)
    await sleep(step)
  await worker.close(true)
}
