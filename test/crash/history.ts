import type { MessageRecord, MessageStatus, Receipt } from '../../src/index.ts'

/**
 * What is known of a run from the outside: what its processes wrote down before and after each call, what the servers
 * took, and what the ledger says in the end. None of it was kept by the processes that were killed.
 */
export interface History {
  readonly calls: readonly Call[]
  /** What the servers took, in order. */
  readonly taken: readonly Taken[]
  /** Every message a fresh mailer lists, once nothing waits any more. */
  readonly ledger: readonly MessageRecord[]
  /** What the same mailer lists as `unknown`. */
  readonly held: readonly MessageRecord[]
  /** `messages.get` of every id that was ever answered or handed over, by id. */
  readonly gets: ReadonlyMap<string, MessageRecord | undefined>
  /** The ledger again, after an operator resolved everything unknown. */
  readonly resolved: readonly MessageRecord[]
  /** Subjects of messages the servers refuse for good. */
  readonly refused: ReadonlySet<string>
  /** The store itself was killed or cut off now and then. */
  readonly storeFailed: boolean
}

/** One call of a process. Without `receipt` and `error` the process was killed before it ended. */
export interface Call {
  readonly process: string
  readonly verb: 'send' | 'enqueue' | 'cancel'
  /** One subject stands for one message; with the same key it is the same. */
  readonly subject: string
  readonly key?: string
  /** What `cancel` was asked for. */
  readonly id?: string
  readonly receipt?: Receipt
  readonly error?: { readonly code: string; readonly id?: string }
}

/** A message a server took. */
export interface Taken {
  readonly server: string
  /** X-Sendwright-Id. */
  readonly id: string
  readonly subject: string
  readonly key?: string
  readonly recipients: readonly string[]
}

export interface Violation {
  /** The promise that was broken. */
  readonly rule: 'P1' | 'P2' | 'P7' | 'D1' | 'O1'
  readonly kind: Kind
  readonly text: string
}

export type Kind =
  /** Promised, and not in the ledger, or there without having been sent. */
  | 'lost'
  | 'doubled'
  /** Handed over again although an earlier attempt may have been taken. */
  | 'repeated'
  /** One key, several messages. */
  | 'two effects'
  /** The same message, told differently. */
  | 'other receipt'
  /** The ledger denies what a server took. */
  | 'denied'
  /** Neither settled nor held. */
  | 'left'
  /** Unknown, and not listed as such, or the other way round. */
  | 'not held'
  | 'not resolved'
  /** In the ledger, and nobody was promised anything. */
  | 'unaccepted'
  | 'sent although cancelled'
  | 'wrong error'

const terminal: ReadonlySet<MessageStatus> = new Set([
  'sent',
  'partial',
  'sandboxed',
  'suppressed',
  'rejected',
  'failed',
  'cancelled',
  'expired',
])
const took: ReadonlySet<MessageStatus> = new Set(['sent', 'partial'])
/** After these a key may be used again (K4). */
const freed: ReadonlySet<MessageStatus> = new Set(['failed', 'cancelled', 'expired', 'suppressed'])

/** Everything in the history that the invariants forbid. Empty when they held. */
export function violations(history: History): Violation[] {
  const book = bookOf(history)
  return [
    lost,
    unsent,
    doubled,
    repeated,
    keysKept,
    denied,
    left,
    heldAndResolved,
    unaccepted,
    cancelled,
    wrongErrors,
  ].flatMap((rule) => [...rule(history, book)])
}

interface Book {
  readonly records: ReadonlyMap<string, MessageRecord>
  readonly bySubject: ReadonlyMap<string, readonly MessageRecord[]>
  readonly takenById: ReadonlyMap<string, readonly Taken[]>
  readonly callsBySubject: ReadonlyMap<string, readonly Call[]>
}

function bookOf({ ledger, gets, taken, calls }: History): Book {
  const records = new Map(ledger.map((record) => [record.id, record]))
  for (const [id, record] of gets) if (record && !records.has(id)) records.set(id, record)
  return {
    records,
    bySubject: Map.groupBy(records.values(), ({ subject }) => subject),
    takenById: Map.groupBy(taken, ({ id }) => id),
    callsBySubject: Map.groupBy(calls, ({ subject }) => subject),
  }
}

