import assert from 'node:assert/strict'
import http from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { inspect } from 'node:util'
import type { Delivery } from '../../src/delivery.ts'
import type { MailError, Provider } from '../../src/provider.ts'
import { type DeliveryInput, deliveryOf } from './delivery.ts'

/** What the tests of the HTTP adapters share. */

export const context = (timeout = 5000) => ({ signal: new AbortController().signal, timeout })

/** One of everything the message model has. */
export function fullDelivery(patch: DeliveryInput = {}): Delivery {
  return deliveryOf({
    ...patch,
    message: {
      from: { name: 'Ünal & Söhne, Ltd.', address: 'hello@acme.example' },
      to: [
        { name: 'Lovelace, Ada "Countess"', address: 'ada@example.com' },
        { name: 'Łukasz Żółć 🎉', address: 'lukasz@xn--bcher-kva.example' },
      ],
      cc: [{ address: 'cc@example.com' }],
      bcc: [{ name: 'Hidden', address: 'hidden@example.com' }],
      replyTo: [{ name: 'Müller; Support', address: 'support@acme.example' }, { address: 'other@acme.example' }],
      subject: 'Größe: ✓ "quoted", done',
      text: 'Plain – text\nwith two lines',
      html: '<p>Rich – text <img src="cid:logo.png"></p>',
      headers: [
        { name: 'List-Unsubscribe', value: '<https://acme.example/u?t=1>, <mailto:u@acme.example>' },
        { name: 'List-Unsubscribe-Post', value: 'List-Unsubscribe=One-Click' },
        { name: 'X-Place', value: 'Köln, 東京' },
      ],
      attachments: [
        { filename: 'report.pdf', content: bytes(3000), contentType: 'application/pdf' },
        { filename: 'logo.png', content: bytes(100), contentType: 'image/png', contentId: 'logo.png' },
      ],
      tags: ['welcome', 'v2_a-b'],
      metadata: { order: '1048', note: 'grün & "blau"' },
      importance: 'high',
      inReplyTo: '<first@acme.example>',
      references: ['<zero@acme.example>', '<first@acme.example>'],
      ...patch.message,
    },
  })
}

export const calendar = {
  method: 'REQUEST',
  content: 'BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n',
  filename: 'invite.ics',
} as const

/** Every byte value, in an order that shows losses. */
function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7) % 256)
}

export async function failureOf(promise: Promise<unknown>): Promise<MailError> {
  return promise.then(
    () => assert.fail('it should have failed'),
    (error) => error as MailError,
  )
}

/** P11, L2: none of these texts in any way to look at the values. */
export function assertSilent(canaries: readonly string[], ...values: readonly unknown[]): void {
  for (const value of values) {
    const stack = value instanceof Error ? `${value.stack}${inspect(value.cause)}` : ''
    const seen = `${inspect(value, { depth: 12, showHidden: true })}${JSON.stringify(value)}${String(value)}${stack}`
    for (const canary of canaries) {
      assert.ok(!seen.includes(canary), 'a secret shows')
      assert.ok(
        !seen.includes(Buffer.from(canary).toString('base64').replace(/=+$/, '').slice(0, -1)),
        'a secret shows',
      )
    }
  }
}

/** A port on which nobody listens. */
export function closedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** The facts of an error that routing looks at. */
export const facts = ({ code, outcome, kind, retryable, retryAfter }: MailError) => ({
  code,
  outcome,
  kind,
  retryable,
  ...(retryAfter === undefined ? {} : { retryAfter }),
})

export const failed = (kind: string) => ({
  code: 'SEND_FAILED',
  outcome: 'failed',
  kind,
  retryable: ['connection', 'timeout', 'transient', 'throttled'].includes(kind),
})
export const rejected = (kind: string) => ({ code: 'REJECTED', outcome: 'rejected', kind, retryable: false })
export const unknown = (kind: string) => ({ code: 'OUTCOME_UNKNOWN', outcome: 'unknown', kind, retryable: false })

/** The paths of what a provider refuses. */
export const refusedPaths = (provider: Provider, delivery: Delivery, options?: unknown) =>
  (provider.refuse?.(delivery, options) ?? []).map((issue) => issue.path)

export interface FixedAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** A server that gives every request the current answer. */
export async function answering(first: FixedAnswer) {
  const state = { answer: first, requests: 0, headers: {} as http.IncomingHttpHeaders }
  const server = http.createServer((request, response) => {
    request.resume().on('end', () => {
      state.requests++
      state.headers = request.headers
      response.writeHead(state.answer.status, state.answer.headers)
      response.end(state.answer.body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    state,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
