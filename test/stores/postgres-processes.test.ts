import assert from 'node:assert/strict'
import { before, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { postgres } from '../../src/stores/postgres.ts'
import { rowOf } from '../../src/testing/stores/samples.ts'
import { checkPostgresData } from '../support/postgres-data.ts'
import { emptyStore, overPostgres } from '../support/postgres-server.ts'
import { start } from '../support/program.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000
const processes = 4
const lease = { owner: 'test', ms: 1 }

await overPostgres(`postgres between ${processes} processes (SEED=${seed})`, (server) => {
  const schema = server.schema()
  const pool = server.pool()
  const store = postgres({ pool, schema })
  before(async () => {
    await store.read('msg_none')
  })

  /** What each process won. */
  async function race<T>(test: TestContext, name: string): Promise<T[][]> {
    const programs = Array.from({ length: processes }, (_, i) =>
      start(test, 'test/stores/programs/postgres-race.ts', {}, [
        JSON.stringify(server.config),
        schema,
        name,
        String(seed + i),
      ]),
    )
    await Promise.all(programs.map((program) => program.printed(/ready/)))
    for (const { child } of programs) child.stdin!.write('go\n')
    await Promise.all(programs.map(({ ended }) => ended))
    await checkPostgresData(pool, schema)
    return programs.map(({ out, err }) => {
      assert.match(out, /^ready\n.+\n$/, err)
      return JSON.parse(out.slice('ready\n'.length)) as T[]
    })
  }

  /** Each of `count` things was won by exactly one. */
  function wonOnce(won: readonly (readonly number[])[], count: number): void {
    assert.deepEqual(
      won.flat().sort((a, b) => a - b),
      Array.from({ length: count }, (_, i) => i),
    )
  }

  it('P7 D4: each key is claimed once', async (test) => {
    await emptyStore(pool, schema)
    wonOnce(await race<number>(test, 'claims'), 300)
  })

  it('D4: each lost row is taken over once', async (test) => {
    await emptyStore(pool, schema)
    for (let i = 0; i < 300; i++) await store.claim(rowOf({ id: `msg_lost_${i}` }), { lease })
    await sleep(5)
    wonOnce(await race<number>(test, 'takeovers'), 300)
  })

  it('P12: each event is new once', async (test) => {
    await emptyStore(pool, schema)
    wonOnce(await race<number>(test, 'once'), 300)
  })

  it('P4: a limit is used up and never exceeded', async (test) => {
    await emptyStore(pool, schema)
    const won = await race<number>(test, 'limits')
    assert.equal(won.flat().length, 100)
    assert.deepEqual(await store.limits.usage('race', [{ limit: 1, per: 86_400_000 }]), [100])
  })

  it('P1 D4: each queued row is handed to one worker', async (test) => {
    await emptyStore(pool, schema)
    const ids = Array.from({ length: 500 }, (_, i) => `msg_due_${i}`)
    const row = (id: string, i: number) =>
      rowOf({ id, kind: 'queue', status: 'queued', tenant: `t${i % 7}`, priority: i % 3 })
    await Promise.all(ids.map(async (id, i) => store.claim(row(id, i), {})))
    const won = await race<string>(test, 'due')
    assert.deepEqual(won.flat().sort(), ids.toSorted())
  })

  it('P9: whatever they do at once, none waits for another in a circle, and the tables agree', async (test) => {
    await emptyStore(pool, schema)
    const failures = await race<string>(test, 'everything')
    // On a busy machine a call may take too long; none may fail for another reason.
    assert.deepEqual(
      failures.flat().filter((message) => !/in time|too late/.test(message)),
      [],
    )
  })
})
