import { createHash } from 'node:crypto'
import type { MessageSnapshot } from '../../src/message/message.ts'
import type { Row } from '../../src/stores/store.ts'
import * as messages from './messages.ts'

/** Different in every process, so that what one left behind is never met by another. */
const run = `${process.pid}-${Date.now().toString(36)}`

export const lease = { owner: 'bench', ms: 30_000 }

/** What a direct send writes with its first attempt: about 1 kB of JSON at its end, with a tag and one recipient. */
export function sendRow(n: number): Row {
  const attempt = { number: 1, provider: 'outbox', startedAt: new Date().toISOString() }
  return { ...rowOf(n), kind: 'send', status: 'dispatching', attempts: [attempt] }
}

/** The same with an idempotency key. */
export const keyedRow = (n: number): Row => ({
  ...sendRow(n),
  key: hash(`key-${n}`),
  fingerprint: hash(`fingerprint-${n}`),
})

/** What `enqueue` writes: the row, and as its content the small message. */
export function queuedRow(n: number): Row {
  return { ...rowOf(n), kind: 'queue', status: 'queued', work: { ...work, message: messageTo(n) } }
}

/** The end of either: what was sent keeps no content. */
export function settledRow({ work: _, ...row }: Row): Row {
  const startedAt = new Date().toISOString()
  const evidence = '250 2.0.0 Ok: queued as 4bXkQ21zJNz9sTt'
  return {
    ...row,
    status: 'sent',
    provider: 'outbox',
    providerMessageId: `provider-${row.id}`,
    sentAt: Date.now(),
    recipients: row.recipients.map((recipient) => ({ ...recipient, status: 'sent' })),
    attempts: [{ number: 1, provider: 'outbox', startedAt, duration: 12, outcome: 'sent', code: '250', evidence }],
  }
}

/** As an application would keep it by itself, without checksums. */
export function jsonOf(row: Row): { readonly body: string; readonly content: string | null } {
  const { work, ...rest } = row
  return { body: JSON.stringify(rest), content: work ? JSON.stringify(work) : null }
}

const hash = (text: string) => createHash('sha256').update(`${run} ${text}`).digest('base64url')

function rowOf(n: number): Omit<Row, 'kind' | 'status'> {
  const id = `msg_${run}-${String(n).padStart(9, '0')}`
  return {
    v: 1,
    id,
    accepted: true,
    messageId: `<${id}@acme.example>`,
    from: 'orders@acme.example',
    subject: `${messages.small.subject}: ${messages.small.text.slice(0, 150)}`,
    stream: 'transactional',
    tags: ['order-shipped'],
    recipients: [{ address: `reader-${n}@example.com`, field: 'to', status: 'pending' }],
    attempts: [],
    sandbox: false,
    priority: 0,
    createdAt: Date.now(),
    runs: 0,
  }
}

const work = { onUnknown: 'hold', timeout: 30_000, taken: [] } as const

const messageTo = (n: number): MessageSnapshot => ({
  ...messages.small,
  from: { name: 'Acme Orders', address: 'orders@acme.example' },
  to: [{ name: `Reader ${n}`, address: `reader-${n}@example.com` }],
  cc: [],
  bcc: [],
  replyTo: [],
  attachments: [],
  headers: [],
  tags: ['order-shipped'],
  metadata: {},
  references: [],
  providerOptions: {},
})
