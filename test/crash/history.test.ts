import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Attempt, MessageRecord, MessageStatus, Outcome, Receipt } from '../../src/index.ts'
import { type Call, type History, type Kind, type Taken, violations } from './history.ts'

const createdAt = '2026-11-21T08:00:00.000Z'

function record(
  id: string,
  subject: string,
  status: MessageStatus,
  outcomes: readonly (Outcome | undefined)[],
): MessageRecord {
  const attempts = outcomes.map(
    (outcome, i): Attempt => ({ number: i + 1, provider: 'a', startedAt: createdAt, ...(outcome ? { outcome } : {}) }),
  )
  const said = { sent: 'sent', unknown: 'unknown', rejected: 'rejected', failed: 'failed' } as const
  const recipient = said[status as keyof typeof said] ?? 'pending'
  return {
    ...receipt(id, status),
    subject,
    attempts,
    recipients: [{ address: 'ada@example.com', field: 'to', status: recipient }],
    events: [],
  }
}

function receipt(id: string, status: MessageStatus, replayed = false): Receipt {
  const messageId = `<${id}@acme.example>`
  return {
    id,
    status,
    messageId,
    from: '',
    subject: '',
    recipients: [],
    attempts: [],
    sandbox: false,
    replayed,
    createdAt,
  }
}

const taken = (id: string, subject: string, key?: string): Taken => ({
  server: 'a',
  id,
  subject,
  recipients: ['ada@example.com'],
  ...(key === undefined ? {} : { key }),
})

const sendKey = { verb: 'send', subject: 'keyed', key: 'k' } as const

/** A run in which everything happened that may: nothing in it is forbidden. */
function sound(): Mutable {
  const ledger = [
    record('sent', 'keyed', 'sent', ['failed', 'sent']),
    record('free', 'keyed', 'failed', ['failed']),
    record('queued', 'queued', 'sent', ['sent']),
    record('held', 'held', 'unknown', ['unknown']),
    record('held and taken', 'held and taken', 'unknown', ['unknown']),
    record('refused', 'refused', 'rejected', ['rejected']),
    record('stopped', 'stopped', 'cancelled', []),
  ]
  return {
    calls: [
      { process: '0.1', ...sendKey, error: { code: 'SEND_FAILED', id: 'free' } },
      { process: '0.1', ...sendKey, receipt: receipt('sent', 'sent') },
      { process: '1.1', ...sendKey, receipt: receipt('sent', 'sent', true) },
      { process: '1.1', ...sendKey, error: { code: 'IDEMPOTENCY_IN_PROGRESS', id: 'sent' } },
      { process: '1.1', verb: 'enqueue', subject: 'queued', receipt: receipt('queued', 'queued') },
      { process: '1.1', verb: 'send', subject: 'held' },
      {
        process: '1.1',
        verb: 'send',
        subject: 'held and taken',
        error: { code: 'OUTCOME_UNKNOWN', id: 'held and taken' },
      },
      { process: '1.1', verb: 'send', subject: 'refused', error: { code: 'REJECTED', id: 'refused' } },
      { process: '1.1', verb: 'enqueue', subject: 'stopped', receipt: receipt('stopped', 'scheduled') },
      { process: '1.1', verb: 'cancel', subject: 'stopped', id: 'stopped', receipt: receipt('stopped', 'cancelled') },
      { process: '1.1', verb: 'enqueue', subject: 'never begun' },
    ],
    taken: [taken('sent', 'keyed', 'k'), taken('queued', 'queued'), taken('held and taken', 'held and taken')],
    ledger,
    held: ledger.filter(({ status }) => status === 'unknown'),
    gets: new Map(ledger.map((one) => [one.id, one])),
    resolved: [
      record('held', 'held', 'failed', ['unknown']),
      record('held and taken', 'held and taken', 'sent', ['unknown']),
    ],
    refused: new Set(['refused']),
    storeFailed: false,
  }
}

interface Mutable extends Omit<History, 'calls' | 'taken' | 'ledger' | 'held' | 'gets' | 'resolved' | 'storeFailed'> {
  calls: Call[]
  taken: Taken[]
  ledger: MessageRecord[]
  held: MessageRecord[]
  gets: Map<string, MessageRecord | undefined>
  resolved: MessageRecord[]
  storeFailed: boolean
}

/** Puts another record in the place of one, for `list` and `get`. */
function rewrite(history: Mutable, id: string, change: Partial<MessageRecord>): void {
  const changed = { ...history.gets.get(id)!, ...change }
  history.ledger = history.ledger.map((one) => (one.id === id ? changed : one))
  history.held = history.ledger.filter(({ status }) => status === 'unknown')
  history.gets.set(id, changed)
}

function forget(history: Mutable, id: string): void {
  history.ledger = history.ledger.filter((one) => one.id !== id)
  history.gets.set(id, undefined)
}

function add(history: Mutable, one: MessageRecord): void {
  history.ledger.push(one)
  history.gets.set(one.id, one)
}

const failed = (address: string) => [{ address, field: 'to', status: 'failed' } as const]

