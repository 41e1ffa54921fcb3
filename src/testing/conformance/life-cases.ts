import assert from 'node:assert/strict'
import { MailError } from '../../errors.ts'
import type { Case } from './case.ts'
import { awkwardBytes, deliveryOf } from './delivery.ts'
import { assertOwn, assertSilent } from './silence.ts'
import { overall } from './stage.ts'

export const lifeCases: readonly Case[] = [
  {
    feature: 'abort',
    name: 'an aborted signal sends nothing: failed, aborted, and not a byte on the wire',
    async run(stage) {
      const delivery = deliveryOf()
      const ending = await stage.soon(stage.hand(delivery, { signal: AbortSignal.abort() }), 'send')
      assert.equal(ending?.error?.outcome, 'failed', 'it did not keep to its signal')
      assert.equal(ending.error.kind, 'aborted')
      assert.equal(stage.server.bodies, 0)
      await stage.judge(delivery, ending)
    },
  },
  {
    feature: 'abort',
    name: 'an abort while the answer is awaited is unknown, at once, and the next message goes',
    async run(stage) {
      stage.server.fail({ at: 'afterBody', kind: 'stall' })
      const giveUp = new AbortController()
      const delivery = deliveryOf()
      const sending = stage.hand(delivery, { signal: giveUp.signal })
      sending.catch(() => {})
      await stage.until(() => stage.server.bodies > 0, 'the body')
      giveUp.abort(new Error(stage.harness.secrets[0] ?? 'a reason of the caller'))
      const ending = await stage.soon(sending, 'send, after its signal aborted,')
      assert.equal(ending?.error?.outcome, 'unknown')
      assert.equal(ending.error.kind, 'aborted')
      await stage.deliver(deliveryOf())
    },
  },
  {
    feature: 'abort',
    name: 'P9 the timeout it is given ends a silent server without a signal',
    async run(stage) {
      // Nothing has to be opened or loaded within the time that is given.
      await stage.deliver(deliveryOf())
      stage.server.fail({ at: 'afterBody', kind: 'stall' })
      const delivery = deliveryOf()
      const ending = await stage.soon(stage.hand(delivery, { timeout: stage.patience / 8 }), 'send')
      assert.equal(ending?.error?.kind, 'timeout')
      assert.notEqual(ending.error.outcome, 'rejected')
      await stage.judge(delivery, ending)
    },
  },
  {
    feature: 'abort',
    name: 'a signal that aborts after the answer changes nothing, and keeps no listener',
    async run(stage) {
      const late = new AbortController()
      let listeners = 0
      const { signal } = late
      const add = signal.addEventListener.bind(signal)
      const remove = signal.removeEventListener.bind(signal)
      const held = new Set<unknown>()
      signal.addEventListener = (type: string, listener: never, options?: never) => {
        listeners++
        held.add(listener)
        add(type, listener, options)
      }
      signal.removeEventListener = (type: string, listener: never) => {
        held.delete(listener)
        remove(type, listener)
      }
      await stage.deliver(deliveryOf(), { signal })
      assert.ok(listeners === 0 || held.size === 0, 'a signal that outlives the call keeps its listener for ever')
      late.abort()
      await stage.deliver(deliveryOf())
    },
  },
  {
    feature: 'close',
    name: 'close lets a running hand-over finish, and a second close is harmless',
    async run(stage) {
      const { provider } = stage
      const delivery = deliveryOf()
      let settled = false
      const sending = stage.hand(delivery).finally(() => {
        settled = true
      })
      await stage.soon(provider.close?.(), 'close')
      // Lets what has settled say so; a conversation with a server takes longer.
      await new Promise((resolve) => setImmediate(resolve))
      if (provider.close) assert.ok(settled, 'close did not wait for a hand-over that ran')
      const ending = await sending
      assert.equal(overall(ending), 'sent')
      await stage.judge(delivery, ending)
      await stage.soon(provider.close?.(), 'the second close')
    },
  },
  {
    feature: 'close',
    name: 'close before any send is harmless, and a send after close opens anew',
    async run(stage) {
      await stage.soon(stage.provider.close?.(), 'close')
      await stage.deliver(deliveryOf())
      await stage.soon(stage.provider.close?.(), 'close')
      await stage.deliver(deliveryOf())
    },
  },
  {
    feature: 'close',
    name: 'X7 no connection or timer is left after close',
    async run(stage) {
      const before = await settledHandles()
      await Promise.all([1, 2, 3].map(() => stage.deliver(deliveryOf())))
      stage.server.fail({ at: 'afterBody', kind: 'reset' })
      await stage.hand(deliveryOf())
      await stage.soon(stage.provider.close?.(), 'close')
      const end = performance.now() + stage.patience
      while (handles() > before) {
        assert.ok(performance.now() < end, `${handles() - before} connections or timers are left after close`)
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  },
  {
    feature: 'concurrency',
    name: 'concurrent hand-overs do not mix: each is taken once, with its own content',
    async run(stage) {
      const deliveries = Array.from({ length: 24 }, (_, index) =>
        deliveryOf({
          to: [{ name: `Reader ${index}`, address: `reader${index}@example.com` }],
          subject: `Number ${index}`,
          text: `Text ${index}`,
          ...(stage.capabilities.attachments
            ? {
                attachments: [
                  { filename: `${index}.bin`, content: awkwardBytes(1_000 + index), contentType: 'application/x-test' },
                ],
              }
            : {}),
        }),
      )
      const endings = await Promise.all(deliveries.map((delivery) => stage.hand(delivery)))
      const mails = await stage.server.accepted()
      assert.equal(mails.length, deliveries.length)
      for (const [index, delivery] of deliveries.entries()) {
        assert.equal(overall(endings[index]!), 'sent')
        const mail = mails.find(({ recipients }) => recipients.includes(`reader${index}@example.com`))
        assert.equal(mail?.subject, `Number ${index}`)
        assert.equal(mail.text?.trim(), `Text ${index}`)
        assert.equal(mail.sendwrightId, delivery.id)
        assert.equal(mail.attachments[0]?.content.length, delivery.message.attachments[0]?.content.length)
        const { providerMessageId = mail.providerMessageId } = endings[index]?.answer ?? {}
        assert.equal(providerMessageId, mail.providerMessageId, 'the answer is another mail’s')
      }
    },
  },
  {
    feature: 'concurrency',
    name: 'the same delivery handed over twice is sent twice: repeats are not a provider’s to judge',
    async run(stage) {
      const delivery = deliveryOf()
      await stage.hand(delivery)
      await stage.hand(delivery)
      assert.equal((await stage.mails(delivery)).length, 2)
    },
  },
  {
    feature: 'verify',
    name: 'verify passes with a good account, sends no mail, and fails with a MailError when nobody listens',
    async run(stage) {
      const { provider, server, harness } = stage
      if (!provider.verify) return stage.deliver(deliveryOf()).then(() => undefined)
      await stage.soon(provider.verify({}), 'verify')
      assert.deepEqual(await server.accepted(), [])
      await provider.close?.()
      await server.close()
      const error = await stage.soon(
        provider.verify({ signal: new AbortController().signal }).then(
          () => assert.fail('verify passed without a server'),
          (reason: unknown) => reason,
        ),
        'verify',
      )
      assert.ok(error instanceof MailError, 'verify rejects with a MailError')
      assertOwn(error)
      assertSilent(error, harness.secrets, 'the error of verify')
    },
  },
  {
    feature: 'silence',
    name: 'P11 L3 the provider shows no secret when it is looked at, before a send and after',
    async run(stage) {
      const look = () => assertSilent(stage.provider, stage.harness.secrets, 'the provider')
      look()
      await stage.deliver(deliveryOf())
      stage.server.fail({ at: 'afterBody', kind: 'reset' })
      await stage.hand(deliveryOf())
      look()
    },
  },
  {
    feature: 'silence',
    name: 'P11 L2 a refused login shows no secret and hangs nothing of a library on its error',
    async run(stage) {
      stage.server.fail({ at: 'login', kind: 'refuse' })
      const { error } = await stage.hand(deliveryOf())
      assert.ok(error, 'a login that was refused is an error')
    },
  },
]

const counted: ReadonlySet<string> = new Set(['TCPSocketWrap', 'TLSWrap', 'TCPConnectWrap', 'Timeout'])

/** Connections of both ends, and timers that keep the process alive. */
const handles = () => process.getActiveResourcesInfo().filter((kind) => counted.has(kind)).length

/** What other cases left behind may still be closing: the least that is seen over some turns of the loop. */
async function settledHandles(): Promise<number> {
  let least = handles()
  for (let turn = 0; turn < 20; turn++) {
    await new Promise((resolve) => setImmediate(resolve))
    least = Math.min(least, handles())
  }
  return least
}
