import assert from 'node:assert/strict'
import { MailError } from '../errors.ts'
import type { Attachment, MessageSnapshot } from '../message/message.ts'
import type { Awaitable, MailStore, Row, StoredSuppression, Window } from '../stores/store.ts'

/** An empty store for one test, and the time it lives in. */
export interface StoreHarness {
  readonly store: MailStore
  /** The store's wall clock, in milliseconds since 1970. */
  now(): number
  /** Lets `ms` milliseconds pass for the store: on a fake clock, or by waiting. */
  advance(ms: number): Awaitable<void>
}

/** The test functions of any runner: `node:test`, Vitest, Jest and Mocha all fit. */
export interface TestFunctions {
  describe(name: string, body: () => void): unknown
  it(name: string, test: () => Promise<void>): unknown
  /** Where random tests begin; part of their names. Default: the environment's `SEED`, else the time. */
  readonly seed?: number
}

type Test = (harness: StoreHarness) => Promise<void>
type Suite = Readonly<Record<string, Test>>

const second = 1_000
const day = 86_400_000
const lease = { owner: 'suite', ms: 40 * second }

/**
 * What every `MailStore` must do, as tests: each verb, what makes it atomic, and time. A store whose `guarantees.list` is
 * false is held to refusing `list` and `suppress.list` instead.
 *
 * @param make Opens a store with nothing in it; the suite closes it after each test.
 *
 * @example
 * describeStore('my store', () => {
 *   const clock = fakeClock()
 *   return { store: myStore({ clock }), now: clock.now, advance: clock.advance }
 * }, { describe, it })
 */
export function describeStore(name: string, make: () => Awaitable<StoreHarness>, runner: TestFunctions): void {
  const seed = runner.seed ?? (Number(process.env.SEED) || Date.now() % 1_000_000)
  const suites: Readonly<Record<string, Suite>> = {
    claims,
    fences,
    keys,
    due,
    rows,
    suppressions,
    limits: limits(seed),
    'events and counters': small,
    lists,
  }
  runner.describe(name, () => {
    for (const [title, suite] of Object.entries(suites)) {
      runner.describe(title, () => {
        for (const [promise, test] of Object.entries(suite)) {
          runner.it(promise, async () => {
            const harness = await make()
            try {
              await test(harness)
            } finally {
              await harness.store.close()
            }
          })
        }
      })
    }
  })
}

const claims: Suite = {
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
    assert.equal((await store.get(row.id))?.subject, row.subject)
  },

  'a held row says whether somebody works on it': async ({ store, advance }) => {
    await store.claim(rowOf({ key: 'k' }), { lease, keyTtl: day })
    assert.partialDeepStrictEqual(await store.claim(rowOf({ key: 'k' }), { lease }), { state: 'held', leased: true })
    await advance(lease.ms)
    assert.partialDeepStrictEqual(await store.claim(rowOf({ key: 'k' }), { lease }), { state: 'held', leased: false })
  },
}

