import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { MailError } from '../../src/errors.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import type { MailStore, Row } from '../../src/stores/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, message, rowOf, work } from '../../src/testing/stores/samples.ts'
import { checkSqliteData, execOnFile, onFile, tableSizes } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'

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

const unreadable = (error: unknown) => error instanceof MailError && error.code === 'STORE_UNAVAILABLE'

describe('D2: a row that cannot be read', () => {
  const tears: readonly [how: string, sql: string][] = [
    ['torn', `UPDATE sendwright_messages SET body = substr(body, 1, 60) WHERE id = 'bad'`],
    ['changed', `UPDATE sendwright_messages SET body = replace(body, 'ada@', 'eve@') WHERE id = 'bad'`],
    [
      'of another',
      `UPDATE sendwright_messages SET body = (SELECT body FROM sendwright_messages WHERE id = 'good') WHERE id = 'bad'`,
    ],
    ['no text', `UPDATE sendwright_messages SET body = x'00ff' WHERE id = 'bad'`],
  ]
  for (const [how, sql] of tears) {
    it(`${how}: is set aside and named, and the others go on`, async () => {
      const { path, store, clock } = openStore()
      for (const id of ['good', 'bad', 'next']) {
        await store.claim(rowOf({ id, status: 'queued', kind: 'queue', key: `key ${id}`, createdAt: clock.now() }), {})
      }
      execOnFile(path, sql)
      await assert.rejects(async () => store.read('bad'), unreadable)
      await assert.rejects(async () => store.find({ messageId: '<bad@acme.example>' }), unreadable)
      await assert.rejects(async () => store.takeover('bad', ['queued'], lease), unreadable)
      await assert.rejects(async () => store.claim(rowOf({ key: 'key bad' }), {}), unreadable)
      const page = await store.list({ index: { recipient: 'ada@example.com' } })
      assert.deepEqual(page.items.map(({ id }) => id).sort(), ['good', 'next'])
      assert.deepEqual(page.unreadable, ['bad'])
      assert.deepEqual((await store.list({})).unreadable, ['bad'])
      const due = await store.due(10, lease)
      assert.deepEqual(
        due.held.map(({ row }) => row.id),
        ['good', 'next'],
      )
      assert.deepEqual(due.unreadable, ['bad'])
      assert.deepEqual(await store.due(10, lease), { held: [] }, 'and it is not named again')
    })
  }

  it('whose content is torn, or gone, is one too', async () => {
    for (const sql of [
      'UPDATE sendwright_contents SET content = substr(content, 9)',
      'DELETE FROM sendwright_contents',
    ]) {
      const { path, store } = openStore()
      await store.claim(rowOf({ id: 'bad', status: 'queued', kind: 'queue', work: work() }), {})
      execOnFile(path, sql)
      await assert.rejects(async () => store.read('bad'), unreadable)
      assert.deepEqual(await store.due(10, lease), { held: [], unreadable: ['bad'] })
    }
  })

  it('is set aside when its lease runs out, and goes when its time has come', async () => {
    const { path, store, clock } = openStore()
    await store.claim(rowOf({ id: 'bad' }), { lease })
    const settled = rowOf({ id: 'old' })
    await store.settle({ ...settled, status: 'sent' }, await claimed(store, settled), { retention: { records: day } })
    execOnFile(path, `UPDATE sendwright_messages SET body = 'torn'`)
    await clock.advance(lease.ms)
    assert.deepEqual(await store.due(10, lease), { held: [], unreadable: ['bad'] })
    await clock.advance(day)
    assert.equal(await store.read('old'), undefined)
    await Promise.all(Array.from({ length: 40 }, (_, i) => store.once(`${i}`, 1)))
    assert.equal(tableSizes(path).messages, 1)
  })
})

