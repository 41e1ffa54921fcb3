import type { Row } from '../../src/index.ts'
import { settledStatuses } from '../../src/stores/store.ts'
import type { Verb } from '../support/tapped-store.ts'

/** What a verb of the store means for the message: the steps between which a process may die. */
export type Step = 'claim' | 'enqueue' | 'due' | 'attempt 1' | 'attempt 2' | 'failure' | 'requeue' | 'settle'

export function stepOf({ name, args }: Verb): Step | undefined {
  if (name === 'due') return (args[2] as { lost?: boolean } | undefined)?.lost ? undefined : 'due'
  if (name !== 'claim' && name !== 'renew' && name !== 'settle') return undefined
  const { accepted, status, attempts } = args[0] as Row
  const last = attempts.at(-1)
  if (name === 'claim' && !accepted) return 'claim'
  if (status === 'queued' && name !== 'renew') return last ? 'requeue' : 'enqueue'
  if (name === 'settle') return settledStatuses.has(status) || status === 'unknown' ? 'settle' : undefined
  if (last?.outcome === undefined) return attempts.length === 1 ? 'attempt 1' : 'attempt 2'
  return 'failure'
}

export type Moment = 'before' | 'during' | 'after'

export type Death =
  /** At a step of the store. `during` is when it was asked and has not answered. */
  | { readonly step: Step; readonly moment: Moment }
  /** When the last server of the flow has part of the message, or all of it, and has not answered. */
  | { readonly server: 'midBody' | 'afterBody' }

/** What the process does that dies. */
export interface Flow {
  readonly name: string
  readonly does: 'send' | 'enqueue' | 'work'
  readonly keyed: boolean
  /** The first server is busy: `a` refuses for now and `b` takes it, or with `later` the queue tries again. */
  readonly busy?: 'failover' | 'later'
}

/** What is left when all has settled, and what a repeat of the call heard. */
export interface Ending {
  readonly taken: 0 | 1
  /** Statuses in the ledger. */
  readonly ledger: readonly string[]
  readonly repeat?: string
}

export interface Point {
  readonly name: string
  readonly flow: Flow
  readonly death: Death
  /** One of these. */
  readonly endings: readonly Ending[]
}

const nothing: Ending = { taken: 0, ledger: [] }
const held = (taken: 0 | 1): Ending => ({ taken, ledger: ['unknown'] })
const sent: Ending = { taken: 1, ledger: ['sent'] }

/** Before, after, and, where that differs, during the step, when it may end either way. */
function around(flow: Flow, step: Step, before: Ending, after: Ending): Point[] {
  const point = (moment: Moment, endings: readonly Ending[]): Point => ({
    name: `${flow.name}: ${moment} ${words[step]}`,
    flow,
    death: { step, moment },
    endings,
  })
  const during = before === after ? [] : [point('during', [before, after])]
  return [point('before', [before]), ...during, point('after', [after])]
}

const words: Record<Step, string> = {
  claim: 'the claim of the key',
  enqueue: 'the write that promises it',
  due: 'the taking from the queue',
  'attempt 1': 'the attempt record',
  'attempt 2': 'the record of the second attempt',
  failure: 'the record of the failure',
  requeue: 'the return to the queue',
  settle: 'the settling',
}

const handOver = (flow: Flow, heard?: string): Point[] =>
  (['midBody', 'afterBody'] as const).map((server) => ({
    name: `${flow.name}: the server has ${server === 'midBody' ? 'part of it' : 'it'} and has not answered`,
    flow,
    death: { server },
    endings: [{ ...held(server === 'midBody' ? 0 : 1), ...(heard === undefined ? {} : { repeat: heard }) }],
  }))

const unknown = 'OUTCOME_UNKNOWN'
const anew: Ending = { ...sent, repeat: 'sent' }
const replayed: Ending = { ...sent, repeat: 'replayed sent' }
const heldFrom = (taken: 0 | 1): Ending => ({ ...held(taken), repeat: unknown })

function sending(): Point[] {
  const keyed: Flow = { name: 'send with a key', does: 'send', keyed: true }
  const plain: Flow = { name: 'send without a key', does: 'send', keyed: false }
  return [
    ...around(keyed, 'claim', anew, anew),
    ...around(keyed, 'attempt 1', anew, heldFrom(0)),
    ...handOver(keyed, unknown),
    ...around(keyed, 'settle', heldFrom(1), replayed),
    ...around(plain, 'attempt 1', nothing, held(0)),
    ...handOver(plain),
    ...around(plain, 'settle', held(1), sent),
  ]
}

function queueing(): Point[] {
  const keyed: Flow = { name: 'enqueue with a key', does: 'enqueue', keyed: true }
  const plain: Flow = { name: 'enqueue without a key', does: 'enqueue', keyed: false }
  const work: Flow = { name: 'work', does: 'work', keyed: true }
  const first = { ...sent, repeat: 'queued' }
  return [
    ...around(keyed, 'claim', first, first),
    ...around(keyed, 'enqueue', first, { ...sent, repeat: 'replayed queued' }),
    ...around(plain, 'enqueue', nothing, sent),
    ...around(work, 'due', sent, sent),
    ...around(work, 'attempt 1', sent, held(0)),
    ...handOver(work),
    ...around(work, 'settle', held(1), sent),
  ]
}

function retrying(): Point[] {
  const send: Flow = { name: 'send that failed once', does: 'send', keyed: true, busy: 'failover' }
  const work: Flow = { name: 'work that failed once', does: 'work', keyed: true, busy: 'failover' }
  const later: Flow = { name: 'work that failed for now', does: 'work', keyed: true, busy: 'later' }
  const again: Ending = { taken: 1, ledger: ['failed', 'sent'], repeat: 'sent' }
  return [
    ...around(send, 'failure', heldFrom(0), again),
    ...around(send, 'attempt 2', again, heldFrom(0)),
    ...handOver(send, unknown),
    ...around(send, 'settle', heldFrom(1), replayed),
    ...around(work, 'failure', held(0), sent),
    ...around(work, 'attempt 2', sent, held(0)),
    ...handOver(work),
    ...around(work, 'settle', held(1), sent),
    ...around(later, 'requeue', sent, sent),
    ...around(later, 'attempt 2', sent, held(0)),
  ]
}

/** Every named point of accept and dispatch. */
export const points: readonly Point[] = [...sending(), ...queueing(), ...retrying()]
