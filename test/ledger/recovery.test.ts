import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, failover, type MailerOptions } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rejection } from '../support/rejection.ts'
import { fails, handed, partly, pending, type ScriptedProvider, scripted } from '../support/scripted-provider.ts'
import { tapped } from '../support/tapped-store.ts'

const message = { to: ['ada@example.com', 'bob@example.com'], subject: 'Hi', text: 'Hello' }

/** Two mailers on one store: the first "dies" by hanging in its provider or its store until its lease is over. */
function setUp() {
  const clock = fakeClock()
  const store = memory({ clock })
  const mailerWith = (providers: Record<string, ScriptedProvider>, options: Partial<MailerOptions> = {}) =>
    createMailer({
      from: 'hello@acme.example',
      providers,
      route: failover(...Object.keys(providers)),
      clock,
      store,
      random: () => 0,
      ...(options as object),
    })
  /** The store as a process sees it that stops at `verb` number `n` of its kind and never comes back. */
  const dyingAt = (verb: string, n: number) => {
    let seen = 0
    return tapped(store, {
      before: ({ name }) => (name === verb && ++seen >= n ? new Promise(() => undefined) : undefined),
    })
  }
  return { clock, store, mailerWith, dyingAt }
}

/** A clock on which nothing ever times out: the process that owns it is dead. */
const stopped = (clock: ReturnType<typeof fakeClock>) => ({ ...clock, setTimeout: () => ({ cancel() {}, unref() {} }) })

test('D1: an attempt without an outcome becomes unknown when its lease has run out, and is not repeated', async () => {
  const { clock, store, mailerWith, dyingAt } = setUp()
  const a = scripted('a')
  const dead = mailerWith({ a }, { store: dyingAt('settle', 1), clock: stopped(clock) })
  dead.send(message, { idempotencyKey: 'k' }).catch(() => undefined)
  await a.called()
  await clock.advance(1)

  const b = scripted('b')
  const alive = mailerWith({ b })
  const early = rejection(alive.send(message, { idempotencyKey: 'k' }))
  await clock.advance(15_000)
  assert.equal((await early).code, 'IDEMPOTENCY_IN_PROGRESS')
  await clock.advance(60_000)
  const error = await rejection(alive.send(message, { idempotencyKey: 'k' }))
  assert.equal(error.code, 'OUTCOME_UNKNOWN')
  assert.equal(error.receipt?.attempts[0]?.outcome, 'unknown')
  assert.deepEqual(
    error.receipt?.recipients.map(({ status }) => status),
    ['unknown', 'unknown'],
  )
  assert.equal(b.calls.length, 0)
  assert.equal((await store.read(error.id!))?.status, 'unknown')
})

test('P2: a process that dies between two attempts leaves those it mailed as mailed, and their key taken', async () => {
  const { clock, mailerWith } = setUp()
  const a = scripted('a')
  a.will(partly({ 'bob@example.com': 'failed' }))
  const dead = mailerWith({ a }, { clock: stopped(clock), random: () => 0.5 })
  dead.send(message, { idempotencyKey: 'k' }).catch(() => undefined)
  await a.called()
  await clock.advance(60_000)

  const b = scripted('b')
  const receipt = await mailerWith({ b }).send(message, { idempotencyKey: 'k' })
  assert.equal(receipt.status, 'partial')
  assert.equal(receipt.replayed, true)
  assert.deepEqual(
    receipt.recipients.map(({ status }) => status),
    ['sent', 'failed'],
  )
  assert.equal(b.calls.length, 0)
})

test('K4: a direct send that died before its first attempt leaves nothing behind, and its key free', async () => {
  const { clock, store, mailerWith, dyingAt } = setUp()
  const a = scripted('a')
  const dead = mailerWith({ a }, { store: dyingAt('renew', 1), clock: stopped(clock) })
  dead.send(message, { idempotencyKey: 'k' }).catch(() => undefined)
  await clock.advance(60_000)
  const receipt = await mailerWith({ b: scripted('b') }).send(message, { idempotencyKey: 'k' })
  assert.equal(receipt.status, 'sent')
  assert.equal(receipt.replayed, false)
  assert.equal(a.calls.length, 0)
  assert.deepEqual(
    (await store.list({})).items.map(({ id }) => id),
    [receipt.id],
  )
})