describe('content', () => {
  it('is written once, whatever is written of the message after', async () => {
    const { path, store } = openStore()
    const row = rowOf({ kind: 'queue', work: work() })
    const fence = await claimed(store, row)
    execOnFile(
      path,
      `CREATE TABLE written (n); CREATE TRIGGER seen AFTER UPDATE ON sendwright_contents BEGIN INSERT INTO written VALUES (1); END;
      CREATE TRIGGER gone AFTER DELETE ON sendwright_contents BEGIN INSERT INTO written VALUES (2); END`,
    )
    const writes = () =>
      onFile(path, (database) =>
        database
          .prepare('SELECT n FROM written')
          .all()
          .map(({ n }) => n),
      )
    await store.renew({ ...row, runs: 1 }, fence, lease.ms)
    await store.settle({ ...row, status: 'queued', runs: 2 }, fence)
    const held = (await store.due(1, lease)).held[0]!
    await store.renew({ ...held.row, status: 'dispatching' }, held.fence, lease.ms)
    assert.deepEqual(writes(), [])
    assert.deepEqual((await store.read(row.id))?.work, row.work)
    const other = { ...work(), message: message({ subject: 'Another' }) }
    await store.renew({ ...held.row, work: other }, held.fence, lease.ms)
    assert.equal((await store.read(row.id))?.work?.message.subject, 'Another')
    await store.renew(held.row, held.fence, lease.ms)
    assert.equal((await store.read(row.id))?.work?.message.subject, row.work!.message.subject, 'also back again')
    const { work: _, ...without } = held.row
    await store.settle({ ...without, status: 'sent' }, held.fence)
    assert.deepEqual(writes(), [1, 1, 2])
    assert.equal((await store.read(row.id))?.work, undefined)
    execOnFile(path, 'DROP TRIGGER seen; DROP TRIGGER gone; DROP TABLE written')
    checkSqliteData(path)
  })
})

describe('P10: forgetting', () => {
  it('takes a bounded number at once, keeps pace with what comes, and ends with what is over', async () => {
    const { path, store, clock } = openStore()
    const rows = Array.from({ length: 1_000 }, () => rowOf({ kind: 'queue', work: work(), tags: ['x'] }))
    const settle = async (row: Row) =>
      store.settle({ ...row, status: 'failed' }, await claimed(store, row), {
        retention: { content: day, records: 2 * day },
      })
    await Promise.all(rows.map(settle))
    await clock.advance(day)
    await store.due(1, lease)
    const sizes = () => tableSizes(path)
    assert.ok(sizes().contents! >= 1_000 - 128, 'one call does not pay for all')
    for (let i = 0; sizes().contents! > 0; i++) {
      assert.ok(i < 100)
      await Promise.all(Array.from({ length: 16 }, () => store.due(1, lease)))
    }
    assert.equal(sizes().messages, 1_000)
    await clock.advance(day)
    for (let i = 0; i < 500; i++) await settle(rowOf())
    assert.equal(sizes().messages, 500)
    assert.ok((await store.read(rows[0]!.id)) === undefined)
    checkSqliteData(path)
  })

  it('what is over is not there, swept or not', async () => {
    const { path, store, clock } = openStore()
    const row = rowOf({ key: 'k', tags: ['x'], providerMessageId: 'p' })
    await store.settle({ ...row, status: 'sent' }, await claimed(store, row, 1), { retention: { records: 10 } })
    await clock.advance(10)
    assert.equal(tableSizes(path).messages, 1)
    assert.equal(await store.read(row.id), undefined)
    assert.equal(await store.find({ messageId: row.messageId }), undefined)
    assert.equal(await store.find({ providerMessageId: 'p' }), undefined)
    for (const index of [{ status: 'sent' }, { tag: 'x' }, { recipient: 'ada@example.com' }, undefined] as const) {
      assert.deepEqual(await store.list(index ? { index } : {}), { items: [] })
    }
    assert.equal(await store.takeover(row.id, ['sent'], lease), undefined)
    assert.equal((await store.claim({ ...row, subject: 'Again' }, { lease })).state, 'claimed', 'its id is free')
    assert.equal((await store.read(row.id))?.subject, 'Again')
  })
})
