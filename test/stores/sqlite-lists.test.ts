import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { MailError } from '../../src/errors.ts'
import type { Entries } from '../../src/stores/entries.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import type { MailStore, Row } from '../../src/stores/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, randomFrom, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { checkSqliteData, tableSizes } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000
const day = 86_400_000
const lease = { owner: 'test', ms: 40_000 }

const open: MailStore[] = []
afterEach(async () => {
  while (open.length > 0) await open.pop()!.close()
})

function openStore() {
  const path = newDatabase()
  const clock = fakeClock()
  const store = sqlite(path, { clock })
  open.push(store)
  return { path, clock, store }
}

describe('lists', () => {
  it(`are newest first, and of one millisecond by id, on pages of any size (SEED=${seed})`, async () => {
    const { store, clock } = openStore()
    const random = randomFrom(seed)
    const statuses = ['sent', 'failed', 'queued', 'unknown'] as const
    const rows = Array.from({ length: 120 }, (_, i) =>
      rowOf({
        id: `msg_${random(1_000_000)}_${i}`,
        createdAt: clock.now() + random(12),
        status: statuses[random(4)]!,
        kind: 'queue',
        tags: random(2) ? ['x'] : [],
        recipients: [{ address: random(2) ? 'Ada@Example.com' : 'bob@example.com', field: 'to', status: 'pending' }],
      }),
    )
    await Promise.all(rows.map((row) => store.claim(row, {})))
    const order = (a: Row, b: Row) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1)
    const lists = [
      [{}, () => true],
      [{ index: { status: 'sent' } }, (row: Row) => row.status === 'sent'],
      [{ index: { tag: 'x' } }, (row: Row) => row.tags.includes('x')],
      [{ index: { recipient: 'ada@example.com' } }, (row: Row) => row.recipients[0]!.address === 'Ada@Example.com'],
    ] as const
    const [since, until] = [clock.now() + 3, clock.now() + 9]
    const inTime = ({ createdAt }: Row) => createdAt >= since && createdAt < until
    for (const [query, fits] of lists) {
      for (const limit of [1, 7, 1_000]) {
        const ids = async (times: { since?: number; until?: number }) => {
          const seen: string[] = []
          for (let cursor: string | undefined; ; ) {
            const page = await store.list({ ...query, ...times, limit, ...(cursor === undefined ? {} : { cursor }) })
            seen.push(...page.items.map(({ id }) => id))
            cursor = page.cursor
            if (cursor === undefined) return seen
            assert.equal(page.items.length, limit)
          }
        }
        const expected = rows.filter(fits).sort(order)
        assert.deepEqual(
          await ids({}),
          expected.map(({ id }) => id),
        )
        assert.deepEqual(
          await ids({ since, until }),
          expected.filter(inTime).map(({ id }) => id),
        )
      }
    }
  })

  it('follow a row whose recipients, tags or tenant change', async () => {
    const { path, store } = openStore()
    const row = rowOf({ accepted: false, tags: ['old'] })
    const fence = await claimed(store, row)
    const ids = async (query: Parameters<MailStore['list']>[0]) => (await store.list(query)).items.map(({ id }) => id)
    assert.deepEqual(await ids({ index: { tag: 'old' } }), [])
    await store.renew({ ...row, accepted: true }, fence, lease.ms)
    assert.deepEqual(await ids({ index: { tag: 'old' } }), [row.id])
    const moved = { ...row, accepted: true, tenant: 't', tags: ['new'], createdAt: row.createdAt + 1 }
    await store.renew(moved, fence, lease.ms)
    for (const query of [{}, { index: { tag: 'old' } }, { tenant: 't', index: { tag: 'old' } }]) {
      assert.deepEqual(await ids(query), [])
    }
    for (const index of [{ tag: 'new' }, { recipient: 'ada@example.com' }, { status: 'dispatching' }] as const) {
      assert.deepEqual(await ids({ tenant: 't', index }), [row.id])
    }
    checkSqliteData(path)
    await store.settle({ ...moved, accepted: false, status: 'failed' }, fence)
    assert.deepEqual(await ids({ tenant: 't', index: { tag: 'new' } }), [])
    assert.equal(tableSizes(path).labels, 0)
  })

  it('come without content, which may be large', async () => {
    const { store } = openStore()
    await store.claim(rowOf({ status: 'queued', kind: 'queue', work: work() }), {})
    const { items } = await store.list({})
    assert.equal(items[0]!.work, undefined)
  })

  it('refuse a cursor that is none of theirs', async () => {
    const { store } = openStore()
    const cursors = [
      '',
      'x',
      '12',
      Buffer.from('[1]').toString('base64url'),
      Buffer.from('["a",1]').toString('base64url'),
      7,
    ]
    for (const cursor of cursors as string[]) {
      for (const ask of [async () => store.list({ cursor }), async () => store.suppress.list(undefined, { cursor })]) {
        await assert.rejects(ask, (error) => error instanceof MailError && error.code === 'VALIDATION_ERROR')
      }
    }
  })
})

