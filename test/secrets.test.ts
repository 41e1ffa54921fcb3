import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { memory } from '../providers/memory.ts'
import { callOf } from '../src/call.ts'
import { createMailer, handOverError, MailError, type Mailer, type Policy } from '../src/index.ts'
import { memory as memoryStore } from '../src/stores/memory.ts'
import { noAccidents } from './support/accidents.ts'
import { loose } from './support/mailbox.ts'
import { watched } from './support/watched-store.ts'

noAccidents()

/** In every secret and personal field (X6). Whatever is written down somewhere must not hold it. */
const canary = 'cAnArY7f3e'
const address = `${canary}@secret.example`
const message = {
  to: `${canary} <${address}>`,
  cc: { name: canary, address: `cc-${address}` },
  bcc: `bcc-${address}`,
  replyTo: `reply-${address}`,
  subject: canary,
  text: canary,
  html: canary,
  headers: { 'X-Token': canary },
  metadata: { note: canary },
  attachments: [{ filename: 'a.txt', content: canary, encoding: 'utf8' }],
} as const

/** Everything one may write to a log about a value. */
function written(value: unknown): string {
  const texts = [inspect(value, { depth: 20, showHidden: true, getters: false }), String(value)]
  try {
    texts.push(JSON.stringify(value) ?? '')
  } catch {
    // A circle cannot be written that way.
  }
  if (value instanceof Error)
    texts.push(value.message, value.stack ?? '', inspect({ nested: { error: value } }, { depth: 9 }))
  return texts.join('\n')
}

const silent = (what: string, value: unknown) =>
  assert.ok(
    !written(value).toLowerCase().includes(canary.toLowerCase()),
    `${what} holds the canary: ${written(value).slice(0, 1_500)}`,
  )

interface Case {
  readonly name: string
  readonly make?: () => Parameters<typeof createMailer>[0]
  readonly call: (mailer: Mailer) => Promise<unknown>
}

const outbox = () => memory({ from: 'hello@acme.example' })
const failing = (outcome: 'rejected' | 'failed' | 'unknown') => () => {
  const provider = outbox()
  provider.failNext({ outcome, kind: 'content', reason: `refused <${address}>: ${address}` }, 9)
  return { providers: { provider } }
}
const throwing = (thrown: unknown) => () => ({
  providers: { provider: { ...outbox(), send: async () => Promise.reject(thrown) } },
})
const sdkError = Object.assign(new Error(`401 for key ${canary}`), {
  config: { auth: canary },
  response: { body: canary },
})
const policy =
  (thrown: unknown): Policy =>
  () =>
  async () => {
    throw thrown
  }

