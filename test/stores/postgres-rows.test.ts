import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import type { Entries } from '../../src/stores/entries.ts'
import type { PostgresPool, PostgresStoreOptions } from '../../src/stores/postgres.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { checkPostgresData } from '../support/postgres-data.ts'
import { overPostgres } from '../support/postgres-server.ts'
import { freshStore } from '../support/postgres-store.ts'

const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000
const queued = { status: 'queued', kind: 'queue' } as const

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected

await overPostgres('what postgres keeps of rows', (server) => {
  const pool = server.pool()
  const fresh = (options: Partial<PostgresStoreOptions> = {}) => freshStore(server, pool, options)

  describe('whatever text', () => {
    const odd = [
      '',
      ' ',
      '-',
      '=',
      '\0',
      'a\0b',
      '\u001b',
      '\u001b0000',
      '\ud800',
      '\udfff',
      'é',
      'e\u0301',
      "'",
      '"',
      '\\',
    ]
    const long = ['x'.repeat(5_000), `${'x'.repeat(4_999)}y`, '😀'.repeat(2_000), `a${'😀'.repeat(2_000)}`]

    it('P8: tenants, keys, tags, scopes and ids come back as they were and never meet', async () => {
      const { store } = await fresh()
      const texts = [...odd, ...long]
      for (const tenant of [undefined, ...texts]) {
        const row = rowOf({
          tags: [`tag ${tenant}`],
          key: `key ${tenant}`,
          ...(tenant === undefined ? {} : { tenant }),
        })
        await store.settle({ ...row, status: 'sent', providerMessageId: `p${tenant}` }, await claimed(store, row))
        assert.deepEqual(
          (await store.list({ ...row, limit: 10 })).items.map(({ id }) => id),
          [row.id],
        )
        assert.equal((await store.find({ providerMessageId: `p${tenant}` }))?.id, row.id)
        const listed = await store.list({ ...row, index: { tag: `tag ${tenant}` } })
        assert.equal(listed.items[0]?.tenant, tenant)
      }
      await store.suppress.add(
        texts.map((text) =>
          suppression({ key: text, scope: text.slice(0, 200), reason: text, note: text, tenant: '' }),
        ),
      )
      const listed: string[] = []
      for (let cursor: string | undefined; ; ) {
        const page = await store.suppress.list('', { limit: 3, ...(cursor === undefined ? {} : { cursor }) })
        listed.push(...page.items.map(({ key }) => key))
        cursor = page.cursor
        if (cursor === undefined) break
      }
      assert.equal(listed.length, texts.length)
      for (const text of texts) {
        assert.deepEqual(await store.suppress.get('', text), [
          suppression({ key: text, scope: text.slice(0, 200), reason: text, note: text, tenant: '' }),
        ])
        assert.equal(await store.once(text, day), true)
        await store.counters.add(text, 1)
        assert.equal((await store.limits.take(text, [{ limit: 1, per: day }], 1)).ok, true)
      }
      assert.deepEqual(
        await store.counters.read(texts),
        texts.map(() => 1),
      )
    })

    it('entries of an application come back in the order of their keys, and namespaces never meet', async () => {
      const { store, rows } = await fresh()
      const { entries } = store as unknown as { readonly entries: Entries }
      const keys = [...odd, ...long]
      const namespaces = ['', ...odd.slice(1, 6), long[0]!]
      for (const namespace of namespaces) {
        await entries.set(
          namespace,
          keys.map((key) => ({ key, value: `${namespace} ${key}` })),
        )
      }
      for (const namespace of namespaces) {
        assert.deepEqual(await entries.get(namespace, [...keys, 'none']), [
          ...keys.map((key) => `${namespace} ${key}`),
          undefined,
        ])
        const seen: string[] = []
        for (let after: string | undefined; ; after = seen.at(-1)) {
          const page = await entries.scan(namespace, after, 4)
          seen.push(...page.map(([key]) => key))
          if (page.length === 0) break
        }
        assert.deepEqual(seen.toSorted(), keys.toSorted())
      }
      assert.deepEqual(await entries.delete('', ['none', ...keys, '']), [false, ...keys.map(() => true), true])
      await entries.clear(' ')
      assert.deepEqual(await entries.scan(' ', undefined, 10), [])
      assert.equal((await rows('SELECT FROM s.entries')).length, keys.length * (namespaces.length - 2))
    })

    it('ids of rows as well', async () => {
      const { store } = await fresh()
      const rows = odd.map((text, i) => rowOf({ id: `${text}${i}`, messageId: `<${i}@acme.example>` }))
      for (const row of rows) {
        const fence = await claimed(store, row)
        assert.deepEqual(await store.read(row.id), row)
        assert.equal(await store.settle({ ...row, status: 'unknown' }, fence), true)
        assert.equal((await store.takeover(row.id, ['unknown'], lease))?.row.id, row.id)
      }
      const { items } = await store.list({ limit: 100 })
      assert.deepEqual(items.map(({ id }) => id).sort(), rows.map(({ id }) => id).sort())
    })

    it('the subject of a row is no exception', async () => {
      const { store } = await fresh()
      const row = rowOf({ subject: odd.join(), from: odd.join('') })
      await claimed(store, row)
      assert.deepEqual(await store.read(row.id), row)
    })
  })

  describe('content', () => {
    it('is written once, not with every change of status, and stays until the row drops it', async () => {
      let bytes = 0
      const watched: PostgresPool = {
        query(text, values = []) {
          bytes += values.reduce<number>((sum, value) => sum + (typeof value === 'string' ? value.length : 0), 0)
          return pool.query(text, values)
        },
      }
      const { store } = await fresh({ pool: watched })
      const content = work()
      const row = rowOf({ ...queued, work: { ...content, message: { ...content.message, text: 'x'.repeat(100_000) } } })
      await store.claim(row, {})
      assert.ok(bytes > 100_000)
      const [held] = (await store.due(1, lease)).held
      await store.renew({ ...held!.row, status: 'dispatching' }, held!.fence, lease.ms)
      await store.settle({ ...held!.row, status: 'queued' }, held!.fence)
      assert.ok(bytes < 200_000)
      assert.deepEqual(await store.read(row.id), row)
      const [again] = (await store.due(1, lease)).held
      const { work: _, ...done } = again!.row
      await store.settle({ ...done, status: 'sent' }, again!.fence)
      assert.equal((await store.read(row.id))?.work, undefined)
    })

    it('that somebody else has changed meanwhile is written again', async () => {
      const clock = fakeClock()
      const { store } = await fresh({ clock })
      const [first, second] = [work(), { ...work(), timeout: 2 }]
      const row = rowOf({ work: first })
      await claimed(store, row)
      await clock.advance(lease.ms)
      const taken = await store.takeover(row.id, ['dispatching'], lease)
      await store.settle({ ...row, status: 'unknown', work: second }, taken!.fence)
      const again = await store.takeover(row.id, ['unknown'], lease)
      await store.settle({ ...row, status: 'failed' }, again!.fence)
      assert.deepEqual((await store.read(row.id))?.work, first)
    })

    it('of another row is not taken for its own', async () => {
      const { store } = await fresh()
      const shared = work()
      const [first, second] = [rowOf({ work: shared }), rowOf()]
      await claimed(store, first)
      const fence = await claimed(store, second)
      await store.settle({ ...second, status: 'failed', work: shared }, fence)
      assert.deepEqual((await store.read(second.id))?.work, shared)
    })
  })

  describe('a row that cannot be read', () => {
    for (const [part, tear] of [
      ['row', 'UPDATE s.messages SET body = left(body, 100) WHERE'],
      ['row', "UPDATE s.messages SET body = replace(body, 'Your', 'Torn') WHERE"],
      [
        'content',
        'UPDATE s.contents SET content = left(content, 50) WHERE place = (SELECT place FROM s.messages WHERE',
      ],
    ] as const) {
      it(`D2: is set aside and named, and the others go on (${part} torn)`, async () => {
        const clock = fakeClock()
        const { store, rows } = await fresh({ clock })
        const [torn, sound] = [rowOf({ ...queued, work: work(), key: 'k' }), rowOf({ ...queued, work: work() })]
        await store.claim(torn, {})
        await store.claim(sound, {})
        await rows(`${tear} id = '${torn.id}'${part === 'content' ? ')' : ''}`)
        const due = await store.due(10, lease)
        assert.deepEqual(
          due.held.map(({ row }) => row.id),
          [sound.id],
        )
        assert.deepEqual(due.unreadable, [torn.id])
        const fails = [
          () => store.read(torn.id),
          () => store.find({ messageId: torn.messageId }),
          () => store.takeover(torn.id, ['queued'], lease),
          () => store.claim(rowOf({ key: 'k' }), { lease }),
        ]
        for (const ask of fails) await assert.rejects(async () => ask(), code('STORE_UNAVAILABLE'))
        await clock.advance(2 * lease.ms)
        assert.equal((await store.due(10, lease)).unreadable, undefined)
        const list = await store.list({})
        assert.deepEqual(list.unreadable ?? [], part === 'row' ? [torn.id] : [])
        assert.ok(list.items.some(({ id }) => id === sound.id))
      })
    }
  })

  describe('what is over', () => {
    it('P10: is deleted in small steps, as fast as others come', async () => {
      const clock = fakeClock()
      const { store, rows, schema: own } = await fresh({ clock })
      const count = async () => Number((await rows('SELECT count(*) FROM s.messages'))[0]!.count)
      const ended = rowOf().id
      for (let i = 0; i < 400; i++) {
        const row = rowOf({ tags: ['x'], ...(i % 2 ? { work: work() } : {}) })
        const retention = { records: day, content: 1_000 }
        await store.settle({ ...row, status: 'failed' }, await claimed(store, row), { retention })
      }
      await clock.advance(2 * day)
      assert.equal(await store.read(ended), undefined)
      let most = 0
      for (let left = await count(), i = 0; i < 400; i++) {
        await claimed(store, rowOf())
        const now = await count()
        most = Math.max(most, left + 1 - now)
        left = now
      }
      assert.ok(most <= 32, `${most} deleted by one claim`)
      const [{ over }] = (await rows("SELECT count(*)::int AS over FROM s.messages WHERE status = 'failed'")) as [
        { over: number },
      ]
      assert.ok(over < 100, `${over} of 400 left`)
      await checkPostgresData(pool, own)
    })

    it('events, windows, suppressions and counters go as well', async () => {
      const clock = fakeClock()
      const { store, rows } = await fresh({ clock })
      for (let i = 0; i < 30; i++) {
        await store.once(`e${i}`, 1_000)
        await store.limits.take(`k${i}`, [{ limit: 5, per: 1_000 }], 1)
        await store.suppress.add([suppression({ key: `k${i}`, expiresAt: clock.now() + 1_000 })])
        await store.counters.add(`c${i}`, 1)
      }
      await clock.advance(500 * day)
      for (let i = 0; i < 30; i++) {
        await store.once('e', 1_000)
        await store.limits.take('k', [{ limit: 5, per: 1_000 }], 1)
        await store.suppress.add([suppression({ key: 'k' })])
        await store.counters.add('c', 1)
        await clock.advance(2_000)
      }
      for (const table of ['events_seen', 'windows', 'suppressions', 'counters']) {
        assert.equal((await rows(`SELECT * FROM s.${table}`)).length, 1, table)
      }
    })
  })
})
