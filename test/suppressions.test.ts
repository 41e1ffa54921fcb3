import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { noAccidents } from './support/accidents.ts'
import { loose, refusal, setup } from './support/mailbox.ts'

noAccidents()

describe('the list of those not to be mailed', () => {
  test('add answers the canonical entry; the same mailbox and scope is one entry (A5)', async () => {
    const { mailer, clock } = setup()
    const { suppressions } = mailer
    const entry = await suppressions.add({
      address: 'ADA@EXÄMPLE.com',
      reason: 'complaint',
      note: 'by phone',
      expiresAt: clock.now() + 1_000,
    })
    assert.deepEqual(entry, {
      address: 'ada@xn--exmple-cua.com',
      scope: 'all',
      reason: 'complaint',
      note: 'by phone',
      createdAt: '2026-01-01T00:00:00.000Z',
      expiresAt: '2026-01-01T00:00:01.000Z',
    })
    await suppressions.add({ address: 'ada@xn--exmple-cua.com', reason: 'manual' })
    await suppressions.add({ address: 'ada@exämple.com', scope: { topic: 'news' } })
    await suppressions.add({ address: 'ada@exämple.com', scope: { stream: 'marketing' } })
    assert.deepEqual(
      (await suppressions.get('"ada"@exämple.com')).map(({ scope, reason }) => [scope, reason]),
      [
        ['all', 'manual'],
        [{ topic: 'news' }, 'manual'],
        [{ stream: 'marketing' }, 'manual'],
      ],
    )
    assert.equal(await suppressions.remove('Ada@exämple.com', { topic: 'news' }), true)
    assert.equal(await suppressions.remove('Ada@exämple.com', { topic: 'news' }), false)
    assert.equal((await suppressions.get('ada@exämple.com')).length, 2)
    assert.equal(await suppressions.remove('Ada@exämple.com'), true)
    assert.deepEqual(await suppressions.get('ada@exämple.com'), [])
  })

  test('list pages through all, once each', async () => {
    const { suppressions } = setup().mailer
    for (let i = 0; i < 25; i++) await suppressions.add({ address: `a${i}@example.com` })
    const seen: string[] = []
    let cursor: string | undefined
    do {
      const page = await suppressions.list({ limit: 10, ...(cursor === undefined ? {} : { cursor }) })
      seen.push(...page.items.map(({ address }) => address))
      cursor = page.cursor
    } while (cursor !== undefined)
    assert.equal(seen.length, 25)
    assert.equal(new Set(seen).size, 25)
  })

  const bad: [string, unknown][] = [
    ['nothing', undefined],
    ['text', 'ada@example.com'],
    ['no address', {}],
    ['a name', { address: 'Ada <ada@example.com>' }],
    ['two addresses', { address: 'a@example.com, b@example.com' }],
    ['no mailbox', { address: 'nobody' }],
    ['an address object', { address: { address: 'a@example.com' } }],
    ['a misspelt field', { address: 'a@example.com', scop: 'all' }],
    ['another scope', { address: 'a@example.com', scope: 'some' }],
    ['a scope of two', { address: 'a@example.com', scope: { stream: 'marketing', topic: 'x' } }],
    ['a bad topic', { address: 'a@example.com', scope: { topic: 'a b' } }],
    ['another stream', { address: 'a@example.com', scope: { stream: 'bulk' } }],
    ['another reason', { address: 'a@example.com', reason: 'because' }],
    ['a long note', { address: 'a@example.com', note: 'x'.repeat(501) }],
    ['an end that is none', { address: 'a@example.com', expiresAt: 'soon' }],
    ['an end beyond time', { address: 'a@example.com', expiresAt: 1e300 }],
    ['a throwing getter', Object.defineProperty({}, 'address', { enumerable: true, get: () => assert.fail('asked') })],
  ]
  for (const [what, input] of bad) {
    test(`add refuses ${what}, and keeps nothing`, async () => {
      const { suppressions } = setup().mailer
      const error = await refusal(() => suppressions.add(loose(input)), 'VALIDATION_ERROR')
      assert.ok(!JSON.stringify(error).includes('@example.com'))
      assert.deepEqual((await suppressions.list()).items, [])
    })
  }

  test('get and remove refuse what is no mailbox', async () => {
    const { suppressions } = setup().mailer
    for (const address of ['nobody', '', null, {}, 'Ada <ada@example.com>']) {
      await refusal(() => suppressions.get(loose(address)), 'VALIDATION_ERROR')
      await refusal(() => suppressions.remove(loose(address)), 'VALIDATION_ERROR')
    }
    await refusal(() => suppressions.remove('a@example.com', loose({})), 'VALIDATION_ERROR')
  })

  test('addMany adds all of them or none', async () => {
    const { mailer } = setup()
    const added = await mailer.suppressions.addMany([
      { address: 'ada@example.com' },
      { address: 'Bob@Example.com', scope: { topic: 'news' } },
    ])
    assert.deepEqual(
      added.map(({ address }) => address),
      ['ada@example.com', 'bob@example.com'],
    )
    await refusal(mailer.suppressions.addMany([{ address: 'eve@example.com' }, { address: 'no mailbox' }]))
    await refusal(mailer.suppressions.addMany(Array(1_001).fill({ address: 'eve@example.com' })))
    await refusal(mailer.suppressions.addMany(loose('ada@example.com')))
    assert.equal((await mailer.suppressions.list()).items.length, 2)
    assert.deepEqual(await mailer.suppressions.addMany([]), [])
  })

  test('a tenant sees its own list only (P8)', async () => {
    const { mailer } = setup({ tenants: { a: { route: 'outbox' }, b: { route: 'outbox' } }, requireTenant: false })
    await mailer.tenant('a').suppressions.add({ address: 'ada@example.com' })
    assert.equal((await mailer.tenant('a').suppressions.get('ada@example.com')).length, 1)
    assert.deepEqual(await mailer.tenant('b').suppressions.get('ada@example.com'), [])
    assert.deepEqual((await mailer.suppressions.list()).items, [])
    assert.equal(await mailer.tenant('b').suppressions.remove('ada@example.com'), false)
    await refusal(mailer.tenant('c').suppressions.list(), 'TENANT_NOT_FOUND')
  })
})
