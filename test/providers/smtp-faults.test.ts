import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Outcome } from '../../src/provider.ts'
import type { FaultKind, FaultPoint } from '../../src/testing/scripted-server.ts'
import type { SmtpServerOptions } from '../../src/testing/smtp-server.ts'
import { deliveryOf } from '../support/delivery.ts'
import { disposeAfterTest } from '../support/disposal.ts'
import { smtpPair } from '../support/smtp.ts'

const points: readonly FaultPoint[] = [
  'connect',
  'greeting',
  'hello',
  'tls',
  'login',
  'sender',
  'envelope',
  'data',
  'midBody',
  'afterBody',
  'midAnswer',
]
const kinds: readonly FaultKind[] = ['refuse', 'reset', 'close', 'stall', 'garbage', '4xx', '5xx', 'throttle']

const small = () => deliveryOf()
/** More than the kernel buffers of both sides hold, so that a server that stops reading holds the dot back. */
const large = () => {
  const content = Buffer.alloc(24 * 1024 * 1024, 'sendwright')
  const attachments = [{ filename: 'large.bin', contentType: 'application/octet-stream', content }]
  return deliveryOf({ message: { attachments } })
}

const setups: readonly { readonly name: string; readonly server: SmtpServerOptions; readonly pool?: false }[] = [
  { name: 'plain', server: { auth: { user: 'u', pass: 'p' } } },
  { name: 'plain, not pooled', server: { auth: { user: 'u', pass: 'p' } }, pool: false },
  { name: 'STARTTLS, no pipelining', server: { tls: 'starttls', pipelining: false, auth: { user: 'u', pass: 'p' } } },
  { name: 'implicit TLS', server: { tls: 'implicit', auth: { user: 'u', pass: 'p' } } },
]

/** What O1 to O3 say of one fault. A small body leaves with its dot, so a loss in its middle is not certain. */
function expected(at: FaultPoint, kind: FaultKind, size: 'small' | 'large'): Outcome {
  const refused = kind === 'refuse' || kind === '5xx'
  const replied = refused || kind === '4xx' || kind === 'throttle'
  switch (at) {
    case 'envelope':
    case 'data':
      return refused ? 'rejected' : 'failed'
    case 'midBody':
      if (refused) return 'rejected'
      return replied || size === 'large' ? 'failed' : 'unknown'
    case 'afterBody':
      return refused ? 'rejected' : replied ? 'failed' : 'unknown'
    case 'midAnswer':
      return 'unknown'
    default:
      return 'failed'
  }
}

for (const { name, server: options, ...more } of setups) {
  for (const at of points) {
    if (at === 'tls' && (options.tls ?? 'none') === 'none') continue
    for (const kind of kinds) {
      const sizes = at === 'midBody' && name === 'plain' ? (['small', 'large'] as const) : (['small'] as const)
      for (const size of sizes) {
        const outcome = expected(at, kind, size)
        test(`O3 ${name}: ${kind} at ${at} with a ${size} body is ${outcome}`, async () => {
          const pair = await smtpPair(options, more)
          disposeAfterTest(pair)
          const { server, hand } = pair
          server.fail({ at, kind })
          const giveUp = new AbortController()
          if (kind === 'stall') void server.struck().then(() => giveUp.abort())
          const ending = await hand(size === 'large' ? large() : small(), giveUp)

          assert.equal(ending.outcome, outcome, JSON.stringify(ending.error))
          assert.ok(server.bodies <= 1, 'a body went out twice')
          if (outcome !== 'unknown') assert.equal(server.raw.length, 0)
          if (kind === 'stall') assert.equal(ending.error?.kind, 'aborted')
          if (
            kind === 'throttle' &&
            at !== 'midAnswer' &&
            at !== 'connect' &&
            !(at === 'tls' && options.tls === 'implicit')
          ) {
            assert.equal(ending.error?.kind, at === 'login' ? 'transient' : 'throttled')
          }

          // The provider has not been hurt: the next message goes.
          assert.equal((await hand(small())).outcome, 'sent')
        })
      }
    }
  }
}

for (const at of ['sender', 'envelope', 'data', 'midBody', 'afterBody', 'midAnswer'] as const) {
  for (const kind of kinds) {
    // Lost before the message was asked for, on a connection that had served: replaced inside the attempt, once.
    const replaced = ['sender', 'envelope', 'data'].includes(at) && (kind === 'reset' || kind === 'close')
    const outcome = replaced ? 'sent' : expected(at, kind, 'small')
    test(`O3 on a used connection: ${kind} at ${at} is ${outcome}`, async () => {
      const pair = await smtpPair({}, { pool: { connections: 1 } })
      disposeAfterTest(pair)
      const { server, hand } = pair
      assert.equal((await hand(small())).outcome, 'sent')
      server.reset()
      server.fail({ at, kind })
      const giveUp = new AbortController()
      if (kind === 'stall') void server.struck().then(() => giveUp.abort())
      const ending = await hand(small(), giveUp)

      assert.equal(ending.outcome, outcome, JSON.stringify(ending.error))
      assert.ok(server.bodies <= 1, 'a body went out twice')
      assert.equal(server.raw.length, outcome === 'sent' || (outcome === 'unknown' && at !== 'midBody') ? 1 : 0)
      assert.equal((await hand(small())).outcome, 'sent')
    })
  }
}

for (const [at, outcome] of [
  ['connect', 'failed'],
  ['login', 'failed'],
  ['sender', 'failed'],
  ['afterBody', 'unknown'],
] as const) {
  test(`P9 silence at ${at} ends with the time limit and is ${outcome}`, async () => {
    const pair = await smtpPair({ auth: { user: 'u', pass: 'p' } })
    disposeAfterTest(pair)
    const { server, hand } = pair
    server.fail({ at, kind: 'stall' })
    const ending = await hand(small(), { timeout: 500 })
    assert.equal(ending.outcome, outcome)
    assert.equal(ending.error?.kind, 'timeout')
  })
}

test('O4 a used connection is replaced once per attempt, not again', async () => {
  const pair = await smtpPair({}, { pool: { connections: 1 } })
  disposeAfterTest(pair)
  const { server, hand } = pair
  await hand(small())
  server.fail({ at: 'sender', kind: 'reset', times: 2 })
  assert.equal((await hand(small())).outcome, 'failed')
  assert.equal(server.connections, 2)
})

for (const how of ['close', 'reset', '421'] as const) {
  test(`O3 idle connections the server ended by ${how} cost no message`, async () => {
    const pair = await smtpPair({}, { pool: { connections: 4 } })
    disposeAfterTest(pair)
    const { server, hand } = pair
    await Promise.all(Array.from({ length: 12 }, () => hand(small())))
    for (let round = 0; round < 5; round++) {
      server.disconnect(how)
      const endings = await Promise.all(Array.from({ length: 12 }, () => hand(small())))
      assert.deepEqual(
        endings.map(({ outcome }) => outcome),
        endings.map(() => 'sent'),
      )
    }
    assert.equal(server.bodies, 72)
    assert.ok(server.peak <= 8, `peak ${server.peak}`)
  })
}
