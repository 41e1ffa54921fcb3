import type { Clock, Timer } from '../clock.ts'
import { MailError } from '../errors.ts'
import type { Awaitable } from '../stores/store.ts'
import type { EngineWorker } from './engine.ts'

const again = 5_000

/** An engine’s worker may take its time to start, and its server may be down: it is tried again until it is stopped. */
export function startEngine(
  start: () => Awaitable<EngineWorker>,
  clock: Clock,
  warn: (error: unknown) => void,
): () => Promise<void> {
  let timer: Timer | undefined
  const stopped = Promise.withResolvers<void>()
  let isStopped = false
  const pause = () =>
    new Promise<void>((resolve) => {
      timer = clock.setTimeout(resolve, again)
      timer.unref()
    })
  const starting = async (): Promise<EngineWorker | undefined> => {
    while (!isStopped) {
      try {
        return await start()
      } catch (error) {
        warn(error)
        if (error instanceof MailError && error.code === 'CONFIGURATION_ERROR') return undefined
        await Promise.race([pause(), stopped.promise])
      }
    }
    return undefined
  }
  const started = starting()
  return async () => {
    isStopped = true
    stopped.resolve()
    timer?.cancel()
    await (await started)?.stop()
  }
}
