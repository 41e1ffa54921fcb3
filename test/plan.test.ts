import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { memory } from '../providers/memory.ts'
import { createMailer, failover } from '../src/index.ts'
import { memory as memoryStore } from '../src/stores/memory.ts'
import { order, refusal, setup } from './support/mailbox.ts'
import { watched } from './support/watched-store.ts'

describe('plan: the dry run, without network or state', () => {
  test('says what send would do: provider, people, removed, limits, size', async () => {
    const { mailer } = setup({
      limits: { quota: { limit: 9, per: 1_000 }, providers: { outbox: { limit: 5, per: 1_000 } } },
    })
    await mailer.suppressions.add({ address: 'bob@example.com', reason: 'complaint' })
    const plan = await mailer.plan({ ...order, cc: 'bob@example.com', bcc: 'eve@example.com' })
    assert.deepEqual([plan.verdict, plan.provider, plan.refusal], ['send', 'outbox', undefined])
    assert.deepEqual(plan.recipients, [
      { address: 'ada@example.com', field: 'to' },
      { address: 'eve@example.com', field: 'bcc' },
    ])
    assert.deepEqual(plan.removed, [{ address: 'bob@example.com', field: 'cc', reason: 'complaint' }])
    assert.deepEqual(plan.limits, [
      { name: 'quota', cost: 2, windows: [{ limit: 9, per: 1_000 }] },
      { name: 'provider', cost: 2, windows: [{ limit: 5, per: 1_000 }] },
    ])
    assert.ok(plan.bytes > order.text.length)
  })

  test('asks nothing of the store but who is suppressed, and hands nothing over', async () => {
    const verbs = new Set<string>()
    const { mailer, outbox } = setup({
      limits: { quota: { limit: 1, per: 1_000 } },
      store: watched(memoryStore(), (verb) => verbs.add(verb)),
    })
    for (let i = 0; i < 5; i++) await mailer.plan(order, { idempotencyKey: 'k' })
    assert.deepEqual([...verbs], ['suppress.hasMany'])
    assert.equal(outbox.sent().length, 0)
    assert.equal((await mailer.send(order, { idempotencyKey: 'k' })).replayed, false)
  })

  test('names what each fallback could not carry', async () => {
    const plain = memory({ capabilities: { calendar: false } })
    const mailer = createMailer({
      providers: { plain, full: memory() },
      route: failover('plain', 'full'),
      from: 'x@acme.example',
    })
    const plan = await mailer.plan({ ...order, calendar: { method: 'REQUEST', content: 'x' } })
    assert.equal(plan.provider, 'full')
    assert.deepEqual(
      plan.route.map(({ provider, usable, issues }) => [provider, usable, issues[0]?.path]),
      [
        ['plain', false, 'calendar'],
        ['full', true, undefined],
      ],
    )
  })

  test('its verdict is what send then does', async () => {
    const { mailer } = setup({ senders: ['acme.example'], limits: { recipients: 2 } })
    await mailer.suppressions.add({ address: 'gone@example.com' })
    for (const [message, options] of [
      [order, {}],
      [order, { sandbox: true }],
      [{ ...order, from: 'x@other.example' }, {}],
      [{ ...order, cc: ['b@example.com', 'c@example.com'] }, {}],
      [{ ...order, to: 'gone@example.com' }, {}],
    ] as const) {
      const plan = await mailer.plan(message, options)
      if (plan.verdict === 'refuse') {
        const { code } = await refusal(mailer.send(message, options))
        assert.equal(plan.refusal!.code, code)
      } else {
        assert.equal((await mailer.send(message, options)).status, plan.verdict === 'sandbox' ? 'sandboxed' : 'sent')
      }
    }
  })

  test('a malformed message or a closed mailer rejects as send does', async () => {
    const { mailer } = setup()
    await refusal(mailer.plan({ ...order, to: 'nobody' }), 'VALIDATION_ERROR')
    await mailer.close()
    await refusal(mailer.plan(order), 'CLOSED')
  })
})
