import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { SqliteStore } from '../../src/stores/sqlite/sqlite-store.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { type FakeClock, fakeClock } from '../../src/testing/fake-clock.ts'
import { rowOf, suppression } from '../../src/testing/stores/samples.ts'
import { onFile } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour
const lease = { owner: 'test', ms: 40_000 }
const windows = [{ limit: 1, per: day }]

const open: MailStore[] = []
afterEach(async () => {
  while (open.length > 0) await open.pop()!.close()
})

function openStore(path: string, clock: FakeClock, boot: string): MailStore {
  const store = new SqliteStore({ path, durability: 'power-loss', maxQueued: 1_000, clock, boot })
  open.push(store)
  return store
}

/** A store with a row somebody works on, one that holds its key for a day, a delayed one, a full window and an event. */
async function filled(path: string, clock: FakeClock, boot: string): Promise<MailStore> {
  const store = openStore(path, clock, boot)
  await store.claim(rowOf({ id: 'leased', kind: 'queue' }), { lease: { owner: 'test', ms: 10 * day } })
  const keyed = rowOf({ id: 'keyed', key: 'k' })
  const claim = await store.claim(keyed, { lease, keyTtl: day })
  assert.ok(claim.state === 'claimed')
  await store.settle({ ...keyed, status: 'sent' }, claim.fence)
  const delayed = rowOf({ id: 'delayed', kind: 'queue' })
  const other = await store.claim(delayed, { lease })
  assert.ok(other.state === 'claimed')
  await store.settle({ ...delayed, status: 'queued' }, other.fence, { delay: hour })
  assert.ok((await store.limits.take('k', windows, 1)).ok)
  assert.ok(await store.once('event', day))
  return store
}

const keyHeld = async (store: MailStore) => (await store.claim(rowOf({ key: 'k' }), {})).state === 'held'
const dueIds = async (store: MailStore) => (await store.due(10, lease)).held.map(({ row }) => row.id)

describe('S6: the steady time of a file', () => {
  it('goes on in another process of the same boot, whatever the wall clock says there', async () => {
    const path = newDatabase()
    const clock = fakeClock()
    await filled(path, clock, 'boot')
    for (const step of [day, -3 * day]) {
      clock.step(step)
      const store = openStore(path, clock, 'boot')
      assert.equal(await keyHeld(store), true)
      assert.equal((await store.limits.take('k', windows, 1)).ok, false)
      assert.equal(await store.once('event', day), false)
      assert.deepEqual(await dueIds(store), [])
      assert.equal(await store.takeover('leased', ['dispatching'], lease), undefined)
    }
    await clock.advance(hour)
    assert.deepEqual(await dueIds(open.at(-1)!), ['delayed'])
  })

  it('D1: of a new boot goes on from wall time, and the leases of the one before are over', async () => {
    const path = newDatabase()
    const before = fakeClock()
    await filled(path, before, 'one')
    const store = openStore(path, fakeClock(before.now() + 30 * minute), 'two')
    assert.deepEqual(await dueIds(store), ['leased'], 'its worker died with the boot')
    assert.equal(await keyHeld(store), true)
    const later = openStore(path, fakeClock(before.now() + hour), 'three')
    assert.deepEqual(await dueIds(later), ['leased', 'delayed'])
    const next = openStore(path, fakeClock(before.now() + 3 * day), 'four')
    assert.equal(await next.once('event', day), true)
    assert.ok((await next.limits.take('k', windows, 1)).ok)
    assert.equal(await keyHeld(next), false)
  })

  it('never goes back, when the new boot does not know what day it is', async () => {
    const path = newDatabase()
    const before = fakeClock()
    const old = await filled(path, before, 'one')
    await before.advance(20 * hour)
    await old.counters.add('any write notes the time', 1)
    const clock = fakeClock(Date.UTC(1970, 0, 1))
    const store = openStore(path, clock, 'two')
    assert.equal(await keyHeld(store), true)
    assert.equal(await store.once('event', day), false)
    await clock.advance(4 * hour)
    assert.equal(await keyHeld(store), false, 'from 20 hours on')
    assert.equal(await store.once('event', day), true)
  })

  it('a monotonic clock that begins anew is a new boot, where the system does not name them', async () => {
    const path = newDatabase()
    const before = fakeClock()
    const old = await filled(path, before, '')
    await before.advance(2 * hour)
    await old.counters.add('any write notes the time', 1)
    const store = openStore(path, fakeClock(before.now()), '')
    assert.deepEqual(await dueIds(store), ['leased', 'delayed'])
    assert.equal(await keyHeld(store), true)
  })

  it('fences and places stay in order when two processes take turns', async () => {
    const path = newDatabase()
    const clock = fakeClock()
    const stores = [openStore(path, clock, 'boot'), openStore(path, clock, 'boot')]
    const row = rowOf()
    let last = 0
    const first = await stores[0]!.claim(row, { lease })
    assert.ok(first.state === 'claimed')
    last = first.fence
    for (let i = 0; i < 10; i++) {
      await clock.advance(lease.ms)
      const held = await stores[i % 2]!.takeover(row.id, ['dispatching'], lease)
      assert.ok(held && held.fence > last)
      last = held.fence
    }
  })

  it('without a clock of the test’s it is the system’s, and two stores agree on it', async () => {
    const path = newDatabase()
    const [one, other] = [sqlite(path), sqlite(path)]
    open.push(one, other)
    const took = await one.limits.take('k', windows, 1)
    const again = await other.limits.take('k', [{ limit: 9, per: day }], 1)
    assert.ok(took.ok && again.ok)
    assert.ok(again.at >= took.at && Math.abs(again.at - Date.now()) < minute)
    const row = rowOf()
    await one.claim(row, { lease: { owner: 'test', ms: 1 } })
    await new Promise((resolve) => setTimeout(resolve, 5))
    assert.ok(await other.takeover(row.id, ['dispatching'], lease))
    const boot = onFile(path, (database) => database.prepare('SELECT boot FROM sendwright_store').get()?.boot)
    if (process.platform === 'linux') assert.match(boot as string, /^[0-9a-f-]{36}$/)
  })
})

describe('P3: a suppression that expires', () => {
  it('is not forgotten for good because the wall clock was a day ahead for a while', async () => {
    const clock = fakeClock()
    const store = openStore(newDatabase(), clock, 'boot')
    await store.suppress.add([suppression({ expiresAt: clock.now() + hour })])
    const covered = async () => (await store.suppress.hasMany(undefined, ['ada@example.com'], ['all']))[0] !== undefined
    clock.step(day)
    assert.equal(await covered(), false)
    for (let i = 0; i < 200; i++) void store.once(`${i}`, 1)
    await store.once('last', 1)
    clock.step(-day)
    assert.equal(await covered(), true)
  })
})
