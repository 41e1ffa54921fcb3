import assert from 'node:assert/strict'
import type { Fault } from '../scripted-server.ts'
import type { Case } from './case.ts'
import { deliveryOf } from './delivery.ts'
import { everyKind, everyPoint, honestOutcomes } from './fault-outcomes.ts'
import type { ProviderHarness } from './harness.ts'
import { type Ending, overall, type Stage } from './stage.ts'

const retryAfter = 7
/** As many as the messages of the fault cases have. */
const everyRecipient = 3

/** Every fault of the harness: seven points times eight kinds, and the points it adds. */
export function faultsOf({ dialect, points = [] }: ProviderHarness): Fault[] {
  const places = new Set([...everyPoint, ...points])
  return [...places].flatMap((at) =>
    everyKind.map(
      (kind): Fault => ({
        at,
        kind,
        ...(kind === 'throttle' ? { retryAfter } : {}),
        // SMTP asks for each recipient: the same answer for all of them makes one outcome.
        ...(at === 'envelope' && dialect === 'smtp' ? { times: everyRecipient } : {}),
      }),
    ),
  )
}

export function faultCases(harness: ProviderHarness): Case[] {
  return [
    ...faultsOf(harness).map((fault): Case => {
      const honest = honestOutcomes(harness, fault)
      return {
        feature: 'faults',
        name: `O1 O2 O3 O4 ${fault.kind} at ${fault.at} is ${honest.join(' or ')}, told once, and passes`,
        run: (stage) => strike(stage, fault),
      }
    }),
    // Whoever reuses a connection is tempted to take its loss for a stale one and to repeat.
    ...(['afterBody', 'midAnswer'] as const).flatMap((at) =>
      (['reset', 'close', 'garbage'] as const).map(
        (kind): Case => ({
          feature: 'faults',
          name: `O3 O4 ${kind} at ${at} on a used connection is ${honestOutcomes(harness, { at, kind }).join(' or ')}`,
          async run(stage) {
            await stage.deliver(deliveryOf())
            await strike(stage, { at, kind })
          },
        }),
      ),
    ),
    {
      feature: 'faults',
      name: 'O1 nobody listens: failed, and of the connection',
      async run(stage) {
        await stage.server.close()
        const ending = await stage.hand(deliveryOf())
        assert.equal(overall(ending), 'failed')
        assert.equal(ending.error?.kind, 'connection')
      },
    },
  ]
}

async function strike(stage: Stage, fault: Fault): Promise<void> {
  const { server, harness } = stage
  const delivery = deliveryOf({ cc: [{ address: 'cc@example.com' }], bcc: [{ address: 'hidden@example.net' }] })
  const { bodies } = server
  server.fail(fault)
  const ending = fault.kind === 'stall' ? await givenUp(stage, fault) : await stage.hand(delivery)
  const outcome = overall(ending)
  assert.ok(
    (honestOutcomes(harness, fault) as string[]).includes(outcome),
    `said ${outcome}: ${ending.error?.message ?? 'an answer'}`,
  )
  assert.ok(server.bodies <= bodies + 1, `one hand-over gave the server ${server.bodies - bodies} bodies`)
  if (fault.kind !== 'stall') await stage.judge(delivery, ending)
  checkKind(stage, fault, ending)

  // The provider has not been hurt.
  server.reset()
  const next = deliveryOf({ subject: 'The next one' })
  let after = await stage.hand(next)
  for (let tries = 0; tries < 50 && after.error?.kind === 'connection'; tries++) {
    // A port that was given up takes a moment to listen again.
    await new Promise((resolve) => setTimeout(resolve, 2))
    after = await stage.hand(next)
  }
  assert.equal(overall(after), 'sent', `it does not send any more: ${after.error?.message}`)
}

/** Aborts a hand-over the server keeps waiting, once it has come as far as the fault. */
async function givenUp(stage: Stage, { at }: Fault): Promise<Ending> {
  const { server } = stage
  const delivery = deliveryOf()
  const giveUp = new AbortController()
  const { connections } = server
  let settled = false
  const sending = stage.hand(delivery, { signal: giveUp.signal }).finally(() => {
    settled = true
  })
  const reached = async () =>
    settled ||
    (at === 'afterBody' || at === 'midAnswer'
      ? (await stage.mails(delivery)).length > 0
      : server.connections > connections)
  try {
    await stage.until(reached, `the hand-over that should stall at ${at}`)
  } finally {
    giveUp.abort()
    sending.catch(() => {})
  }
  const ending = await stage.soon(sending, 'send, after its signal aborted,')
  await stage.judge(delivery, ending!)
  return ending!
}

function checkKind({ harness }: Stage, { at, kind }: Fault, { error }: Ending): void {
  if (error === undefined) return
  if (kind === 'stall') assert.equal(error.kind, 'aborted', 'a caller that gave up is told so')
  if (at === 'login' && kind === 'refuse') assert.equal(error.kind, 'login')
  if (kind !== 'throttle' || ['connect', 'login', 'midAnswer', 'tls'].includes(at)) return
  if (harness.dialect === 'http') {
    assert.equal(error.kind, 'throttled')
    assert.equal(error.retryAfter, retryAfter * 1_000, 'Retry-After reaches the caller in milliseconds')
  } else {
    // SMTP has no word of its own for it, and routing treats both alike.
    assert.ok(error.kind === 'throttled' || error.kind === 'transient')
  }
}
