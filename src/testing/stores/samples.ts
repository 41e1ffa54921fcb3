import assert from 'node:assert/strict'
import type { Attachment, MessageSnapshot } from '../../message/message.ts'
import type { MailStore, QueuedWork, Row, StoredSuppression } from '../../stores/store.ts'
import { day, lease } from './case.ts'

let made = 0

/** A row as the ledger writes it; ids ascend. */
export function rowOf(change: Partial<Row> = {}): Row {
  const id = `msg_${(++made).toString(16).padStart(12, '0')}`
  return {
    v: 1,
    id,
    kind: 'send',
    accepted: true,
    status: 'dispatching',
    messageId: `<${id}@acme.example>`,
    from: 'hello@acme.example',
    subject: 'Your order',
    stream: 'transactional',
    tags: [],
    recipients: [{ address: 'ada@example.com', field: 'to', status: 'pending' }],
    attempts: [],
    sandbox: false,
    priority: 0,
    createdAt: Date.UTC(2026, 0, 1),
    runs: 0,
    ...change,
  }
}

/** A message as a queued row keeps it. */
export function message(change: Partial<MessageSnapshot> = {}): MessageSnapshot {
  const attachment: Attachment = {
    filename: 'a.bin',
    content: Uint8Array.from({ length: 256 }, (_, i) => i),
    contentType: 'application/octet-stream',
  }
  return {
    from: { address: 'hello@acme.example' },
    to: [{ name: 'Ada', address: 'ada@example.com' }],
    cc: [],
    bcc: [],
    replyTo: [],
    subject: 'Your order',
    text: 'It is on its way.',
    attachments: [attachment],
    headers: [{ name: 'X-A', value: 'b' }],
    tags: [],
    metadata: { order: '1048' },
    references: [],
    providerOptions: { ses: { configurationSet: 'main' } },
    ...change,
  }
}

export function work(): QueuedWork {
  return { message: message(), onUnknown: 'hold', timeout: 1, taken: [{ key: 'q', windows: [], at: 1 }] }
}

export function suppression(change: Partial<StoredSuppression> = {}): StoredSuppression {
  return { key: 'ada@example.com', scope: 'all', reason: 'manual', createdAt: Date.UTC(2026, 0, 1), ...change }
}

export async function claimed(store: MailStore, row: Row, keyTtl = day): Promise<number> {
  const claim = await store.claim(row, { lease, keyTtl })
  assert.equal(claim.state, 'claimed')
  return (claim as { fence: number }).fence
}

export async function dueIds(store: MailStore, count: number): Promise<string[]> {
  return (await store.due(count, lease)).held.map(({ row }) => row.id)
}

/** Whole numbers from 0 below `below` (mulberry32). */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}
