import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool, PoolClient } from 'pg'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { functions } from '../../src/stores/postgres/functions.ts'
import { type PostgresPool, type PostgresStoreOptions, postgres } from '../../src/stores/postgres.ts'
import type { MailStore, Row } from '../../src/stores/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { claimed, rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { checkPostgresData } from '../support/postgres-data.ts'
import { overPostgres } from '../support/postgres-server.ts'

const lease = { owner: 'test', ms: 40_000 }
const day = 86_400_000
const queued = { status: 'queued', kind: 'queue' } as const
const windows = [{ limit: 5, per: day }]

const code = (expected: MailErrorCode) => (error: unknown) => error instanceof MailError && error.code === expected

/** Every verb, most with something to do. */
async function everyVerb(store: MailStore): Promise<void> {
  const look = { keys: ['ada@example.com', 'b@x.example'], scopes: ['all'] }
  await store.suppress.add([suppression({ key: 'b@x.example' }), suppression({ key: 'c@x.example', expiresAt: 1 })])
  const row = rowOf({ key: 'k', tags: ['x'], work: work(), providerMessageId: 'p' })
  const fence = await claimed(store, row)
  await store.claim(rowOf({ key: 'k' }), { lease, look })
  await store.renew({ ...row, accepted: true }, fence, lease.ms, look)
  await store.settle({ ...row, status: 'unknown', providerMessageId: 'q' }, fence)
  const held = await store.takeover(row.id, ['unknown'], lease)
  await store.settle({ ...row, status: 'sent' }, held!.fence, { release: true })
  await store.read(row.id)
  await store.find({ messageId: row.messageId })
  await store.find({ providerMessageId: 'p' })
  for (const index of [undefined, { status: 'sent' }, { status: 'dispatching' }, { tag: 'x' }] as const) {
    await store.list(index ? { index } : {})
  }
  await store.claim(rowOf({ ...queued, tenant: 't' }), {})
  await store.claim(rowOf({ kind: 'queue', status: 'scheduled', dueAt: 1 }), {})
  const { held: due } = await store.due(10, lease)
  for (const one of due) await store.settle(one.row, one.fence, { delay: 1 })
  await store.due(10, lease, { lost: true })
  await store.suppress.hasMany(undefined, look.keys, look.scopes)
  await store.suppress.get(undefined, 'b@x.example')
  await store.suppress.list(undefined, {})
  await store.suppress.remove(undefined, 'b@x.example')
  const take = await store.limits.take('k', windows, 2)
  await store.limits.refund('k', windows, 1, (take as { at: number }).at)
  await store.limits.take('k', windows, 9)
  await store.limits.usage('k', windows)
  await store.counters.add('c', 1)
  await store.counters.read(['c'])
  await store.once('e', 1)
}

/** A pool that counts the statements it is given. */
function counting(pool: Pool) {
  const counted = {
    statements: 0,
    async connect() {
      const client = await pool.connect()
      return {
        query(text: string, values?: unknown[]) {
          counted.statements++
          return client.query(text, values)
        },
        release: (destroy?: boolean | Error) => client.release(destroy),
      }
    },
    query: () => assert.fail('every call takes a connection'),
  } satisfies PostgresPool & { statements: number }
  return counted
}

/** Everything `task` does stays in one transaction, so that the server can tell what it read. */
async function inTransaction(pool: Pool, task: (inside: PostgresPool, client: PoolClient) => Promise<void>) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await task({ query: (text, values) => client.query(text, values) }, client)
  } finally {
    await client.query('ROLLBACK')
    client.release()
  }
}