/** P1: what a caller was told of is in the ledger, found by `list` as by `get`, and says what the caller was told. */
function* lost({ calls, ledger, gets, storeFailed }: History, { records }: Book): Generator<Violation> {
  const listed = new Set(ledger.map(({ id }) => id))
  for (const { receipt, error, process, verb } of calls) {
    const id = receipt?.id ?? (error && toldOf.has(error.code) ? error.id : undefined)
    if (id === undefined) continue
    const record = records.get(id)
    const told = `${process} was told ${receipt?.status ?? error?.code} by ${verb}`
    if (!record) yield { rule: 'P1', kind: 'lost', text: `${id}: ${told}, and the ledger does not know it` }
    else if (!listed.has(id)) yield { rule: 'P1', kind: 'lost', text: `${id}: get finds it and list does not` }
    else if (receipt && took.has(receipt.status) && !took.has(record.status)) {
      // A store that was down may have missed the last word.
      if (storeFailed && record.status === 'unknown') continue
      yield { rule: 'P1', kind: 'lost', text: `${id}: ${told}, and the ledger says ${record.status}` }
    }
  }
  for (const [id, record] of gets) {
    if (!record && listed.has(id)) yield { rule: 'P1', kind: 'lost', text: `${id}: list finds it and get does not` }
  }
}

/** These errors speak of a message that exists. */
const toldOf: ReadonlySet<string> = new Set(['OUTCOME_UNKNOWN', 'REJECTED'])

/** P1: what the ledger calls sent was taken by a server, and what was queued and not stopped was sent. */
function* unsent({ refused }: History, { records, takenById, callsBySubject }: Book): Generator<Violation> {
  for (const record of records.values()) {
    const { id, status, subject } = record
    const mailboxes = new Set(takenById.get(id)?.flatMap(({ recipients }) => recipients))
    for (const { address, status: said } of record.recipients) {
      if (said === 'sent' && !mailboxes.has(address)) {
        yield { rule: 'P1', kind: 'lost', text: `${id}: the ledger says sent, and no server took it for a recipient` }
      }
    }
    const calls = callsBySubject.get(subject) ?? []
    if (!calls.some(({ verb }) => verb === 'enqueue')) continue
    const stopped = calls.some((call) => call.verb === 'cancel' && call.id === id)
    const fine =
      took.has(status) ||
      status === 'unknown' ||
      (status === 'rejected' && refused.has(subject)) ||
      (status === 'cancelled' && stopped)
    if (!fine) yield { rule: 'P1', kind: 'lost', text: `${id}: queued, never stopped, and ended ${status}` }
  }
}

/** P2, P7: no mailbox gets a message twice, by whatever name one knows it. */
function* doubled({ taken }: History): Generator<Violation> {
  for (const name of ['id', 'key', 'subject'] as const) {
    const rule = name === 'key' ? 'P7' : 'P2'
    const seen = new Map<string, Taken>()
    for (const one of taken) {
      if (one[name] === undefined) continue
      for (const address of one.recipients) {
        const before = seen.get(JSON.stringify([one[name], address]))
        seen.set(JSON.stringify([one[name], address]), one)
        if (!before) continue
        const text = `${name} ${one[name]}: taken by ${before.server} as ${before.id} and by ${one.server} as ${one.id}`
        yield { rule, kind: 'doubled', text }
      }
    }
  }
}

/** P2: nothing follows an attempt that may have been taken. */
function* repeated(_: History, { records }: Book): Generator<Violation> {
  for (const { id, attempts, recipients } of records.values()) {
    for (const { number, outcome } of attempts.slice(0, -1)) {
      // An attempt that reached some of several recipients, or may have, is followed by one for the others.
      if (outcome === 'failed' || recipients.length > 1) continue
      yield { rule: 'P2', kind: 'repeated', text: `${id}: attempt ${number} is ${outcome} and another followed` }
    }
  }
}

/** P7: one key has one message that was not given up, and every caller hears of the same one. */
function* keysKept({ calls }: History, { bySubject, records }: Book): Generator<Violation> {
  const keyed = Map.groupBy(
    calls.filter(({ key }) => key !== undefined),
    ({ subject }) => subject,
  )
  for (const [subject, own] of keyed) {
    const told = own.flatMap(({ receipt }) => (receipt ? [receipt] : []))
    const ids = new Set([...(bySubject.get(subject) ?? []), ...told].map(({ id }) => id))
    const alive = [...ids].filter((id) => !freed.has(records.get(id)?.status ?? 'sent'))
    if (alive.length > 1) yield { rule: 'P7', kind: 'two effects', text: `${subject}: ${alive.join(' and ')}` }
    for (const [id, receipts] of Map.groupBy(told, (receipt) => receipt.id)) {
      const facts = new Set(receipts.map(({ createdAt, messageId }) => JSON.stringify([createdAt, messageId])))
      if (facts.size > 1) {
        yield { rule: 'P7', kind: 'other receipt', text: `${id}: ${[...facts].join(' and ')}` }
      }
    }
  }
}

