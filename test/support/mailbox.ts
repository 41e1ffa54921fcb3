import assert from 'node:assert/strict'
import { type MemoryOptions, type MemoryProvider, memory } from '../../providers/memory.ts'
import { createMailer, MailError, type MailErrorCode, type Mailer, type MailerOptions } from '../../src/index.ts'
import { type FakeClock, fakeClock } from '../../src/testing/fake-clock.ts'

export interface Setup {
  readonly mailer: Mailer<{ outbox: MemoryProvider }>
  readonly outbox: MemoryProvider
  readonly clock: FakeClock
}

/** A mailer whose time stands still, over a provider that remembers. */
export function setup(
  options: Partial<Omit<MailerOptions<{ outbox: MemoryProvider }>, 'providers'>> = {},
  provider: MemoryOptions = {},
): Setup {
  const outbox = memory(provider)
  const clock = fakeClock()
  const mailer = createMailer({ providers: { outbox }, from: 'Acme <hello@acme.example>', clock, ...options })
  return { mailer, outbox, clock }
}

export const order = { to: 'ada@example.com', subject: 'Your order', text: 'It is on its way.' } as const

/** What JavaScript callers may hand over. */
export const loose = (value: unknown): never => value as never

/** The `MailError` the call rejects with; anything else fails the test. */
export async function refusal(
  call: Promise<unknown> | (() => Promise<unknown>),
  code?: MailErrorCode,
): Promise<MailError> {
  let answer: unknown
  try {
    answer = await (typeof call === 'function' ? call() : call)
  } catch (error) {
    assert.ok(error instanceof MailError, `no MailError but ${String(error)}`)
    if (code !== undefined) assert.equal(error.code, code, error.message)
    return error
  }
  assert.fail(`resolved with ${JSON.stringify(answer)?.slice(0, 200)}`)
}

/** Runs time on, in small steps, until the call settles or `ms` have passed. */
export async function runOut<T>(clock: FakeClock, call: Promise<T>, ms: number, step = 1_000): Promise<T> {
  let settled = false
  const noted = call.finally(() => {
    settled = true
  })
  noted.catch(() => undefined)
  for (let passed = 0; passed < ms && !settled; passed += step) await clock.advance(step)
  assert.ok(settled, `still open after ${ms} ms`)
  return noted
}