describe('P8 S2: texts of callers never meet', () => {
  const texts = [
    '',
    '=',
    'a',
    'a\0',
    'a\0b',
    '\u0001',
    '\u00010000',
    'a\ud800',
    'a\ud801',
    'a\ufffd',
    '\ud83d\ude00',
    '%',
    "'",
  ]

  it('tenants, keys and scopes of suppressions come back as they were', async () => {
    const { store } = openStore()
    const entries = texts.flatMap((tenant) =>
      texts.map((key) => suppression({ tenant, key, scope: `s${key}`, note: tenant })),
    )
    await store.suppress.add(entries)
    for (const entry of entries) assert.deepEqual(await store.suppress.get(entry.tenant, entry.key), [entry])
    assert.deepEqual(await store.suppress.get(undefined, 'a'), [])
    const listed = (await store.suppress.list('a\0', {})).items
    assert.deepEqual(new Set(listed.map(({ key }) => key)), new Set(texts))
  })

  it('ids, idempotency keys, provider ids, tags and tenants of rows', async () => {
    const { store } = openStore()
    for (const text of texts) {
      const row = rowOf({ id: `i${text}`, key: text, tenant: text, tags: [text], providerMessageId: text })
      assert.equal((await store.claim(row, { lease })).state, 'claimed')
    }
    for (const text of texts) {
      assert.equal((await store.read(`i${text}`))?.key, text)
      assert.equal((await store.find({ providerMessageId: text }))?.id, `i${text}`)
      const { items } = await store.list({ tenant: text, index: { tag: text } })
      assert.deepEqual(
        items.map(({ id }) => id),
        [`i${text}`],
      )
      const held = await store.claim(rowOf({ key: text }), {})
      assert.ok(held.state === 'held' && held.row.id === `i${text}`)
    }
    assert.deepEqual(await store.list({}), { items: [] })
  })

  it('keys of windows, counters, events and entries', async () => {
    const { store } = openStore()
    for (const text of texts) {
      assert.ok((await store.limits.take(text, [{ limit: 1, per: day }], 1)).ok)
      await store.counters.add(text, texts.indexOf(text))
      assert.equal(await store.once(text, day), true)
    }
    assert.deepEqual(
      await store.counters.read(texts),
      texts.map((_, i) => i),
    )
    const { entries } = store as unknown as { entries: Entries }
    await entries.set(
      'n',
      texts.map((key) => ({ key, value: key })),
    )
    assert.deepEqual(await entries.get('n', texts), texts)
    const found = await entries.scan('n', undefined, 100)
    assert.deepEqual(new Set(found.map(([key]) => key)), new Set(texts))
    for (const [i, [key]] of found.entries()) {
      assert.deepEqual(
        (await entries.scan('n', key, 1)).map(([next]) => next),
        found.slice(i + 1, i + 2).map(([next]) => next),
      )
    }
    assert.deepEqual(await entries.delete('n', ['a', 'none']), [true, false])
    await entries.clear('n')
    assert.deepEqual(await entries.scan('n', undefined, 100), [])
  })
})
