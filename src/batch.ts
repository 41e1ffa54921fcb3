import { types } from 'node:util'
import { MailError } from './errors.ts'
import { hashKey } from './message/fingerprint.ts'
import type { Message } from './message/message.ts'
import { refused, type SendOptions, takeOptions } from './options.ts'
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
/** However high `limits.batch` is. */
const mostItems = 1_000_000

/**
 * Sends whatever the source yields, `concurrency` at a time, and yields results as they come. Items are pulled only as
 * results are taken, so memory does not grow with their number; `break` stops the intake and waits for what is under way.
 */
export async function* streamBatch(
  parts: BatchParts,
  items: unknown,
  batch: unknown = {},
): AsyncGenerator<BatchItemResult, void, undefined> {
  const { concurrency = 10, mode = 'send', options = {}, defaults } = checkBatch(batch)
  const { flow } = await import('./flow.ts')
  yield* flow(items, concurrency, (item, index) =>
    resultOf(index, () => dispatchItem(parts[mode], index, item, options, defaults)),
  )
}

/** Sends an array and answers every result, in order. @throws MailError for a malformed call only. */
export async function sendBatch(
  parts: BatchParts,
  items: unknown,
  batch: unknown,
  limitFor: (options: SendOptions | undefined) => Promise<number>,
): Promise<BatchResult> {
  const own = copyList(items)
  const checked = checkBatch(batch)
  const limit = await limitFor(checked.options)
  if (own.length > limit) throw tooMany(own.length, `${limit} (limits.batch)`)
  const results = new Array<BatchItemResult>(own.length)
  for await (const result of streamBatch(parts, own, checked)) results[result.index] = result
  return tally(results)
}

/** Before anything is awaited, so that what the caller does to the array afterwards changes nothing. */
function copyList(items: unknown): unknown[] {
  if (!Array.isArray(items)) throw refused('items', 'Must be an array; streamBatch takes any iterable.')
  const { length } = items
  if (length > mostItems) throw tooMany(length, String(mostItems))
  const own: unknown[] = []
  for (let i = 0; i < length; i++) {
    const item: unknown = items[i]
    // It will be refused as no message; until then nobody else listens to it.
    if (types.isPromise(item)) item.catch(() => undefined)
    own.push(item)
  }
  return own
}

const tooMany = (count: number, most: string) =>
  refused('items', `Holds ${count} messages; at most ${most} are allowed. Use streamBatch.`)

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
    return { index, error: refused('message', 'Threw while it was read; pass plain data.') }
  }
}

function dispatchItem(
  send: BatchParts['send'],
  index: number,
  item: unknown,
  options: SendOptions,
  defaults: object | undefined,
): Promise<Receipt> {
  const { message, options: own } = partsOf(item)
  const key = own.idempotencyKey ?? derivedKey(options.idempotencyKey, String(index))
  return send(withDefaults(message, defaults), {
    ...options,
    ...own,
    ...(key === undefined ? {} : { idempotencyKey: key }),
  })
}

/** An item is a message, or a message with options of its own. */
function partsOf(item: unknown): { readonly message: unknown; readonly options: SendOptions } {
  const wrapped =
    typeof item === 'object' && item !== null && Object.hasOwn(item, 'message') && !Object.hasOwn(item, 'to')
  if (!wrapped) return { message: item, options: {} }
  if (Object.keys(item).some((name) => name !== 'message' && name !== 'options')) {
    throw refused('item', 'Is a message, or { message, options }.')
  }
  const { message, options } = item as { message: unknown; options?: unknown }
  const own = takeOptions(options)
  for (const name of ['tenant', 'signal'] as const) {
    if (name in own) throw refused(`options.${name}`, 'Is for the whole batch; an item cannot have its own.')
  }
  return { message, options: own }
}

/** What is no plain object is passed on as it is, to be refused. A field that is undefined counts as absent. */
function withDefaults(message: unknown, defaults: object | undefined): unknown {
  if (!defaults || typeof message !== 'object' || message === null) return message
  const prototype: unknown = Object.getPrototypeOf(message)
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return message
  const filled: Record<string, unknown> = { ...defaults }
  for (const name of Object.keys(message)) {
    const value = (message as Record<string, unknown>)[name]
    if (value !== undefined || !Object.hasOwn(defaults, name)) {
      Object.defineProperty(filled, name, { value, enumerable: true, configurable: true, writable: true })
    }
  }
  return filled
}

/** A key for one part of a call that has a key. */
export function derivedKey(key: string | undefined, part: string): string | undefined {
  return key === undefined ? undefined : `part_${hashKey('part', key, part)}`
}

/** The options of a batch, each read once. @throws MailError `VALIDATION_ERROR`. */
function checkBatch(batch: unknown = {}): LooseBatch {
  if (typeof batch !== 'object' || batch === null) throw refused('batch', 'Must be an object of options.')
  let taken: Record<string, unknown>
  try {
    taken = { ...batch }
  } catch {
    throw refused('batch', 'Threw while it was read; pass plain data.')
  }
  const { concurrency, mode, defaults, options, ...rest } = taken
  if (Object.keys(rest).length > 0) throw refused('batch', 'Takes defaults, options, concurrency and mode only.')
  if (
    concurrency !== undefined &&
    !(
      typeof concurrency === 'number' &&
      Number.isInteger(concurrency) &&
      concurrency > 0 &&
      concurrency <= mostConcurrency
    )
  ) {
    throw refused('batch.concurrency', `Must be a whole number from 1 to ${mostConcurrency}.`)
  }
  if (mode !== undefined && mode !== 'send' && mode !== 'enqueue')
    throw refused('batch.mode', "Must be 'send' or 'enqueue'.")
  return {
    options: takeOptions(options),
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(mode === undefined ? {} : { mode }),
    ...(defaults === undefined ? {} : { defaults: takeDefaults(defaults) }),
  }
}

function takeDefaults(defaults: unknown): object {
  if (typeof defaults !== 'object' || defaults === null || Array.isArray(defaults)) {
    throw refused('batch.defaults', 'Must be an object of message fields.')
  }
  try {
    return { ...defaults }
  } catch {
    throw refused('batch.defaults', 'Threw while it was read; pass plain data.')
  }
}