/** D1, O1: what a server took is sent or held, and never called failed or refused. */
function* denied({ taken }: History, { records }: Book): Generator<Violation> {
  for (const { id, server, recipients } of taken) {
    const record = records.get(id)
    if (!record) {
      yield { rule: 'D1', kind: 'denied', text: `${id}: ${server} took it, and the ledger does not know it` }
      continue
    }
    for (const { address, status } of record.recipients) {
      if (!recipients.includes(address) || status === 'sent' || status === 'unknown') continue
      yield { rule: 'O1', kind: 'denied', text: `${id}: ${server} took it, and the ledger says ${status}` }
    }
  }
}

function* left(_: History, { records }: Book): Generator<Violation> {
  for (const { id, status, attempts } of records.values()) {
    if (!terminal.has(status) && status !== 'unknown') {
      yield { rule: 'P1', kind: 'left', text: `${id}: still ${status}` }
    } else if (attempts.some(({ outcome }) => outcome === undefined)) {
      yield { rule: 'D1', kind: 'left', text: `${id}: ${status}, with an attempt that has no outcome` }
    }
  }
}

/** D1: everything unknown is listed as such, and an operator's word ends it. */
function* heldAndResolved({ held, resolved }: History, { records }: Book): Generator<Violation> {
  const listed = new Set(held.map(({ id }) => id))
  for (const { id, status, attempts } of records.values()) {
    if ((status === 'unknown') !== listed.has(id)) {
      yield {
        rule: 'D1',
        kind: 'not held',
        text: `${id}: ${status}, and ${listed.has(id) ? '' : 'not '}listed as unknown`,
      }
    }
    if (status === 'unknown' && !attempts.some(({ outcome }) => outcome === 'unknown')) {
      yield { rule: 'D1', kind: 'not held', text: `${id}: unknown, and no attempt of it is` }
    }
  }
  for (const { id, status } of resolved) {
    if (!terminal.has(status)) yield { rule: 'D1', kind: 'not resolved', text: `${id}: ${status} after resolve` }
  }
}

/** What nobody was promised and nobody was handed is no message: a claimed key is nothing one can see. */
function* unaccepted({ calls }: History, { records, callsBySubject }: Book): Generator<Violation> {
  const told = new Set(calls.map(({ receipt, error }) => receipt?.id ?? error?.id))
  for (const { id, subject, attempts, status } of records.values()) {
    const own = callsBySubject.get(subject) ?? []
    if (own.length === 0) yield { rule: 'P1', kind: 'unaccepted', text: `${id}: in the ledger, and nobody sent it` }
    else if (attempts.length === 0 && !told.has(id) && !own.some(({ verb }) => verb === 'enqueue')) {
      yield { rule: 'P1', kind: 'unaccepted', text: `${id}: ${status}, although its call never got as far` }
    }
  }
}

function* cancelled({ calls }: History, { records, takenById }: Book): Generator<Violation> {
  for (const { verb, id, receipt } of calls) {
    if (verb !== 'cancel' || id === undefined || !receipt) continue
    const status = records.get(id)?.status
    if (status === 'cancelled' && !takenById.has(id)) continue
    yield { rule: 'P1', kind: 'sent although cancelled', text: `${id}: cancelled, and the ledger says ${status}` }
  }
}

/** A failure is a documented one, and one this run can explain. */
function* wrongErrors({ calls, refused, storeFailed }: History): Generator<Violation> {
  const always = new Set(['IDEMPOTENCY_IN_PROGRESS', 'OUTCOME_UNKNOWN', 'SEND_FAILED', 'CANCELLED'])
  for (const { verb, subject, process, error } of calls) {
    if (!error || always.has(error.code)) continue
    if (error.code === 'REJECTED' && refused.has(subject)) continue
    if (error.code === 'STORE_UNAVAILABLE' && storeFailed) continue
    if (verb === 'cancel' && error.code === 'INVALID_STATE') continue
    yield { rule: 'P7', kind: 'wrong error', text: `${process}: ${verb} of ${subject} rejected with ${error.code}` }
  }
}
