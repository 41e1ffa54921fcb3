import assert from 'node:assert/strict'
import { day, lease, type Suite, second } from './case.ts'
import { claimed, rowOf, suppression } from './samples.ts'

export const claims: Suite = {
  'P7 D4: of a thousand claims of one key at once exactly one wins': async ({ store }) => {
    const claimed = await Promise.all(
      Array.from({ length: 1_000 }, () => store.claim(rowOf({ key: 'k' }), { lease, keyTtl: day })),
    )
    const winners = claimed.filter(({ state }) => state === 'claimed')
    assert.equal(winners.length, 1)
    const holders = new Set(claimed.flatMap((claim) => (claim.state === 'held' ? [claim.row.id] : [])))
    assert.equal(holders.size, 1, 'every other call is shown the same row')
    assert.ok(claimed.every((claim) => claim.state === 'claimed' || claim.leased))
  },

  'P7: claims of different keys do not meet': async ({ store }) => {
    const claimed = await Promise.all(
      Array.from({ length: 50 }, (_, i) => store.claim(rowOf({ key: `k${i}` }), { lease, keyTtl: day })),
    )
    assert.ok(claimed.every(({ state }) => state === 'claimed'))
  },

  'a claim of an id that exists answers its row and changes nothing': async ({ store }) => {
    const row = rowOf()
    await store.claim(row, { lease })
    const again = await store.claim({ ...row, subject: 'Another' }, { lease })
    assert.ok(again.state === 'held' && again.row.subject === row.subject)
    assert.equal((await store.read(row.id))?.subject, row.subject)
  },

  'a held row says whether somebody works on it': async ({ store, advance }) => {
    await store.claim(rowOf({ key: 'k' }), { lease, keyTtl: day })
    assert.partialDeepStrictEqual(await store.claim(rowOf({ key: 'k' }), { lease }), { state: 'held', leased: true })
    await advance(lease.ms)
    assert.partialDeepStrictEqual(await store.claim(rowOf({ key: 'k' }), { lease }), { state: 'held', leased: false })
  },
}

export const fences: Suite = {
  'D4: a late renew or settle with an old fence changes nothing': async ({ store, advance }) => {
    const row = rowOf({ key: 'k' })
    const first = await claimed(store, row)
    await advance(lease.ms)
    const second = await store.takeover(row.id, ['dispatching'], lease)
    assert.ok(second && second.fence !== first)
    const late = { ...row, status: 'sent', subject: 'late' } as const
    assert.equal(await store.renew(late, first, lease.ms), undefined)
    assert.equal(await store.settle(late, first), false)
    assert.equal(await store.settle(late, first, { release: true }), false)
    assert.equal(await store.settle(late, first, { remove: true }), false)
    assert.deepEqual(await store.read(row.id), row)
    assert.equal((await store.claim(rowOf({ key: 'k' }), {})).state, 'held')
    assert.equal(await store.settle({ ...row, status: 'sent' }, second.fence), true)
  },

  'D4: a settled row has no holder: the fence that settled it writes no more': async ({ store }) => {
    for (const status of ['sent', 'unknown', 'queued'] as const) {
      const row = rowOf()
      const fence = await claimed(store, row)
      assert.equal(await store.settle({ ...row, status }, fence), true)
      assert.equal(await store.settle({ ...row, status: 'failed' }, fence), false)
      assert.equal(await store.renew({ ...row, status: 'failed' }, fence, lease.ms), undefined)
      assert.equal((await store.read(row.id))?.status, status)
    }
  },

  'D4: of a thousand takeovers at once exactly one succeeds': async ({ store, advance }) => {
    const row = rowOf()
    await claimed(store, row)
    await advance(lease.ms)
    const taken = await Promise.all(Array.from({ length: 1_000 }, () => store.takeover(row.id, ['dispatching'], lease)))
    assert.equal(taken.filter(Boolean).length, 1)
  },

  'a row is taken over only when its lease ran out': async ({ store, advance }) => {
    const row = rowOf()
    const fence = await claimed(store, row)
    await advance(lease.ms - 1)
    assert.equal(await store.takeover(row.id, ['dispatching'], lease), undefined)
    assert.deepEqual(await store.renew(row, fence, lease.ms), { found: [] })
    await advance(lease.ms - 1)
    assert.equal(await store.takeover(row.id, ['dispatching'], lease), undefined, 'renewing extends it')
    await advance(1)
    assert.ok(await store.takeover(row.id, ['dispatching'], lease))
  },

  'a takeover names the states it is for': async ({ store }) => {
    const row = rowOf()
    await store.settle({ ...row, status: 'sent' }, await claimed(store, row))
    assert.equal(await store.takeover(row.id, ['scheduled', 'unknown'], lease), undefined)
    assert.equal((await store.takeover(row.id, ['unknown', 'sent'], lease))?.row.status, 'sent')
    assert.equal(await store.takeover('msg_none', ['sent'], lease), undefined)
  },

  'no fence comes twice': async ({ store, advance }) => {
    const row = rowOf()
    const seen = new Set([await claimed(store, row)])
    for (let i = 0; i < 20; i++) {
      await advance(lease.ms)
      const held = await store.takeover(row.id, ['dispatching', 'sent'], lease)
      assert.ok(held && !seen.has(held.fence))
      seen.add(held.fence)
      if (i % 2) await store.settle({ ...row, status: 'sent' }, held.fence)
    }
  },
}