const fences: Suite = {
  'D4: a late renew or settle with an old fence changes nothing': async ({ store, advance }) => {
    const row = rowOf({ key: 'k' })
    const first = await claimed(store, row)
    await advance(lease.ms)
    const second = await store.takeover(row.id, ['dispatching'], lease)
    assert.ok(second && second.fence !== first)
    const late = { ...row, status: 'sent', subject: 'late' } as const
    assert.equal(await store.renew(late, first, lease.ms), false)
    assert.equal(await store.settle(late, first), false)
    assert.equal(await store.settle(late, first, { release: true }), false)
    assert.equal(await store.settle(late, first, { remove: true }), false)
    assert.deepEqual(await store.get(row.id), row)
    assert.equal((await store.claim(rowOf({ key: 'k' }), {})).state, 'held')
    assert.equal(await store.settle({ ...row, status: 'sent' }, second.fence), true)
  },

  'D4: a settled row has no holder: the fence that settled it writes no more': async ({ store }) => {
    for (const status of ['sent', 'unknown', 'queued'] as const) {
      const row = rowOf()
      const fence = await claimed(store, row)
      assert.equal(await store.settle({ ...row, status }, fence), true)
      assert.equal(await store.settle({ ...row, status: 'failed' }, fence), false)
      assert.equal(await store.renew({ ...row, status: 'failed' }, fence, lease.ms), false)
      assert.equal((await store.get(row.id))?.status, status)
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
    assert.equal(await store.renew(row, fence, lease.ms), true)
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

const keys: Suite = {
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
    assert.equal((await store.get(row.id))?.status, 'failed')
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
    assert.equal(await store.get(row.id), undefined)
    assert.equal(await store.find({ messageId: row.messageId }), undefined)
    assert.equal((await store.claim(rowOf({ key: 'k' }), { lease })).state, 'claimed')
  },
}

const due: Suite = {
  'higher priority leaves first, and equals in the order they came': async ({ store, now }) => {
    const queued: Row[] = []
    for (const priority of [0, 5, -5, 5, 0]) {
      const row = rowOf({ status: 'queued', kind: 'queue', priority, dueAt: now() })
      await store.claim(row, {})
      queued.push(row)
    }
    assert.deepEqual(
      await dueIds(store, 10),
      [1, 3, 0, 4, 2].map((i) => queued[i]!.id),
    )
  },

  'a repeat of its key leaves a queued row in its place': async ({ store, now }) => {
    const [first, second] = ['a', 'b'].map((key) => rowOf({ key, status: 'queued', kind: 'queue', dueAt: now() }))
    for (const row of [first!, second!]) await store.claim(row, { keyTtl: day })
    await store.claim(rowOf({ key: 'a' }), { lease })
    assert.deepEqual(await dueIds(store, 2), [first!.id, second!.id])
  },

  'tenants take turns, however much one has queued': async ({ store, now }) => {
    for (const tenant of ['big', 'big', 'big', 'big', 'small', undefined]) {
      await store.claim(rowOf({ status: 'queued', kind: 'queue', dueAt: now(), ...(tenant && { tenant }) }), {})
    }
    const { held } = await store.due(6, lease)
    assert.deepEqual(new Set(held.slice(0, 3).map(({ row }) => row.tenant)), new Set(['big', 'small', undefined]))
    assert.equal(held.length, 6)
  },

  'a row is handed to one worker': async ({ store, now }) => {
    for (let i = 0; i < 100; i++) await store.claim(rowOf({ status: 'queued', kind: 'queue', dueAt: now() }), {})
    const takes = await Promise.all(Array.from({ length: 20 }, () => store.due(10, lease)))
    const ids = takes.flatMap(({ held }) => held.map(({ row }) => row.id))
    assert.equal(ids.length, 100)
    assert.equal(new Set(ids).size, 100)
  },

  'what is scheduled waits for its time, and `next` says how long': async ({ store, now, advance }) => {
    const row = rowOf({ status: 'scheduled', kind: 'queue', dueAt: now() + 10 * second })
    await store.claim(row, {})
    assert.deepEqual(await store.due(10, lease), { held: [], next: 10 * second })
    await advance(10 * second - 1)
    assert.deepEqual(await dueIds(store, 10), [])
    await advance(1)
    assert.deepEqual(await dueIds(store, 10), [row.id])
    assert.deepEqual(await store.due(10, lease), { held: [] })
  },

  'D1: a row whose lease ran out is handed out again': async ({ store, now, advance }) => {
    const row = rowOf({ status: 'queued', kind: 'queue', dueAt: now() })
    await store.claim(row, {})
    const [first] = (await store.due(1, lease)).held
    const started = { ...row, status: 'dispatching' } as const
    assert.equal(await store.renew(started, first!.fence, lease.ms), true)
    await advance(lease.ms - 1)
    assert.deepEqual(await dueIds(store, 10), [])
    await advance(2 * second)
    const [again] = (await store.due(10, lease)).held
    assert.deepEqual(again?.row, started)
    assert.equal(await store.settle(started, first!.fence), false)
    assert.equal(await store.settle({ ...row, status: 'sent' }, again!.fence), true)
    await advance(10 * lease.ms)
    assert.deepEqual(await store.due(10, lease), { held: [] })
  },

  'a row settled or unknown is nobody’s work, also when the lease on it ran out': async ({ store, advance }) => {
    for (const status of ['sent', 'unknown'] as const) {
      const row = rowOf()
      await store.settle({ ...row, status }, await claimed(store, row))
      assert.ok(await store.takeover(row.id, [status], lease))
    }
    await advance(2 * lease.ms)
    assert.deepEqual(await store.due(10, lease), { held: [] })
  },

  'a row put back is due at its new time; one taken out never': async ({ store, now, advance }) => {
    const [later, cancelled] = [0, 1].map(() => rowOf({ status: 'queued', kind: 'queue', dueAt: now() }))
    for (const row of [later!, cancelled!]) await store.claim(row, {})
    const moved = await store.takeover(later!.id, ['queued'], lease)
    await store.settle({ ...later!, status: 'scheduled', dueAt: now() + day }, moved!.fence)
    const out = await store.takeover(cancelled!.id, ['queued'], lease)
    await store.settle({ ...cancelled!, status: 'cancelled' }, out!.fence)
    assert.deepEqual(await store.due(10, lease), { held: [], next: day })
    await advance(day)
    assert.deepEqual(await dueIds(store, 10), [later!.id])
  },

  'no more than asked for': async ({ store, now }) => {
    for (let i = 0; i < 5; i++) await store.claim(rowOf({ status: 'queued', kind: 'queue', dueAt: now() }), {})
    const { held, next } = await store.due(3, lease)
    assert.equal(held.length, 3)
    assert.equal(next, 0)
    assert.equal((await store.due(3, lease)).held.length, 2)
  },
}

const rows: Suite = {
  'a row comes back field for field, with the bytes of its attachments': async ({ store }) => {
    const row = rowOf({
      status: 'unknown',
      kind: 'queue',
      tags: ['a', 'b'],
      subject: ':base64:not, "quoted" \u2028 ☃',
      notAfter: 5,
      work: { message: message(), onUnknown: 'hold', timeout: 1, taken: [{ key: 'q', windows: [], at: 1 }] },
    })
    await store.settle(row, await claimed(store, { ...row, status: 'dispatching' }))
    const read = await store.get(row.id)
    assert.deepEqual(read, row)
    assert.ok(read?.work?.message.attachments[0]?.content instanceof Uint8Array)
    assert.deepEqual((await store.takeover(row.id, ['unknown'], lease))?.row, row)
  },

  'what is not there is undefined': async ({ store }) => {
    assert.equal(await store.get('msg_none'), undefined)
    assert.equal(await store.find({ messageId: '<msg_none@acme.example>' }), undefined)
    assert.equal(await store.find({ messageId: 'no message id' }), undefined)
    assert.equal(await store.find({ providerMessageId: 'none' }), undefined)
  },

  'a row is found by its Message-ID and by every id a provider gave it': async ({ store }) => {
    const row = rowOf()
    const fence = await claimed(store, row)
    assert.equal(await store.renew({ ...row, providerMessageId: 'first' }, fence, lease.ms), true)
    await store.settle({ ...row, status: 'sent', providerMessageId: 'second' }, fence)
    for (const by of [{ messageId: row.messageId }, { providerMessageId: 'first' }, { providerMessageId: 'second' }]) {
      assert.equal((await store.find(by))?.id, row.id)
    }
    assert.equal(await store.find({ messageId: row.messageId.replace('acme', 'evil') }), undefined)
  },
}

const suppressions: Suite = {
  'P3: hasMany answers for each key, in order, by tenant and scope': async ({ store }) => {
    await store.suppress.add([
      suppression({ key: 'a@x.example' }),
      suppression({ key: 'b@x.example', scope: 'stream:marketing' }),
      suppression({ key: 'c@x.example', tenant: 't' }),
    ])
    const asked = ['b@x.example', 'c@x.example', 'a@x.example', 'd@x.example']
    const found = async (tenant: string | undefined, scopes: string[]) =>
      (await store.suppress.hasMany(tenant, asked, scopes)).map((entry) => entry?.key)
    assert.deepEqual(await found(undefined, ['all']), [undefined, undefined, 'a@x.example', undefined])
    assert.deepEqual(await found(undefined, ['all', 'stream:marketing']), [
      'b@x.example',
      undefined,
      'a@x.example',
      undefined,
    ])
    assert.deepEqual(await found('t', ['all', 'stream:marketing']), [undefined, 'c@x.example', undefined, undefined])
    assert.deepEqual(await store.suppress.hasMany(undefined, [], ['all']), [])
  },

  'P8: tenants and keys that would join to the same text stay apart': async ({ store }) => {
    await store.suppress.add([suppression({ tenant: 'a', key: 'b:c' }), suppression({ key: 'a:b' })])
    assert.deepEqual(await store.suppress.get('a:b', 'c'), [])
    assert.deepEqual(await store.suppress.get('', 'a:b'), [])
    assert.equal((await store.suppress.get('a', 'b:c')).length, 1)
  },

  'the first of the asked scopes that covers a key is answered': async ({ store }) => {
    await store.suppress.add([
      suppression({ scope: 'topic:news', reason: 'unsubscribe' }),
      suppression({ scope: 'all', reason: 'complaint' }),
    ])
    const [entry] = await store.suppress.hasMany(undefined, ['ada@example.com'], ['all', 'topic:news'])
    assert.equal(entry?.reason, 'complaint')
    const [other] = await store.suppress.hasMany(undefined, ['ada@example.com'], ['topic:news', 'all'])
    assert.equal(other?.reason, 'unsubscribe')
  },

  'an entry covers until it expires': async ({ store, now, advance }) => {
    const has = async () => (await store.suppress.hasMany(undefined, ['ada@example.com'], ['all']))[0] !== undefined
    await store.suppress.add([suppression({ expiresAt: now() + 10 * second })])
    await advance(10 * second - 1)
    assert.equal(await has(), true)
    await advance(1)
    assert.equal(await has(), false)
    assert.deepEqual(await store.suppress.get(undefined, 'ada@example.com'), [])
    assert.equal(await store.suppress.remove(undefined, 'ada@example.com'), 0)
    await store.suppress.add([suppression()])
    await advance(400 * day)
    assert.equal(await has(), true, 'without expiry it stays')
  },

  'adding again replaces; removing takes one scope or all': async ({ store }) => {
    const key = 'ada@example.com'
    await store.suppress.add([suppression({ note: 'first' })])
    const second = suppression({ note: 'second', reason: 'hard_bounce' })
    await store.suppress.add([second, suppression({ scope: 'topic:a' }), suppression({ scope: 'topic:b' })])
    assert.deepEqual(
      (await store.suppress.get(undefined, key)).find(({ scope }) => scope === 'all'),
      second,
    )
    assert.equal((await store.suppress.get(undefined, key)).length, 3)
    assert.equal(await store.suppress.remove(undefined, key, 'topic:a'), 1)
    assert.equal(await store.suppress.remove(undefined, key, 'topic:a'), 0)
    assert.equal(await store.suppress.remove('t', key), 0)
    assert.equal(await store.suppress.remove(undefined, key), 2)
    assert.deepEqual(await store.suppress.get(undefined, key), [])
  },

  'entries for one mailbox added at once are all kept': async ({ store }) => {
    await Promise.all(Array.from({ length: 20 }, (_, i) => store.suppress.add([suppression({ scope: `topic:${i}` })])))
    assert.equal((await store.suppress.get(undefined, 'ada@example.com')).length, 20)
  },
}

const limits = (seed: number): Suite => ({
  'P4: of many takes at once exactly the limit passes': async ({ store }) => {
    const windows = [{ limit: 100, per: 60 * second }]
    const takes = await Promise.all(Array.from({ length: 1_000 }, () => store.limits.take('k', windows, 1)))
    assert.equal(takes.filter(({ ok }) => ok).length, 100)
  },

  [`never more than the limit in any sliding window, whatever the bursts and refunds (seed ${seed})`]: async ({
    store,
    now,
    advance,
  }) => {
    const random = randomFrom(seed)
    for (let round = 0; round < 12; round++) {
      const windows: Window[] = [
        { limit: 1 + random(40), per: 1 + random(5_000) },
        { limit: 1 + random(90), per: 5_001 + random(60_000) },
      ]
      const passed: { at: number; cost: number }[] = []
      for (let step = 0; step < 80; step++) {
        const cost = random(8)
        const take = await store.limits.take(`round ${round}`, windows, cost)
        if (take.ok) passed.push({ at: now(), cost })
        if (take.ok && cost > 0 && random(4) === 0) {
          await advance(random(windows[0]!.per))
          await store.limits.refund(`round ${round}`, windows, cost, take.at)
          passed.pop()
        }
        await advance(random(3) === 0 ? random(windows[0]!.per * 2) : random(20))
      }
      for (const { limit, per } of windows) {
        for (const { at } of passed) {
          const inWindow = passed.filter((one) => one.at > at - per && one.at <= at)
          const total = inWindow.reduce((sum, { cost }) => sum + cost, 0)
          assert.ok(total <= limit, `${total} of ${limit} in ${per} ms, round ${round}, seed ${seed}`)
        }
      }
    }
  },

  [`retryAfter is when it fits, and not before (seed ${seed})`]: async ({ store, advance }) => {
    const random = randomFrom(seed)
    for (let round = 0; round < 20; round++) {
      const windows = [{ limit: 1 + random(20), per: 1 + random(100_000) }]
      await advance(random(10_000))
      assert.ok((await store.limits.take(`${round}`, windows, windows[0]!.limit)).ok)
      const refused = await store.limits.take(`${round}`, windows, 1)
      assert.ok(!refused.ok && refused.retryAfter >= windows[0]!.per)
      assert.deepEqual(refused.window, windows[0])
      await advance(refused.retryAfter - 1)
      assert.equal((await store.limits.take(`${round}`, windows, 1)).ok, false)
      await advance(1)
      assert.equal((await store.limits.take(`${round}`, windows, 1)).ok, true)
    }
  },

  'several windows give all or nothing': async ({ store, advance }) => {
    const windows = [
      { limit: 1, per: second },
      { limit: 3, per: day },
    ]
    for (let i = 0; i < 3; i++) {
      assert.equal((await store.limits.take('k', windows, 1)).ok, true)
      for (let refusal = 0; refusal < 5; refusal++) {
        assert.equal((await store.limits.take('k', windows, 1)).ok, false)
      }
      await advance(2 * second)
    }
    const refused = await store.limits.take('k', windows, 1)
    assert.ok(!refused.ok && refused.window.per === day, 'the refusals above took nothing from the day')
  },

  'what never fits says so; a limit of 0 lets nothing through': async ({ store }) => {
    const refused = await store.limits.take('k', [{ limit: 5, per: second }], 6)
    assert.ok(!refused.ok && refused.retryAfter === Number.POSITIVE_INFINITY)
    assert.equal((await store.limits.take('k', [{ limit: 5, per: second }], 5)).ok, true)
    assert.equal((await store.limits.take('none', [{ limit: 0, per: second }], 1)).ok, false)
  },

  'a refund can be used again, once, and only in the windows that counted it': async ({ store }) => {
    const windows = [{ limit: 10, per: day }]
    const take = await store.limits.take('k', windows, 10)
    assert.ok(take.ok)
    await store.limits.refund('k', windows, 4, take.at)
    assert.equal((await store.limits.take('k', windows, 5)).ok, false)
    assert.equal((await store.limits.take('k', windows, 4)).ok, true)
    assert.equal((await store.limits.take('k', windows, 1)).ok, false)
    await store.limits.refund('other', windows, 4, take.at)
    assert.equal((await store.limits.take('k', windows, 1)).ok, false)

    const all = await store.limits.take('all', windows, 10)
    assert.ok(all.ok)
    await store.limits.refund('all', windows, 10, all.at)
    assert.equal((await store.limits.take('all', windows, 10)).ok, true)
  },

  'a changed limit counts what passed under the old one': async ({ store }) => {
    assert.equal((await store.limits.take('k', [{ limit: 5, per: day }], 5)).ok, true)
    assert.equal((await store.limits.take('k', [{ limit: 7, per: day }], 3)).ok, false)
    assert.equal((await store.limits.take('k', [{ limit: 7, per: day }], 2)).ok, true)
    assert.equal((await store.limits.take('k', [{ limit: 5, per: day }], 1)).ok, false)
  },

  'keys have their own windows': async ({ store }) => {
    const windows = [{ limit: 1, per: day }]
    for (const key of ['a', 'b', 'a:b', '']) assert.equal((await store.limits.take(key, windows, 1)).ok, true)
  },
})

const small: Suite = {
  'P12: once is true the first time within its time': async ({ store, advance }) => {
    const seen = await Promise.all(Array.from({ length: 100 }, () => store.once('event', 10 * second)))
    assert.equal(seen.filter(Boolean).length, 1)
    assert.equal(await store.once('other', 5 * second), true)
    await advance(10 * second - 1)
    assert.equal(await store.once('event', 10 * second), false)
    await advance(1)
    assert.equal(await store.once('event', 10 * second), true)
    assert.equal(await store.once('event', 10 * second), false)
  },

  'counters add up, and read 0 where nothing was counted': async ({ store }) => {
    await Promise.all(Array.from({ length: 100 }, () => store.counters.add('a', 2)))
    await store.counters.add('b', 1)
    assert.deepEqual(await store.counters.read(['b', 'none', 'a']), [1, 0, 200])
    assert.deepEqual(await store.counters.read([]), [])
  },
}

const lists: Suite = {
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
      recipients: [{ address: 'b@x.example', field: 'to', status: 'failed' }],
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

let made = 0

/** A row as the ledger writes it; ids ascend. */
export function rowOf(change: Partial<Row> = {}): Row {
  const id = `msg_${(++made).toString(16).padStart(12, '0')}`
  return {
    v: 1,
    id,
    kind: 'send',
    accepted: true,
    status: 'dispatching',
    messageId: `<${id}@acme.example>`,
    from: 'hello@acme.example',
    subject: 'Your order',
    stream: 'transactional',
    tags: [],
    recipients: [{ address: 'ada@example.com', field: 'to', status: 'pending' }],
    attempts: [],
    sandbox: false,
    priority: 0,
    createdAt: Date.UTC(2026, 0, 1),
    runs: 0,
    ...change,
  }
}

/** A message as a queued row keeps it. */
export function message(change: Partial<MessageSnapshot> = {}): MessageSnapshot {
  const attachment: Attachment = {
    filename: 'a.bin',
    content: Uint8Array.from({ length: 256 }, (_, i) => i),
    contentType: 'application/octet-stream',
  }
  return {
    from: { address: 'hello@acme.example' },
    to: [{ name: 'Ada', address: 'ada@example.com' }],
    cc: [],
    bcc: [],
    replyTo: [],
    subject: 'Your order',
    text: 'It is on its way.',
    attachments: [attachment],
    headers: [{ name: 'X-A', value: 'b' }],
    tags: [],
    metadata: { order: '1048' },
    references: [],
    providerOptions: { ses: { configurationSet: 'main' } },
    ...change,
  }
}

function suppression(change: Partial<StoredSuppression> = {}): StoredSuppression {
  return { key: 'ada@example.com', scope: 'all', reason: 'manual', createdAt: Date.UTC(2026, 0, 1), ...change }
}

async function claimed(store: MailStore, row: Row, keyTtl = day): Promise<number> {
  const claim = await store.claim(row, { lease, keyTtl })
  assert.equal(claim.state, 'claimed')
  return (claim as { fence: number }).fence
}

async function dueIds(store: MailStore, count: number): Promise<string[]> {
  return (await store.due(count, lease)).held.map(({ row }) => row.id)
}

/** Whole numbers from 0 below `below` (mulberry32). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}