await overPostgres('postgres, verb by verb', (server) => {
  const schema = server.schema()
  const pool = server.pool()
  const open = (options: Partial<PostgresStoreOptions> = {}) => postgres({ pool, schema, ...options })
  /** A store in a schema of its own. */
  const fresh = async (options: Partial<PostgresStoreOptions> = {}) => {
    const own = server.schema()
    const store = postgres({ pool, schema: own, ...options })
    await store.read('msg_none')
    const rows = async (text: string) => (await pool.query(text.replaceAll('s.', `"${own}".`))).rows
    return { store, schema: own, rows }
  }
  before(async () => {
    await open().read('msg_none')
  })

  it('every verb is one round trip', async () => {
    const counter = counting(pool)
    const { store } = await fresh({ pool: counter })
    // Whoever may add to the queue first counts it.
    await store.claim(rowOf(queued), {})
    let verbs = 0
    const count = <T extends object>(part: T): T =>
      new Proxy(part, {
        get(target, name) {
          const value = Reflect.get(target, name) as unknown
          if (typeof value === 'object' && value !== null) return count(value)
          if (typeof value !== 'function') return value
          return async (...args: unknown[]) => {
            const earlier = counter.statements
            const answer = await (value.call(target, ...args) as unknown)
            verbs++
            assert.equal(counter.statements - earlier, 1, String(name))
            return answer
          }
        },
      })
    await everyVerb(count(store))
    assert.ok(verbs > 30)
  })

  it('what is called is what is there, parameter by parameter', async () => {
    const { rows } = await pool.query(
      `SELECT proname AS name, array_to_string(proargnames[2:pronargs], ' ') AS parameters FROM pg_proc
        WHERE pronamespace = $1::regnamespace AND proargnames[1] = '_deadline' AND proname <> 'in_time'`,
      [`"${schema}"`],
    )
    const there = Object.fromEntries(rows.map(({ name, parameters }) => [name, parameters.replaceAll(/\b_/g, '')]))
    assert.deepEqual(there, { ...functions })
  })

  it('P10: no verb reads a table from end to end', async () => {
    const { store, schema: own } = await fresh()
    await everyVerb(store)
    await inTransaction(pool, async (inside, client) => {
      const within = postgres({ pool: inside, schema: own })
      await within.read('msg_none')
      const scans = async () =>
        (
          await client.query(
            'SELECT relname, seq_scan::int FROM pg_stat_xact_user_tables WHERE schemaname = $1 ORDER BY relname',
            [own],
          )
        ).rows
      const before = await scans()
      await everyVerb(within)
      assert.deepEqual(await scans(), before)
    })
  })

  it('two schemas do not meet', async () => {
    const [one, other] = [await fresh(), await fresh()]
    const row = rowOf({ key: 'k' })
    for (const { store } of [one, other]) {
      assert.equal((await store.claim(row, { lease })).state, 'claimed')
      assert.equal((await store.limits.take('k', [{ limit: 1, per: day }], 1)).ok, true)
      assert.equal(await store.once('e', day), true)
    }
    await one.store.suppress.add([suppression()])
    assert.deepEqual(await other.store.suppress.get(undefined, 'ada@example.com'), [])
  })

  it('runs over a pool that lends no connections', async () => {
    const { store } = await fresh({ pool: { query: (text, values) => pool.query(text, values) } })
    await everyVerb(store)
    await Promise.all(Array.from({ length: 50 }, () => store.once('one', day)))
  })

  describe('with the clock of the server', () => {
    it('leases, delays and moments pass', async () => {
      const { store } = await fresh()
      const row = rowOf({ key: 'k' })
      await store.claim(row, { lease: { owner: 'a', ms: 300 } })
      assert.equal(await store.takeover(row.id, ['dispatching'], lease), undefined)
      const delayed = rowOf({ kind: 'queue' })
      await store.settle({ ...delayed, status: 'queued' }, await claimed(store, delayed), { delay: 300 })
      const scheduled = rowOf({ kind: 'queue', status: 'scheduled', dueAt: Date.now() + 300 })
      await store.claim(scheduled, {})
      const { held, next } = await store.due(10, lease)
      assert.deepEqual(held, [])
      assert.ok(next! > 0 && next! <= 300)
      await sleep(350)
      const due = await store.due(10, lease)
      assert.deepEqual(new Set(due.held.map((one) => one.row.id)), new Set([row.id, delayed.id, scheduled.id]))
    })

    it('windows of every length count, and say when', async () => {
      const { store } = await fresh()
      for (const per of [1, 50, 1_000, 20_000, 60_000, 3_600_000, 30 * day]) {
        const take = await store.limits.take(`${per}`, [{ limit: 1, per }], 1)
        assert.ok(take.ok && Math.abs(take.at - Date.now()) < 60_000)
        const refused = await store.limits.take(`${per}`, [{ limit: 0, per }], 0)
        assert.ok(per < 1_000 || (!refused.ok && refused.retryAfter <= (per * 62) / 60 + 1))
      }
    })
  })

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

  describe('P10: maxQueued', () => {
    it('bounds what waits; what is in the queue goes on, and repeats are answered', async () => {
      const { store } = await fresh({ maxQueued: 3 })
      const first = rowOf({ ...queued, key: 'first' })
      await store.claim(first, {})
      for (let i = 0; i < 2; i++) await store.claim(rowOf(queued), {})
      await assert.rejects(async () => store.claim(rowOf(queued), {}), code('QUEUE_FULL'))
      const keyed = rowOf({ key: 'k', accepted: false })
      const fence = await claimed(store, keyed)
      await assert.rejects(async () => store.settle({ ...keyed, ...queued, accepted: true }, fence), code('QUEUE_FULL'))
      assert.deepEqual(await store.read(keyed.id), keyed, 'nothing changed')
      assert.equal((await store.claim(rowOf({ ...queued, key: 'first' }), {})).state, 'held')
      const { held } = await store.due(3, lease)
      for (const one of held) assert.equal(await store.settle(one.row, one.fence), true)
      for (const one of (await store.due(3, lease)).held) await store.settle({ ...one.row, status: 'sent' }, one.fence)
      await sleep(1_100)
      assert.equal(await store.settle({ ...keyed, ...queued, accepted: true }, fence), true)
    })

    it('holds between processes, about', async () => {
      const { store, schema: own } = await fresh({ maxQueued: 20 })
      const other = postgres({ pool, schema: own, maxQueued: 20 })
      const claims = await Promise.allSettled(
        Array.from({ length: 60 }, async (_, i) => (i % 2 ? store : other).claim(rowOf(queued), {})),
      )
      const accepted = claims.filter(({ status }) => status === 'fulfilled').length
      assert.ok(accepted >= 20 && accepted <= 40, `${accepted}`)
      await assert.rejects(
        async () => open({ schema: own, maxQueued: 20 }).claim(rowOf(queued), {}),
        code('QUEUE_FULL'),
      )
    })
  })

  it('refuses a cursor that is none of its own', async () => {
    const store = open()
    const made = (place: unknown) => Buffer.from(JSON.stringify(place)).toString('base64url')
    for (const cursor of [
      'x',
      '',
      '-1',
      made([]),
      made([1]),
      made(['a', 1]),
      made({}),
      `${made([1, 'a'])}=`,
      made([1, 'a', 2]),
    ]) {
      await assert.rejects(async () => store.list({ cursor }), code('VALIDATION_ERROR'))
      await assert.rejects(async () => store.suppress.list(undefined, { cursor }), code('VALIDATION_ERROR'))
    }
  })

  it('refuses options it cannot work with at once', () => {
    const refused: unknown[] = [
      undefined,
      {},
      { pool: 'postgres://localhost/test' },
      { pool: {} },
      { pool: { connect() {} } },
      { pool, schema: '' },
      { pool, schema: 'a-b' },
      { pool, schema: 'a"b' },
      { pool, schema: 'pg_mail' },
      { pool, schema: 'x'.repeat(64) },
      { pool, schema: 1 },
      { pool, migrate: 'yes' },
      { pool, durability: 'none' },
      { pool, maxQueued: 0 },
      { pool, maxQueued: Number.NaN },
    ]
    for (const options of refused) {
      assert.throws(() => postgres(options as PostgresStoreOptions), code('CONFIGURATION_ERROR'))
    }
  })

  it('closed, it refuses; the pool goes on', async () => {
    const store = open()
    await store.read('msg_none')
    await store.close()
    await assert.rejects(async () => store.read('msg_none'), code('CLOSED'))
    assert.equal((await pool.query('SELECT 1 AS one')).rows[0].one, 1)
  })

  describe('many tenants', () => {
    /** Writes `count` queued rows at once, past the store. */
    async function flood(own: string, rows: readonly Row[], state: 0 | 1 | 2, moment: number): Promise<void> {
      const store = open({ schema: own })
      const template = rowOf(queued)
      await store.claim(template, {})
      await pool.query(
        `WITH new AS (
          INSERT INTO "${own}".messages (place, created_at, phase, accepted, id, tenant, status, body)
          SELECT nextval('"${own}".numbers'), given.at, 0, true, given.id, '=big', $3, 'torn'
          FROM unnest($1::text[]) WITH ORDINALITY AS given (id, at) RETURNING place
        )
        INSERT INTO "${own}".work (place, moment, priority, state, tenant) SELECT place, $4, 0, $2, '=big' FROM new`,
        [rows.map(({ id }) => id), state, state === 2 ? 'scheduled' : 'queued', moment],
      )
    }

    /** Rows of tables and indexes that one call reads. */
    async function reads(own: string, ask: (store: MailStore) => Promise<unknown>): Promise<number> {
      let read = 0
      await inTransaction(pool, async (inside, client) => {
        const count = async () => {
          const { rows } = await client.query(
            'SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS read FROM pg_stat_xact_user_tables WHERE schemaname = $1',
            [own],
          )
          return Number(rows[0].read)
        }
        const before = await count()
        await ask(postgres({ pool: inside, schema: own }))
        read = (await count()) - before
      })
      return read
    }

    for (const [name, state] of Object.entries({ ready: 0, 'put off': 1, scheduled: 2 } as const)) {
      it(`a tenant with thousands of messages ${name} neither delays nor slows down another's one`, async () => {
        const counts: number[] = []
        for (const n of [1_000, 8_000]) {
          const { schema: own } = await fresh()
          const rows = Array.from({ length: n }, () => rowOf())
          await flood(own, rows, state, Date.now() - 100_000)
          const small = rowOf({ ...queued, tenant: 'small' })
          const store = open({ schema: own })
          if (state === 0) await store.claim(small, {})
          else if (state === 2) await store.claim({ ...small, status: 'scheduled', dueAt: Date.now() - 1_000 }, {})
          else await store.settle(small, await claimed(store, { ...small, status: 'dispatching' }), { delay: 1 })
          await sleep(5)
          counts.push(await reads(own, async (inside) => inside.due(5, lease)))
          let calls = 0
          for (let seen = false; !seen; calls++) {
            assert.ok(calls < 4, 'its turn comes')
            seen = (await store.due(5, lease)).held.some(({ row }) => row.id === small.id)
          }
        }
        assert.ok(counts[1]! < counts[0]! * 1.5 + 50, `${counts[0]} reads with 1,000 waiting, ${counts[1]} with 8,000`)
      })
    }

    it('turns go around all tenants, from call to call', async () => {
      const { store } = await fresh()
      const tenants = ['a', 'b', 'c', 'd', 'e']
      for (let i = 0; i < 4; i++) for (const tenant of tenants) await store.claim(rowOf({ ...queued, tenant }), {})
      const seen: (string | undefined)[] = []
      for (let i = 0; i < 10; i++) seen.push(...(await store.due(2, lease)).held.map(({ row }) => row.tenant))
      for (let i = 0; i < seen.length; i += 5) assert.deepEqual(seen.slice(i, i + 5).toSorted(), tenants)
    })

    it('P10: a page of a list costs the same however much there is', async () => {
      const counts: number[] = []
      for (const n of [1_000, 8_000]) {
        const { schema: own } = await fresh()
        await flood(
          own,
          Array.from({ length: n }, () => rowOf()),
          0,
          0,
        )
        counts.push(
          await reads(own, async (inside) => {
            const { unreadable } = await inside.list({ limit: 10, tenant: 'big' })
            assert.equal(unreadable?.length, 10)
          }),
        )
      }
      assert.ok(counts[1]! < counts[0]! * 1.5 + 50, `${counts}`)
    })
  })
})