test('K4: a direct send whose attempts all failed before it died is failed when its lease is over, and its key free', async () => {
  const { clock, store, mailerWith, dyingAt } = setUp()
  const a = scripted('a')
  a.will(fails())
  const dead = mailerWith({ a }, { store: dyingAt('renew', 3), clock: stopped(clock), random: () => 0.5 })
  dead.send(message, { idempotencyKey: 'k' }).catch(() => undefined)
  await a.called()
  await clock.advance(60_000)
  const receipt = await mailerWith({ b: scripted('b') }).send(message, { idempotencyKey: 'k' })
  assert.equal(receipt.status, 'sent')
  assert.equal(receipt.replayed, false)
  assert.equal(a.calls.length, 1)
  const abandoned = (await store.list({})).items.find(({ id }) => id !== receipt.id)
  assert.equal(abandoned?.status, 'failed')
  assert.deepEqual(
    abandoned?.recipients.map(({ status }) => status),
    ['failed', 'failed'],
    'a settled message has no pending recipients',
  )
})

test('P1: a queued message whose worker died before the hand-over is dispatched by another, once', async () => {
  const { clock, mailerWith, dyingAt } = setUp()
  const a = scripted('a')
  const dead = mailerWith({ a }, { store: dyingAt('renew', 1), clock: stopped(clock) })
  const { id } = await dead.enqueue(message)
  await clock.advance(1)
  const b = scripted('b')
  const alive = mailerWith({ b })
  alive.work()
  await clock.advance(200_000)
  assert.equal((await alive.messages.get(id))?.status, 'sent')
  assert.equal(a.calls.length, 0)
  assert.equal(b.calls.length, 1)
})

test('P2: a queued message whose worker died between two attempts is dispatched for the rest only', async () => {
  const { clock, mailerWith } = setUp()
  const a = scripted('a')
  a.will(partly({ 'bob@example.com': 'failed' }))
  const dead = mailerWith({ a }, { clock: { ...clock, setTimeout: stopped(clock).setTimeout }, random: () => 0.9 })
  const { id } = await dead.enqueue(message)
  await a.called()
  await clock.advance(1)
  const b = scripted('b')
  const alive = mailerWith({ b })
  alive.work()
  await clock.advance(200_000)
  assert.deepEqual(handed(b), [['bob@example.com']])
  assert.equal((await alive.messages.get(id))?.status, 'sent')
})

test('a worker that wakes after its lease was taken hands nothing over, reports nothing and refunds nothing', async () => {
  const { clock, store, mailerWith } = setUp()
  const quota = { limit: 4, per: 3_600_000 }
  const a = scripted('a')
  let held: Promise<unknown> | undefined
  const gate = Promise.withResolvers<void>()
  const slow = tapped(store, {
    before: ({ name }) => {
      if (name !== 'renew' || held) return undefined
      held = gate.promise
      return held
    },
  })
  // The slow worker's own clock never runs out, so only the fence can stop it.
  const sleeper = mailerWith({ a }, { store: slow, clock: stopped(clock), queue: { work: false }, limits: { quota } })
  const b = scripted('b')
  const alive = mailerWith({ b }, { queue: { work: false }, limits: { quota } })
  const { id } = await alive.enqueue(message)
  const settled: string[] = []
  sleeper.on('settled', ({ status }) => settled.push(status))
  sleeper.work()
  await clock.advance(100)
  alive.work()
  await clock.advance(200_000)
  assert.equal((await alive.messages.get(id))?.status, 'sent')
  gate.resolve()
  await clock.advance(1_000)
  assert.equal(a.calls.length, 0)
  assert.deepEqual(settled, [])
  assert.equal((await alive.messages.get(id))?.status, 'sent')
  await alive.enqueue(message)
  assert.equal((await rejection(alive.enqueue(message))).code, 'SEND_LIMIT_EXCEEDED', 'both mails count')
})

test('the truth is written even when another process has already called the row unknown', async () => {
  const { clock, mailerWith } = setUp()
  const a = scripted('a')
  const slow = pending()
  a.will(slow)
  const sleeper = mailerWith({ a }, { clock: stopped(clock) })
  const call = sleeper.send(message, { idempotencyKey: 'k' })
  await a.called()
  await clock.advance(60_000)
  const alive = mailerWith({ b: scripted('b') })
  assert.equal((await rejection(alive.send(message, { idempotencyKey: 'k' }))).code, 'OUTCOME_UNKNOWN')
  slow.answer({ providerMessageId: 'p' })
  const receipt = await call
  assert.equal(receipt.status, 'sent')
  assert.equal((await alive.messages.get(receipt.id))?.status, 'sent')
  assert.equal((await alive.send(message, { idempotencyKey: 'k' })).replayed, true)
})
