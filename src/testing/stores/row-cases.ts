import assert from 'node:assert/strict'
import type { Row } from '../../stores/store.ts'
import { day, lease, type Suite, second } from './case.ts'
import { claimed, rowOf, work } from './samples.ts'

export const retention: Suite = {
  'content of a settled or unknown row ends after its time; a queued row keeps it': async ({ store, advance }) => {
    const put = async (status: Row['status']) => {
      const row = rowOf({ kind: 'queue', work: work() })
      await store.settle({ ...row, status }, await claimed(store, row), { retention: { content: day } })
      return row.id
    }
    const ids = [await put('failed'), await put('unknown'), await put('sandboxed')]
    const queued = await put('queued')
    await advance(day - 1)
    for (const id of ids) assert.ok((await store.read(id))?.work)
    await advance(1)
    for (const id of ids) {
      const row = await store.read(id)
      assert.ok(row && row.work === undefined)
    }
    assert.ok((await store.read(queued))?.work)
    const held = await store.takeover(ids[1]!, ['unknown'], lease)
    assert.equal(held?.row.work, undefined)
    assert.equal((await store.due(1, lease)).held[0]?.row.work?.message.subject, 'Your order')
  },

  'a settled row ends after its time; one that can still change, or holds a key, stays': async ({ store, advance }) => {
    const put = async (status: Row['status'], key?: string) => {
      const row = rowOf({ providerMessageId: `p${status}${key}`, ...(key === undefined ? {} : { key }) })
      const fence = await claimed(store, row, 10 * day)
      await store.settle({ ...row, status }, fence, { retention: { records: day } })
      return row
    }
    const [sent, unknown, keyed] = [await put('sent'), await put('unknown'), await put('sent', 'k')]
    await advance(day - second)
    assert.ok(await store.read(sent.id))
    // A minute of tolerance.
    await advance(61 * second)
    assert.equal(await store.read(sent.id), undefined)
    assert.equal(await store.find({ messageId: sent.messageId }), undefined)
    assert.equal(await store.find({ providerMessageId: sent.providerMessageId! }), undefined)
    assert.equal(await store.takeover(sent.id, ['sent'], lease), undefined)
    assert.ok(await store.read(unknown.id))
    assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'held', 'no key ends early')
    if (!store.guarantees.list) return
    const { items } = await store.list({})
    assert.deepEqual(new Set(items.map(({ id }) => id)), new Set([unknown.id, keyed.id]))
  },
}

export const rows: Suite = {
  'a row comes back field for field, with the bytes of its attachments': async ({ store }) => {
    const row = rowOf({
      status: 'unknown',
      kind: 'queue',
      tags: ['a', 'b'],
      subject: ':base64:not, "quoted" \u2028 ☃',
      notAfter: 5,
      work: work(),
    })
    await store.settle(row, await claimed(store, { ...row, status: 'dispatching' }))
    const read = await store.read(row.id)
    assert.deepEqual(read, row)
    assert.ok(read?.work?.message.attachments[0]?.content instanceof Uint8Array)
    assert.deepEqual((await store.takeover(row.id, ['unknown'], lease))?.row, row)
  },

  'what is not there is undefined': async ({ store }) => {
    assert.equal(await store.read('msg_none'), undefined)
    assert.equal(await store.find({ messageId: '<msg_none@acme.example>' }), undefined)
    assert.equal(await store.find({ messageId: 'no message id' }), undefined)
    assert.equal(await store.find({ providerMessageId: 'none' }), undefined)
  },

  'a row is found by its Message-ID and by every id a provider gave it': async ({ store }) => {
    const row = rowOf()
    const fence = await claimed(store, row)
    assert.ok(await store.renew({ ...row, providerMessageId: 'first' }, fence, lease.ms))
    await store.settle({ ...row, status: 'sent', providerMessageId: 'second' }, fence)
    for (const by of [{ messageId: row.messageId }, { providerMessageId: 'first' }, { providerMessageId: 'second' }]) {
      assert.equal((await store.find(by))?.id, row.id)
    }
    assert.equal(await store.find({ messageId: row.messageId.replace('acme', 'evil') }), undefined)
  },
}
