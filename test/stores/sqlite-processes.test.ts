import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { sqlite } from '../../src/stores/sqlite.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { rowOf } from '../../src/testing/stores/samples.ts'
import { start } from '../support/program.ts'
import { checkSqliteData } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'
import { racedKeys, raceLimit, raceWindows } from './programs/sqlite-race.ts'

const processes = 4
const program = 'test/stores/programs/sqlite-race.ts'
const lease = { owner: 'test', ms: 40_000 }

/** What each process won. */
async function race(test: TestContext, path: string, name: string): Promise<string[][]> {
  const programs = Array.from({ length: processes }, (_, i) => start(test, program, {}, [path, name, `p${i}`]))
  await Promise.all(programs.map((one) => one.printed(/ready/)))
  for (const { child } of programs) child.stdin!.end('go\n')
  const won = await Promise.all(programs.map((one) => one.printed(/^\[.*\]$/m)))
  const codes = await Promise.all(programs.map(({ ended }) => ended))
  assert.deepEqual(
    codes,
    codes.map(() => 0),
  )
  return won.map(([line]) => JSON.parse(line) as string[])
}

async function onStore<T>(path: string, ask: (store: MailStore) => Promise<T>): Promise<T> {
  const store = sqlite(path)
  try {
    return await ask(store)
  } finally {
    await store.close()
  }
}

const fill = (path: string, change: (i: number) => Parameters<typeof rowOf>[0]) =>
  onStore(path, async (store) => {
    await Promise.all(
      Array.from({ length: racedKeys }, (_, i) => store.claim(rowOf({ id: `row-${i}`, ...change(i) }), {})),
    )
  })

function each(won: readonly string[][], prefix: string): void {
  const all = won.flat()
  assert.equal(all.length, racedKeys, 'as many as there are')
  assert.deepEqual(new Set(all), new Set(Array.from({ length: racedKeys }, (_, i) => `${prefix}-${i}`)))
}

describe('sqlite between processes', () => {
  it('P7 D4: of four that make the file and claim the same keys, one wins each', async (t) => {
    const path = newDatabase()
    each(await race(t, path, 'claims'), 'key')
    checkSqliteData(path)
  })

  it('D4: one wins each takeover', async (t) => {
    const path = newDatabase()
    await fill(path, () => ({ status: 'unknown' }))
    each(await race(t, path, 'takeovers'), 'row')
  })

  it('P2: a queued row is handed to one worker', async (t) => {
    const path = newDatabase()
    await fill(path, (i) => ({ status: 'queued', kind: 'queue', tenant: `t${i % 3}` }))
    each(await race(t, path, 'due'), 'row')
    await onStore(path, async (store) => assert.deepEqual(await store.due(10, lease), { held: [] }))
  })

  it('P4: together they take exactly the limit', async (t) => {
    const path = newDatabase()
    assert.equal((await race(t, path, 'limits')).flat().length, raceLimit)
    await onStore(path, async (store) => {
      assert.deepEqual(await store.limits.usage('race', raceWindows), [raceLimit])
    })
  })

  it('P12: an event is new to one of them', async (t) => {
    each(await race(t, newDatabase(), 'once'), 'event')
  })
})
