import type { MailError } from './errors.ts'
import { refused } from './options.ts'

type Source = Iterator<unknown> | AsyncIterator<unknown>

/**
 * Puts each item of a source through `work`, `concurrency` at a time, and yields what comes of it as it comes. An item is
 * pulled only when there is room for its result; when the consumer leaves, the intake stops and what is under way is
 * waited for. `work` must not reject.
 *
 * @throws MailError `VALIDATION_ERROR` when `items` is no iterable, or throws; what was pulled before is yielded first.
 */
export async function* flow<T>(
  items: unknown,
  concurrency: number,
  work: (item: unknown, index: number) => Promise<T>,
): AsyncGenerator<T, void, undefined> {
  const source = iteratorOf(items)
  const { default: PQueue } = await import('p-queue')
  const gate = new PQueue({ concurrency })
  const ready: T[] = []
  let change = Promise.withResolvers<void>()
  const changed = () => {
    change.resolve()
    change = Promise.withResolvers<void>()
  }
  let exhausted = false
  let stopped = false
  let underWay = 0
  let failure: MailError | undefined

  const one = async (item: unknown, index: number) => {
    ready.push(await work(item, index))
    underWay--
    changed()
  }
  const breathe = breathing()
  const feed = async () => {
    try {
      for (let index = 0; ; index++) {
        while (!stopped && underWay + ready.length >= 2 * concurrency) await change.promise
        await breathe()
        if (stopped) return
        const next = await source.next()
        exhausted = next.done === true
        if (exhausted || stopped) return
        underWay++
        void gate.add(() => one(next.value, index))
      }
    } catch (error) {
      exhausted = true
      failure = sourceThrew(error)
    } finally {
      stopped = true
      changed()
    }
  }

  // Not waited for: a source that never answers must not hold the consumer that left.
  void feed()
  try {
    for (;;) {
      if (ready.length > 0) {
        const result = ready.shift() as T
        changed()
        yield result
      } else if (stopped && underWay === 0) {
        if (failure) throw failure
        return
      } else {
        await change.promise
      }
    }
  } finally {
    stopped = true
    changed()
    gate.clear()
    if (!exhausted) leave(source)
    await gate.onIdle()
  }
}

/** Milliseconds without a turn of the event loop. */
const longestBreath = 10

/** Where nothing waits for a network (sandbox, memory), promises alone would keep timers and sockets from their turn. */
function breathing(): () => Promise<void> | undefined {
  let since = performance.now()
  return () => {
    if (performance.now() - since < longestBreath) return undefined
    return new Promise((resolve) =>
      setImmediate(() => {
        since = performance.now()
        resolve()
      }),
    )
  }
}

function leave(source: Source): void {
  try {
    Promise.resolve(source.return?.()).catch(() => undefined)
  } catch {
    // The consumer has left; there is nobody to tell.
  }
}

function iteratorOf(items: unknown): Source {
  const notIterable = () => refused('items', 'Must be an iterable of messages.')
  if (typeof items !== 'object' || items === null) throw notIterable()
  try {
    const source = items as Partial<Iterable<unknown> & AsyncIterable<unknown>>
    const iterator: unknown = source[Symbol.asyncIterator]?.() ?? source[Symbol.iterator]?.()
    if (typeof (iterator as Partial<Source> | undefined)?.next === 'function') return iterator as Source
  } catch (error) {
    throw sourceThrew(error)
  }
  throw notIterable()
}

function sourceThrew(error: unknown): MailError {
  const failure = refused('items', 'The source of the batch threw; items before it were handled.')
  failure.cause = error
  return failure
}
