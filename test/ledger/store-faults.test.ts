import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, failover, MailError, type MailerOptions, type Receipt } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rejection } from '../support/rejection.ts'
import { fails, type Step, scripted, sent, unknown } from '../support/scripted-provider.ts'
import { type Taps, tapped } from '../support/tapped-store.ts'

const message = { to: ['ada@example.com', 'bob@example.com'], subject: 'Hi', text: 'Hello' }

/** Everything on, so that every verb is used. */
function setUp(taps: Taps, options: Partial<MailerOptions> = {}) {
  const clock = fakeClock()
  const store = memory({ clock })
  const a = scripted('a')
  const b = scripted('b')
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a, b },
    route: failover('a', 'b'),
    store: tapped(store, taps),
    clock,
    random: () => 0,
    limits: { quota: { limit: 100, per: 60_000 }, providers: { a: { limit: 100, per: 60_000 } } },
    ...(options as object),
  })
  return { mailer, clock, store, a, b }
}

/** How a call ended, whichever way. Time moves on until it has. */
async function ending(clock: ReturnType<typeof fakeClock>, call: Promise<Receipt>): Promise<Receipt | MailError> {
  let result: Receipt | MailError | undefined
  call.then(
    (receipt) => {
      result = receipt
    },
    (error) => {
      assert.ok(error instanceof MailError, String(error))
      result = error
    },
  )
  for (let i = 0; result === undefined; i++) {
    assert.ok(i < 2_000, 'the call never settled')
    await clock.advance(100)
  }
  return result
}

/** What the providers do, by call; afterwards each takes what it is given. */
const scenarios = {
  sent: [],
  'failed, then sent': ['transient'],
  'failed at both for good': ['configuration', 'configuration'],
  unknown: ['unknown'],
} as const

for (const moment of ['before', 'after'] as const) {
  for (const hang of [false, true]) {
    const how = `${hang ? 'hangs' : 'fails'} ${moment === 'before' ? 'and does nothing' : 'after it did its work'}`
    test(`S3, P2, P9: whichever call of the store ${how}, the call settles, says the truth and mails nobody twice`, async () => {
      for (const [name, plan] of Object.entries(scenarios)) {
        for (let n = 1; ; n++) {
          let struck: string | undefined
          const strike = (verb: { name: string; number: number }) => {
            if (verb.number !== n) return undefined
            struck = verb.name
            if (hang) return new Promise(() => undefined)
            throw new Error('redis://user:secret@host ECONNRESET')
          }
          const { mailer, clock, a, b } = setUp({ [moment]: strike })
          let taken = 0
          const steps = [...plan]
          const step: Step = (delivery, context) => {
            const next = steps.shift()
            if (next === 'transient' || next === 'configuration') return fails(next)(delivery, context)
            taken++
            return (next === 'unknown' ? unknown : sent)(delivery, context)
          }
          for (const provider of [a, b]) provider.will(...Array(20).fill(step))

          const end = await ending(clock, mailer.send(message, { idempotencyKey: 'once' }))
          if (struck === undefined) break
          const where = `${name}: ${struck} (call ${n}): ${end instanceof MailError ? end.code : end.status}`
          if (!(end instanceof MailError)) assert.equal(taken, 1, where)
          else {
            assert.doesNotMatch(`${end.stack} ${JSON.stringify(end)}`, /secret/)
            assert.equal(taken, end.code === 'OUTCOME_UNKNOWN' ? 1 : 0, where)
            assert.equal(end.outcome === 'unknown', end.code === 'OUTCOME_UNKNOWN', where)
          }
          // The same key again, now with a store that works: never a second mail (P7), and after the lease an answer.
          const repeat = { idempotencyKey: 'once', timeout: 60_000 }
          await ending(clock, mailer.send(message, repeat))
          await clock.advance(120_000)
          // What the providers were to do may be left over from a call that never got to them.
          await ending(clock, mailer.send(message, repeat))
          const final = await ending(clock, mailer.send(message, repeat))
          assert.ok(taken <= 1, `${where}: taken ${taken} times`)
          const code = final instanceof MailError ? final.code : final.status
          assert.match(code, /^(sent|OUTCOME_UNKNOWN)$/, where)
          if (code === 'sent') assert.equal(taken, 1, where)
        }
      }
    })
  }
}

test('S3: every verb fails for ever: nothing is sent, and everything says STORE_UNAVAILABLE', async () => {
  const { mailer, clock, a, b } = setUp({
    before() {
      throw new Error('down')
    },
  })
  const calls = [
    () => mailer.send(message),
    () => mailer.send(message, { idempotencyKey: 'k' }),
    () => mailer.enqueue(message),
  ]
  for (const call of calls) {
    const end = await ending(clock, call())
    assert.equal(end instanceof MailError && end.code, 'STORE_UNAVAILABLE')
  }
  assert.equal((await rejection(mailer.messages.get('msg_1'))).code, 'STORE_UNAVAILABLE')
  assert.equal((await rejection(mailer.cancel('msg_1'))).code, 'STORE_UNAVAILABLE')
  assert.equal(a.calls.length + b.calls.length, 0)
  const closing = mailer.close({ deadline: 0 })
  await clock.advance(10_000)
  assert.deepEqual(await closing, { settled: 0, unknown: [], pending: [] })
})

test('S3: a store that forgets what it says it took is no acceptance: an outcome write that fails changes no receipt', async () => {
  const warnings: string[] = []
  const { mailer } = setUp({
    before({ name }) {
      if (name === 'settle') throw new Error('disk full')
    },
  })
  mailer.on('warning', ({ code }) => warnings.push(code))
  const receipt = await mailer.send(message)
  assert.equal(receipt.status, 'sent')
  assert.deepEqual(warnings, ['STORE_UNAVAILABLE'])
})

test('P1: whichever call of the store fails once, a queued message that was accepted reaches a final state, once', async () => {
  for (let n = 1; ; n++) {
    let struck: string | undefined
    let accepted = false
    const { mailer, clock, store, a, b } = setUp({
      before(verb) {
        if (verb.number !== n) return
        struck = verb.name
        throw new Error('down')
      },
    })
    const end = await ending(
      clock,
      mailer.enqueue(message).then((receipt) => {
        accepted = true
        return receipt
      }),
    )
    await clock.advance(600_000)
    if (accepted) {
      const record = await store.read((end as Receipt).id)
      assert.match(record?.status ?? 'lost', /^(sent|unknown)$/, `call ${n}: ${struck}`)
      assert.equal(a.calls.length + b.calls.length, 1, `call ${n}: ${struck}`)
    } else assert.equal(a.calls.length + b.calls.length, 0)
    await clock.advance(1)
    if (struck === undefined) break
    assert.ok(n < 100)
  }
})