export const keys: Suite = {
  'K1: a key ends 24 hours after its claim': async ({ store, advance }) => {
    const row = rowOf({ key: 'k' })
    await store.settle({ ...row, status: 'sent' }, await claimed(store, row, day))
    await advance(day - 1)
    assert.partialDeepStrictEqual(await store.claim(rowOf({ key: 'k' }), { lease }), {
      state: 'held',
      row: { id: row.id, status: 'sent' },
      leased: false,
    })
    await advance(1)
    assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'claimed')
  },

  'K1: each key has its own life, whatever others were given': async ({ store, advance }) => {
    for (const [key, life] of [
      ['long', day],
      ['short', 60 * second],
    ] as const) {
      const row = rowOf({ key })
      await store.settle({ ...row, status: 'sent' }, await claimed(store, row, life))
    }
    await advance(60 * second)
    assert.equal((await store.claim(rowOf({ key: 'short' }), { lease })).state, 'claimed')
    assert.equal((await store.claim(rowOf({ key: 'long' }), { lease })).state, 'held')
  },

  'K1: a key never ends while its row is unsettled or unknown, and ends at once when a later settling finds its time over':
    async ({ store, advance }) => {
      const row = rowOf({ key: 'k' })
      const fence = await claimed(store, row, 60 * second)
      await advance(10 * day)
      assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'held')
      assert.equal(await store.settle({ ...row, status: 'unknown' }, fence), true)
      await advance(100 * day)
      assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'held')
      const held = await store.takeover(row.id, ['unknown'], lease)
      assert.ok(held)
      await store.settle({ ...row, status: 'sent' }, held.fence)
      assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'claimed')
    },

  'K4: release frees the key and keeps the row': async ({ store }) => {
    const row = rowOf({ key: 'k' })
    await store.settle({ ...row, status: 'failed' }, await claimed(store, row), { release: true })
    assert.equal((await store.read(row.id))?.status, 'failed')
    assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'claimed')
  },

  'K4: releasing an old row leaves the key to the row that has it now': async ({ store }) => {
    const old = rowOf({ key: 'k' })
    await store.settle({ ...old, status: 'failed' }, await claimed(store, old), { release: true })
    const current = rowOf({ key: 'k' })
    await claimed(store, current)
    const held = await store.takeover(old.id, ['failed'], lease)
    assert.ok(held)
    await store.settle({ ...old, status: 'cancelled' }, held.fence, { release: true })
    assert.partialDeepStrictEqual(await store.claim(rowOf({ key: 'k' }), { lease }), { row: { id: current.id } })
  },

  'K4: remove forgets the row and frees its key': async ({ store }) => {
    const row = rowOf({ key: 'k' })
    assert.equal(await store.settle(row, await claimed(store, row), { remove: true }), true)
    assert.equal(await store.read(row.id), undefined)
    assert.equal(await store.find({ messageId: row.messageId }), undefined)
    assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'claimed')
  },
}

export const looks: Suite = {
  'P3: a claim and a renewal tell who is suppressed, in the order asked, and decide nothing': async ({ store }) => {
    const look = { keys: ['b@x.example', 'ada@example.com', 'c@x.example'], scopes: ['all', 'topic:news'] }
    await store.suppress.add([
      suppression({ tenant: 't' }),
      suppression({ tenant: 't', key: 'c@x.example', scope: 'topic:news', reason: 'unsubscribe' }),
      suppression({ tenant: 't', key: 'b@x.example', scope: 'topic:other' }),
      suppression({ key: 'b@x.example' }),
    ])
    const row = rowOf({ tenant: 't' })
    const claim = await store.claim(row, { lease, look })
    assert.ok(claim.state === 'claimed')
    const reasons = (found: readonly ({ reason: string } | undefined)[]) => found.map((entry) => entry?.reason)
    assert.deepEqual(reasons(claim.found), [undefined, 'manual', 'unsubscribe'])
    await store.suppress.remove('t', 'ada@example.com')
    const renewed = await store.renew({ ...row, subject: 'New' }, claim.fence, lease.ms, look)
    assert.deepEqual(reasons(renewed!.found), [undefined, undefined, 'unsubscribe'])
    assert.equal((await store.read(row.id))?.subject, 'New', 'the row is written whoever is suppressed')
  },

  'without a look nothing is found': async ({ store }) => {
    await store.suppress.add([suppression()])
    const row = rowOf()
    const claim = await store.claim(row, { lease })
    assert.ok(claim.state === 'claimed')
    assert.deepEqual(claim.found, [])
    assert.deepEqual(await store.renew(row, claim.fence, lease.ms), { found: [] })
  },
}
