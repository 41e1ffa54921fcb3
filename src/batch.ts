import { MailError } from './errors.ts'
import { hashKey } from './message/fingerprint.ts'
import type { Message } from './message/message.ts'
import { refused, type SendOptions } from './options.ts'
import type { Receipt } from './receipt.ts'

export type BatchItem<M = Message, N extends string = string> =
  | M
  | { readonly message: M; readonly options?: Omit<SendOptions<N>, 'tenant' | 'signal'> }

export interface BatchOptions<M = Message, N extends string = string> {
  /** Fields for every message that does not have its own. */
  readonly defaults?: Partial<M>
  /** For every item; an `idempotencyKey` here derives one for each item from (key, index). */
  readonly options?: SendOptions<N>
  /** Default 10. */
  readonly concurrency?: number
  /** `enqueue` accepts and leaves the sending to the queue. Default `send`. */
  readonly mode?: 'send' | 'enqueue'
}

/** The same before anybody checked it. */
interface LooseBatch {
  readonly defaults?: object
  readonly options?: SendOptions
  readonly concurrency?: number
  readonly mode?: 'send' | 'enqueue'
}

/** One per item, whatever became of it. */
export type BatchItemResult =
  | { readonly index: number; readonly receipt: Receipt; readonly error?: never }
  | { readonly index: number; readonly error: MailError; readonly receipt?: never }

export interface BatchResult {
  readonly total: number
  readonly sent: number
  readonly partial: number
  /** Queued or scheduled. */
  readonly queued: number
  readonly sandboxed: number
  readonly suppressed: number
  readonly unknown: number
  /** All others: refused, rejected, certainly not sent. */
  readonly failed: number
  /** In the order of the input. */
  readonly results: readonly BatchItemResult[]
}

export interface BatchParts {
  readonly send: (message: unknown, options: SendOptions) => Promise<Receipt>
  readonly enqueue: (message: unknown, options: SendOptions) => Promise<Receipt>
}

const mostConcurrency = 10_000

/**
 * Sends whatever the source yields, `concurrency` at a time, and yields results as they come. Items are pulled only as
 * results are taken, so memory does not grow with their number; `break` stops the intake and waits for what is under way.
 */
export async function* streamBatch(
  parts: BatchParts,
  items: Iterable<unknown> | AsyncIterable<unknown>,
  batch: LooseBatch = {},
): AsyncGenerator<BatchItemResult, void, undefined> {
  const { concurrency = 10, mode = 'send', options = {}, defaults } = checkBatch(batch)
  const source = iteratorOf(items)
  const { default: PQueue } = await import('p-queue')
  const gate = new PQueue({ concurrency })
  const ready: BatchItemResult[] = []
  let change = Promise.withResolvers<void>()
  const changed = () => {
    change.resolve()
    change = Promise.withResolvers<void>()
  }
  let stopped = false
  let underWay = 0
  let sourceFailure: MailError | undefined

  const one = async (index: number, item: unknown) => {
    ready.push(await resultOf(index, () => dispatchItem(parts[mode], index, item, options, defaults)))
    underWay--
    changed()
  }
  const feed = async () => {
    try {
      for (let index = 0; ; index++) {
        while (!stopped && underWay + ready.length >= 2 * concurrency) await change.promise
        if (stopped) return
        const next = await source.next()
        if (next.done || stopped) return
        underWay++
        void gate.add(() => one(index, next.value))
      }
    } catch (error) {
      sourceFailure = new MailError('VALIDATION_ERROR', 'The source of the batch threw; items before it were handled.')
      sourceFailure.cause = error
    } finally {
      stopped = true
      changed()
    }
  }

  const feeding = feed()
  try {
    for (;;) {
      const result = ready.shift()
      if (result) {
        changed()
        yield result
      } else if (stopped && underWay === 0) {
        if (sourceFailure) throw sourceFailure
        return
      } else {
        await change.promise
      }
    }
  } finally {
    stopped = true
    changed()
    Promise.resolve(source.return?.()).catch(() => undefined)
    await gate.onIdle()
    // A source that never answers must not hold the consumer that left.
    void feeding
  }
}