/** What is wrong, by the kind of violation that must be found in it. */
const wrongs: readonly (readonly [Kind, string, (history: Mutable) => void])[] = [
  ['lost', 'an acknowledged send is not in the ledger', (h) => forget(h, 'sent')],
  ['lost', 'a promised queued message is not in the ledger', (h) => forget(h, 'queued')],
  ['lost', 'a message that may have been sent is not in the ledger', (h) => forget(h, 'held and taken')],
  ['lost', 'get finds what list does not', (h) => h.ledger.splice(0, 1)],
  ['lost', 'list finds what get does not', (h) => h.gets.set('sent', undefined)],
  ['lost', 'the ledger says sent and no server took it', (h) => h.taken.splice(1, 1)],
  ['lost', 'a caller was told sent and the ledger says unknown', (h) => rewrite(h, 'sent', { status: 'unknown' })],
  ['lost', 'a queued message failed', (h) => rewrite(h, 'queued', { status: 'failed' })],
  ['lost', 'a queued message was cancelled by nobody', (h) => rewrite(h, 'queued', { status: 'cancelled' })],
  ['lost', 'a queued message was refused by no server', (h) => rewrite(h, 'queued', { status: 'rejected' })],
  ['doubled', 'one id was taken twice', (h) => h.taken.push(taken('queued', 'queued'))],
  ['doubled', 'one key was taken under two ids', (h) => h.taken.push(taken('free', 'keyed', 'k'))],
  ['doubled', 'one id was taken by two servers', (h) => h.taken.push({ ...taken('sent', 'keyed', 'k'), server: 'b' })],
  [
    'repeated',
    'an attempt followed one that may have been taken',
    (h) => rewrite(h, 'held', { attempts: record('', '', 'unknown', ['unknown', 'unknown']).attempts }),
  ],
  [
    'repeated',
    'an attempt followed one that was sent',
    (h) => rewrite(h, 'sent', { attempts: record('', '', 'sent', ['sent', 'sent']).attempts }),
  ],
  [
    'two effects',
    'one key has two messages in the ledger',
    (h) => add(h, record('second', 'keyed', 'unknown', ['unknown'])),
  ],
  [
    'two effects',
    'two callers of one key were told of two messages',
    (h) => h.calls.push({ process: '2.1', ...sendKey, receipt: receipt('second', 'sent') }),
  ],
  [
    'other receipt',
    'the same message was told with another createdAt',
    (h) => h.calls.push({ process: '2.1', ...sendKey, receipt: { ...receipt('sent', 'sent'), createdAt: 'later' } }),
  ],
  [
    'other receipt',
    'the same message was told with another Message-ID',
    (h) => h.calls.push({ process: '2.1', ...sendKey, receipt: { ...receipt('sent', 'sent'), messageId: '<other>' } }),
  ],
  ['denied', 'a server took what the ledger does not know', (h) => h.taken.push(taken('nobody', 'never begun'))],
  [
    'denied',
    'a server took what the ledger calls failed',
    (h) => rewrite(h, 'held and taken', { status: 'failed', recipients: failed('ada@example.com') }),
  ],
  ['left', 'a message is still queued', (h) => rewrite(h, 'queued', { status: 'queued' })],
  ['left', 'a message is still dispatching', (h) => rewrite(h, 'held', { status: 'dispatching' })],
  [
    'left',
    'a settled message has an attempt without outcome',
    (h) => rewrite(h, 'queued', { attempts: record('', '', 'sent', [undefined]).attempts }),
  ],
  ['not held', 'an unknown message is not listed as unknown', (h) => h.held.splice(0, 1)],
  ['not held', 'a sent message is listed as unknown', (h) => h.held.push(h.ledger[0]!)],
  [
    'not held',
    'a message is unknown and no attempt is',
    (h) => rewrite(h, 'held', { attempts: record('', '', 'unknown', ['failed']).attempts }),
  ],
  ['not resolved', 'an unknown message is still unknown after resolve', (h) => h.resolved.push(h.held[0]!)],
  [
    'unaccepted',
    'a message nobody sent is in the ledger',
    (h) => add(h, record('ghost', 'ghost', 'failed', ['failed'])),
  ],
  [
    'unaccepted',
    'a claimed key whose call died shows as a message',
    (h) => {
      h.calls.push({ process: '2.1', verb: 'send', subject: 'claimed' })
      add(h, record('claimed', 'claimed', 'failed', []))
    },
  ],
  ['sent although cancelled', 'a cancelled message was taken', (h) => h.taken.push(taken('stopped', 'stopped'))],
  ['sent although cancelled', 'a cancelled message is not in the ledger', (h) => forget(h, 'stopped')],
  [
    'wrong error',
    'a call failed with what nobody documented',
    (h) => h.calls.push({ process: '2.1', ...sendKey, error: { code: 'INVALID_STATE' } }),
  ],
  [
    'wrong error',
    'the store failed although it was left alone',
    (h) => h.calls.push({ process: '2.1', ...sendKey, error: { code: 'STORE_UNAVAILABLE' } }),
  ],
]

describe('the history checker (X3)', () => {
  test('finds nothing in a sound history', () => {
    assert.deepEqual(violations(sound()), [])
  })

  for (const [kind, name, spoil] of wrongs) {
    test(`finds it when ${name}`, () => {
      const history = sound()
      spoil(history)
      const kinds = violations(history).map((violation) => violation.kind)
      assert.ok(kinds.includes(kind), `${kind} is not among ${kinds.join(', ') || 'no violations'}`)
    })
  }

  test('a store that failed may have missed the last word on a sent message', () => {
    const history = sound()
    history.storeFailed = true
    rewrite(history, 'sent', {
      status: 'unknown',
      attempts: record('', '', 'unknown', ['failed', 'unknown']).attempts,
      recipients: record('', '', 'unknown', []).recipients,
    })
    assert.deepEqual(violations(history), [])
  })
})
