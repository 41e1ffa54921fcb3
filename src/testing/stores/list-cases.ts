import assert from 'node:assert/strict'
import { MailError } from '../../errors.ts'
import type { MailStore, Row } from '../../stores/store.ts'
import { lease, type Suite } from './case.ts'
import { claimed, rowOf, suppression } from './samples.ts'

export const lists: Suite = {
  'rows come newest first, each once and none lost, also while others are added and removed': async ({ store }) => {
    if (refusesLists(store)) return
    const made: string[] = []
    const add = async (count: number) => {
      for (let i = 0; i < count; i++) {
        const row = rowOf()
        await store.settle({ ...row, status: 'sent' }, await claimed(store, row))
        made.push(row.id)
      }
    }
    await add(25)
    const before = made.toReversed()
    const seen: string[] = []
    for (let cursor: string | undefined; ; await add(3)) {
      const page = await store.list({ limit: 4, ...(cursor === undefined ? {} : { cursor }) })
      seen.push(...page.items.map(({ id }) => id))
      cursor = page.cursor
      if (cursor === undefined) break
      assert.equal(page.items.length, 4)
      const last = await store.takeover(seen.at(-1)!, ['sent'], lease)
      await store.settle(last!.row, last!.fence, { remove: true })
    }
    assert.deepEqual(seen, before)
  },

  'filters: tenant, status, recipient, tag, time; never what was not accepted': async ({ store, now, advance }) => {
    if (refusesLists(store)) return
    const put = async (change: Partial<Row>) => {
      const row = rowOf({ createdAt: now(), ...change })
      await store.settle(row, await claimed(store, { ...row, status: 'dispatching' }))
      await advance(1)
      return row.id
    }
    const start = now()
    const sent = await put({ status: 'sent', tags: ['x'] })
    const failed = await put({
      status: 'failed',
      recipients: [{ address: 'B@x.example', field: 'to', status: 'failed' }],
    })
    const other = await put({ status: 'sent', tenant: 't', tags: ['x'] })
    await put({ status: 'sent', accepted: false })
    const ids = async (query: Parameters<MailStore['list']>[0]) => (await store.list(query)).items.map(({ id }) => id)
    assert.deepEqual(await ids({}), [failed, sent])
    assert.deepEqual(await ids({ tenant: 't' }), [other])
    assert.deepEqual(await ids({ index: { status: 'sent' } }), [sent])
    assert.deepEqual(await ids({ index: { tag: 'x' } }), [sent])
    assert.deepEqual(await ids({ index: { recipient: 'b@x.example' } }), [failed])
    assert.deepEqual(await ids({ since: start + 1 }), [failed])
    assert.deepEqual(await ids({ until: start + 1 }), [sent])
    assert.deepEqual(await ids({ index: { status: 'sent' }, since: start + 1 }), [])
  },

  'suppressions come each once and none lost, also while others are added and removed': async ({ store, now }) => {
    if (refusesLists(store)) return
    const key = (i: number) => `a${i}@x.example`
    for (let i = 0; i < 10; i++) await store.suppress.add([suppression({ key: key(i) })])
    await store.suppress.add([
      suppression({ key: 'gone@x.example', expiresAt: now() }),
      suppression({ key: 'other@x.example', tenant: 't' }),
    ])
    const seen: string[] = []
    for (let cursor: string | undefined, page = 0; ; page++) {
      const { items, cursor: next } = await store.suppress.list(undefined, {
        limit: 3,
        ...(cursor === undefined ? {} : { cursor }),
      })
      seen.push(...items.map((item) => item.key))
      if (next === undefined) break
      cursor = next
      await store.suppress.remove(undefined, seen.at(-1)!)
      await store.suppress.add([suppression({ key: `new${page}@y.example` })])
      assert.ok(page < 20)
    }
    const old = seen.filter((one) => one.endsWith('@x.example'))
    assert.deepEqual(old.toSorted(), Array.from({ length: 10 }, (_, i) => key(i)).toSorted())
    assert.equal(new Set(seen).size, seen.length)
    assert.deepEqual(
      (await store.suppress.list('t', {})).items.map((item) => item.key),
      ['other@x.example'],
    )
  },

  'a store that cannot list refuses and names what can': async ({ store }) => {
    if (store.guarantees.list) return
    for (const ask of [async () => store.list({}), async () => store.suppress.list(undefined, {})]) {
      await assert.rejects(ask, (error) => {
        assert.ok(error instanceof MailError && error.code === 'UNSUPPORTED_FEATURE')
        assert.match(error.message, /sqlite|postgres|redis|memory/)
        return true
      })
    }
  },
}

/** The last test of the lists says what such a store does instead. */
const refusesLists = ({ guarantees }: MailStore) => !guarantees.list
