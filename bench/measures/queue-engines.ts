import type { QueueEngine } from '../../src/queues/engine.ts'

/** One of our engines, opened over a server's queue of its own. */
export interface OpenQueueEngine {
  readonly engine: QueueEngine
  close(): Promise<void>
}

export async function openQueueEngine(name: string): Promise<OpenQueueEngine> {
  throw new RangeError(`there is no queue engine ${name} yet`)
}