const cases: Case[] = [
  { name: 'sent', call: (mailer) => mailer.send(loose(message)) },
  { name: 'a bad address', call: (mailer) => mailer.send(loose({ ...message, to: `${canary} at example` })) },
  { name: 'a bad name', call: (mailer) => mailer.send(loose({ ...message, to: { name: `${canary}\n`, address } })) },
  {
    name: 'a bad header',
    call: (mailer) => mailer.send(loose({ ...message, headers: { [`${canary} x`]: `${canary}\n` } })),
  },
  { name: 'an unknown field', call: (mailer) => mailer.send(loose({ ...message, [address]: canary })) },
  { name: 'bad metadata', call: (mailer) => mailer.send(loose({ ...message, metadata: { [address]: canary } })) },
  { name: 'bad tags', call: (mailer) => mailer.send(loose({ ...message, tags: [address] })) },
  { name: 'bad importance', call: (mailer) => mailer.send(loose({ ...message, importance: canary })) },
  { name: 'a bad key', call: (mailer) => mailer.send(loose(message), { idempotencyKey: `${canary} x` }) },
  {
    name: 'a mismatch',
    call: async (mailer) => {
      await mailer.send(loose(message), { idempotencyKey: canary })
      await mailer.send(loose({ ...message, text: 'x' }), { idempotencyKey: canary })
    },
  },
  { name: 'an unknown option', call: (mailer) => mailer.send(loose(message), loose({ [address]: canary })) },
  { name: 'an unknown provider', call: (mailer) => mailer.send(loose(message), { provider: canary }) },
  { name: 'an unknown tenant', call: (mailer) => mailer.send(loose(message), { tenant: canary }) },
  { name: 'a bad tenant', call: (mailer) => mailer.send(loose(message), { tenant: address }) },
  {
    name: 'options for nobody',
    call: (mailer) => mailer.send(loose({ ...message, providerOptions: { [canary]: { key: canary } } })),
  },
  {
    name: 'a forbidden sender',
    make: () => ({ providers: { outbox: outbox() }, senders: ['acme.example'] }),
    call: (mailer) => mailer.send(loose({ ...message, from: address })),
  },
  {
    name: 'suppressed',
    call: async (mailer) => {
      await mailer.suppressions.add({ address, note: canary })
      await mailer.send(loose(message))
    },
  },
  { name: 'a bad suppression', call: (mailer) => mailer.suppressions.add({ address: `${canary} at example` }) },
  { name: 'rejected', make: failing('rejected'), call: (mailer) => mailer.send(loose(message)) },
  { name: 'failed', make: failing('failed'), call: (mailer) => mailer.send(loose(message)) },
  { name: 'unknown', make: failing('unknown'), call: (mailer) => mailer.send(loose(message)) },
  { name: 'an SDK error', make: throwing(sdkError), call: (mailer) => mailer.send(loose(message)) },
  { name: 'thrown text', make: throwing(canary), call: (mailer) => mailer.send(loose(message)) },
  {
    name: 'a provider’s words',
    make: throwing(
      handOverError({
        outcome: 'rejected',
        kind: 'content',
        reason: `550 <${address}> key ${canary}`,
        secrets: [canary],
      }),
    ),
    call: (mailer) => mailer.send(loose(message)),
  },
  {
    name: 'a store that fails',
    make: () => ({
      providers: { outbox: outbox() },
      store: watched(memoryStore(), (verb) => {
        if (verb === 'claim') throw sdkError
      }),
    }),
    call: (mailer) => mailer.send(loose(message)),
  },
  { name: 'queued', call: (mailer) => mailer.enqueue(loose(message), { idempotencyKey: canary }) },
  {
    name: 'a batch',
    call: async (mailer) => {
      const { results } = await mailer.sendBatch([
        loose(message),
        loose({ to: canary }),
        loose({ message, options: { [canary]: canary } }),
      ])
      for (const { error } of results) if (error) silent('a batch error', error)
    },
  },
]

describe('errors, events, logs and objects hold no secret and nobody’s address (P11, L1 to L3)', () => {
  for (const { name, make = () => ({ providers: { outbox: outbox() } }), call } of cases) {
    test(name, async () => {
      const log: unknown[] = []
      const logger = { debug: note, info: note, warn: note, error: note }
      function note(...line: unknown[]) {
        log.push(line)
      }
      const seen: Policy = (next) => (delivery) => {
        silent('the call of a delivery', callOf(delivery).context)
        return next(delivery)
      }
      const mailer = createMailer({
        ...make(),
        logger,
        retry: { rounds: 1 },
        policies: { accept: [seen], dispatch: [seen] },
      })
      for (const type of ['accepted', 'attempt', 'outcome', 'settled', 'health', 'warning'] as const) {
        mailer.on(type, (event) => log.push(event))
      }
      try {
        await call(mailer)
      } catch (error) {
        assert.ok(error instanceof MailError, String(error))
        silent('the error', error)
        assert.ok(!JSON.stringify(error.issues).includes(canary))
      }
      await mailer.close()
      for (const line of log) silent('a log line', line)
      silent('the mailer', mailer)
      silent('a tenant’s mailer', mailer.tenant('t'))
    })
  }

  test('what a policy threw is kept as the cause and shown by neither JSON nor inspection', async () => {
    const mailer = createMailer({ providers: { outbox: outbox() }, policies: { accept: [policy(sdkError)] } })
    const error = await mailer.send(loose(message)).catch((thrown: unknown) => thrown)
    assert.equal((error as Error).cause, sdkError)
    assert.ok(!JSON.stringify(error).includes(canary))
    assert.ok(!inspect(error).includes(canary))
  })

  test('the receipt is there for who asks, and in no log by accident', async () => {
    const mailer = createMailer(failing('rejected')())
    const error = (await mailer.send(loose(message)).catch((thrown: unknown) => thrown)) as MailError
    assert.equal(error.receipt!.recipients[0]!.address, address)
    silent('the error', error)
    silent('a copy of its fields', { ...error })
  })

  test('options refused by createMailer are not repeated', () => {
    for (const options of [
      { [address]: 1 },
      { from: `${canary} at x` },
      { senders: [`${canary} x`] },
      { store: `redis://:${canary}@host` },
      { timeout: canary },
    ]) {
      assert.throws(
        () => createMailer(loose({ providers: { outbox: outbox() }, ...options })),
        (error) => {
          silent('the error', error)
          return error instanceof MailError
        },
      )
    }
  })
})