/** Sends an array and answers every result, in order. @throws MailError for a malformed call only. */
export async function sendBatch(
  parts: BatchParts,
  items: readonly unknown[],
  batch: LooseBatch,
  limit: number,
): Promise<BatchResult> {
  if (!Array.isArray(items)) throw refused('items', 'Must be an array; streamBatch takes any iterable.')
  if (items.length > limit) {
    throw refused(
      'items',
      `Holds ${items.length} messages; at most ${limit} (limits.batch) are allowed. Use streamBatch.`,
    )
  }
  const results = new Array<BatchItemResult>(items.length)
  for await (const result of streamBatch(parts, items, batch)) results[result.index] = result
  return tally(results)
}

export function tally(results: readonly BatchItemResult[]): BatchResult {
  const counts = { sent: 0, partial: 0, queued: 0, sandboxed: 0, suppressed: 0, unknown: 0, failed: 0 }
  for (const { receipt, error } of results) counts[receipt ? column(receipt) : columnOfError(error)]++
  return { total: results.length, ...counts, results }
}

type Column = 'sent' | 'partial' | 'queued' | 'sandboxed' | 'suppressed' | 'unknown' | 'failed'

function column({ status }: Receipt): Column {
  switch (status) {
    case 'queued':
    case 'scheduled':
    case 'dispatching':
      return 'queued'
    case 'sent':
    case 'partial':
    case 'sandboxed':
    case 'suppressed':
    case 'unknown':
      return status
    default:
      return 'failed'
  }
}

function columnOfError({ code }: MailError): Column {
  if (code === 'RECIPIENT_SUPPRESSED') return 'suppressed'
  return code === 'OUTCOME_UNKNOWN' ? 'unknown' : 'failed'
}

/** What one call came to; never rejects. */
export async function resultOf(index: number, call: () => Promise<Receipt>): Promise<BatchItemResult> {
  try {
    return { index, receipt: await call() }
  } catch (error) {
    if (error instanceof MailError) return { index, error }
    return { index, error: new MailError('VALIDATION_ERROR', 'The item threw while it was read; pass plain data.') }
  }
}

function dispatchItem(
  send: BatchParts['send'],
  index: number,
  item: unknown,
  options: SendOptions,
  defaults: object | undefined,
): Promise<Receipt> {
  const wrapped =
    typeof item === 'object' && item !== null && Object.hasOwn(item, 'message') && !Object.hasOwn(item, 'to')
  const { message, options: own } = wrapped ? (item as { message: unknown; options?: SendOptions }) : { message: item }
  const filled =
    defaults && typeof message === 'object' && message !== null && !Array.isArray(message)
      ? { ...defaults, ...message }
      : message
  const key = own?.idempotencyKey ?? derivedKey(options.idempotencyKey, String(index))
  return send(filled, { ...options, ...own, ...(key === undefined ? {} : { idempotencyKey: key }) })
}

/** A key for one part of a call that has a key. */
export function derivedKey(key: string | undefined, part: string): string | undefined {
  return key === undefined ? undefined : `part_${hashKey('part', key, part)}`
}

function checkBatch(batch: LooseBatch): LooseBatch {
  if (typeof batch !== 'object' || batch === null) throw refused('batch', 'Must be an object of options.')
  const { concurrency, mode, defaults, ...rest } = batch
  const unknown = Object.keys(rest).find((name) => name !== 'options')
  if (unknown !== undefined) throw refused('batch', 'Takes defaults, options, concurrency and mode only.')
  if (
    concurrency !== undefined &&
    !(Number.isInteger(concurrency) && concurrency > 0 && concurrency <= mostConcurrency)
  ) {
    throw refused('batch.concurrency', `Must be a whole number from 1 to ${mostConcurrency}.`)
  }
  if (mode !== undefined && mode !== 'send' && mode !== 'enqueue')
    throw refused('batch.mode', "Must be 'send' or 'enqueue'.")
  if (defaults !== undefined && (typeof defaults !== 'object' || defaults === null)) {
    throw refused('batch.defaults', 'Must be an object of message fields.')
  }
  return batch
}

function iteratorOf(items: Iterable<unknown> | AsyncIterable<unknown>): Iterator<unknown> | AsyncIterator<unknown> {
  const source = items as Partial<Iterable<unknown> & AsyncIterable<unknown>> | null | undefined
  if (typeof source !== 'string' && typeof source?.[Symbol.asyncIterator] === 'function') {
    return source[Symbol.asyncIterator]!()
  }
  if (typeof source !== 'string' && typeof source?.[Symbol.iterator] === 'function') return source[Symbol.iterator]!()
  throw refused('items', 'Must be an iterable of messages.')
}
