import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import Keyv from 'keyv'
import { createClient } from 'redis'
import { KeyvStore } from '../../src/stores/keyv-store.ts'
import { memory } from '../../src/stores/memory.ts'
import { postgres } from '../../src/stores/postgres.ts'
import { redis } from '../../src/stores/redis.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import type { MailStore, Row } from '../../src/stores/store.ts'
import { type FakeClock, fakeClock } from '../../src/testing/fake-clock.ts'
import { randomFrom, rowOf, work } from '../../src/testing/stores/samples.ts'
import { overPostgres } from '../support/postgres-server.ts'
import { freshStore } from '../support/postgres-store.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'
import { newDatabase } from '../support/sqlite-files.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000
const lease = { owner: 'order', ms: 86_400_000 }

interface Standing {
  row: Row
  /** Undefined until it first waits, and once it has ended. */
  place: number | undefined
  readyAt: number
  fence: number | undefined
}

/** What is taken is, each time, the first by priority and by when it first waited. */
async function checkOrder(store: MailStore, clock: FakeClock, steps: number): Promise<void> {
  const random = randomFrom(seed)
  const standing: Standing[] = []
  let places = 0
  const one = (which: (standing: Standing) => boolean): Standing | undefined => {
    const found = standing.filter(which)
    return found[random(found.length)]
  }
  const wait = (standing: Standing, row: Row, delay: number) => {
    standing.row = row
    standing.place ??= ++places
    standing.readyAt = row.status === 'scheduled' ? row.dueAt! : clock.now() + delay
    standing.fence = undefined
  }
  const acts = {
    async claim() {
      const isHeld = random(4) === 0
      const row = rowOf({ kind: 'queue', status: isHeld ? 'dispatching' : 'queued', priority: random(2), work: work() })
      const claim = await store.claim(row, isHeld ? { lease } : {})
      assert.ok(claim.state === 'claimed')
      const added: Standing = { row, place: undefined, readyAt: 0, fence: isHeld ? claim.fence : undefined }
      if (!isHeld) wait(added, row, 0)
      standing.push(added)
    },
    async takeover() {
      const taken = one(({ fence }) => fence === undefined)
      if (!taken) return
      const held = await store.takeover(taken.row.id, ['queued', 'scheduled', 'failed'], lease)
      assert.deepEqual(held?.row, taken.row)
      taken.fence = held!.fence
    },
    async settle() {
      const held = one(({ fence }) => fence !== undefined)
      if (!held) return
      const delay = random(2) * random(20_000)
      const rest = { ...held.row, priority: random(8) === 0 ? random(2) : held.row.priority }
      const row: Row =
        random(6) === 0
          ? { ...rest, status: 'failed' }
          : random(3) === 0
            ? { ...rest, status: 'scheduled', dueAt: clock.now() + random(20_000) }
            : { ...rest, status: 'queued' }
      assert.equal(await store.settle(row, held.fence!, { delay }), true)
      wait(held, row, delay)
      if (row.status === 'failed') held.place = undefined
    },
    async due() {
      const count = 1 + random(4)
      const ready = standing
        .filter(({ fence, place, readyAt }) => fence === undefined && place !== undefined && readyAt <= clock.now())
        .sort((a, b) => b.row.priority - a.row.priority || a.place! - b.place!)
      const { held } = await store.due(count, lease)
      assert.deepEqual(
        held.map(({ row }) => row.id),
        ready.slice(0, count).map(({ row }) => row.id),
      )
      for (const [i, { fence }] of held.entries()) ready[i]!.fence = fence
    },
  }
  for (let step = 0; step < steps; step++) {
    await clock.advance(1 + random(3_000))
    const isGrowing = standing.length < 30
    const act = random(6)
    await acts[act < 2 && isGrowing ? 'claim' : act < 3 ? 'takeover' : act < 5 ? 'settle' : 'due']()
  }
  await store.close()
}

describe(`a row stands where it first waited, whatever happens to it (SEED=${seed})`, () => {
  it('in memory', async () => {
    const clock = fakeClock()
    await checkOrder(memory({ clock }), clock, 2_000)
  })

  it('over a Keyv', async () => {
    const clock = fakeClock()
    await checkOrder(new KeyvStore(new Keyv(), { clock }), clock, 2_000)
  })

  it('in sqlite', async () => {
    const clock = fakeClock()
    await checkOrder(sqlite(newDatabase(), { clock }), clock, 600)
  })
})

const server = await findRedis()
it(`in redis (SEED=${seed})`, { skip: 'skip' in server && server.skip }, async () => {
  if ('skip' in server) return
  const client = createClient({ url: server.url }).on('error', () => {})
  await client.connect()
  const clock = fakeClock()
  await checkOrder(redis({ client, prefix: `${runPrefix}-order`, clock }), clock, 600)
  await removeKeys(server.url)
  client.destroy()
  await server.stop()
})

await overPostgres(`in postgres (SEED=${seed})`, (postgresServer) => {
  const pool = postgresServer.pool()
  it('the same', async () => {
    const clock = fakeClock()
    const { schema } = await freshStore(postgresServer, pool)
    await checkOrder(postgres({ pool, schema, clock }), clock, 600)
  })
})
