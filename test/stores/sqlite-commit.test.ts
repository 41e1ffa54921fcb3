import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { MailError } from '../../src/errors.ts'
import { checkedStore } from '../../src/stores/checked.ts'
import type { Connection } from '../../src/stores/sqlite/connection.ts'
import { Database } from '../../src/stores/sqlite/database.ts'
import { GroupCommit } from '../../src/stores/sqlite/group-commit.ts'
import { StoreTime } from '../../src/stores/sqlite/time.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import { rowOf, suppression, work } from '../../src/testing/stores/samples.ts'
import { start } from '../support/program.ts'
import { checkSqliteData, execOnFile, onFile, tableSizes } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'

const lease = { owner: 'test', ms: 40_000 }
const closing: (() => unknown)[] = []
afterEach(async () => {
  while (closing.length > 0) await closing.pop()!()
})

function openCommits(afterwards: (connection: Connection, operations: number) => void = () => {}) {
  const path = newDatabase()
  const database = new Database(path, 'power-loss', new StoreTime(undefined))
  const commits = new GroupCommit(database, afterwards)
  closing.push(() => commits.close())
  return { path, commits, connection: () => database.connection() }
}

const count = (connection: Connection, key: string) =>
  connection.run('INSERT INTO sendwright_counters (key, value) VALUES (?, 1)', key)

const counted = (path: string): string[] =>
  onFile(path, (database) =>
    database
      .prepare('SELECT key FROM sendwright_counters ORDER BY key')
      .all()
      .map(({ key }) => key as string),
  )

const unavailable = (words: RegExp) => (error: unknown) => {
  assert.ok(error instanceof MailError && error.code === 'STORE_UNAVAILABLE', String(error))
  assert.match(error.message, words)
  assert.doesNotMatch(error.message, /SQLITE|database is locked|disk I\/O/)
  return true
}

describe('group commit', () => {
  it('D3: whoever is told of success can be sure that others see it', async () => {
    const path = newDatabase()
    const store = sqlite(path)
    closing.push(() => store.close())
    await store.read('msg_none')
    const other = new DatabaseSync(path)
    closing.push(() => other.close())
    const seen = other.prepare('SELECT 1 FROM sendwright_messages WHERE id = ?')
    await Promise.all(
      Array.from({ length: 300 }, async () => {
        const row = rowOf()
        await store.claim(row, {})
        assert.ok(seen.get(row.id), 'committed before it was told')
      }),
    )
  })

  it('P10: a transaction holds a bounded number of operations, and what is asked for at once shares few', async () => {
    const sizes: number[] = []
    const { commits, path } = openCommits((_, operations) => sizes.push(operations))
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => commits.write((c) => count(c, `${i}`))))
    assert.equal(
      sizes.reduce((sum, size) => sum + size),
      1_000,
    )
    assert.ok(Math.max(...sizes) <= 256)
    assert.equal(counted(path).length, 1_000)
  })

  it('one that fails is undone and harms no other', async () => {
    const { commits, path } = openCommits()
    const answers = await Promise.allSettled(
      Array.from({ length: 60 }, (_, i) =>
        commits.write((connection) => {
          count(connection, `${i}`)
          if (i % 20 === 7) throw new RangeError('a fault of ours')
          if (i % 20 === 8) connection.run('INSERT INTO sendwright_counters (key, value) VALUES (?, NULL)', 'bad')
          return i
        }),
      ),
    )
    for (const [i, answer] of answers.entries()) {
      const fails = i % 20 === 7 || i % 20 === 8
      assert.equal(answer.status, fails ? 'rejected' : 'fulfilled', `${i}`)
      if (answer.status === 'rejected' && i % 20 === 8) unavailable(/failed/)(answer.reason)
      if (answer.status === 'fulfilled') assert.equal(answer.value, i)
    }
    assert.equal(counted(path).length, 54)
  })

  it('what goes wrong in forgetting is no caller’s failure', async () => {
    let sweeps = 0
    const { commits, path } = openCommits((connection) => {
      sweeps++
      connection.run('DELETE FROM sendwright_counters')
      throw new RangeError('a fault of ours')
    })
    for (const key of ['a', 'b', 'c']) await commits.write((connection) => count(connection, key))
    assert.deepEqual(counted(path), ['a', 'b', 'c'])
    assert.equal(sweeps, 1, 'and it is left alone for a while')
  })
})

describe('a locked file', () => {
  it('S1: fails within the two seconds of a verb, and what failed does not happen later', async () => {
    const path = newDatabase()
    const store = checkedStore(sqlite(path), systemClock)
    closing.push(() => store.close())
    const there = rowOf()
    await store.claim(there, {})
    const other = new DatabaseSync(path)
    closing.push(() => other.close())
    other.exec('BEGIN IMMEDIATE')
    const writes = [
      store.claim(rowOf(), {}),
      store.suppress.add([suppression()]),
      store.due(1, lease),
      store.once('event', 1_000),
    ]
    assert.ok(await store.read(there.id), 'reading goes on')
    for (const write of await Promise.allSettled(writes)) {
      assert.ok(write.status === 'rejected')
      unavailable(/locked/)(write.reason)
    }
    other.exec('ROLLBACK')
    assert.equal(await store.once('event', 1_000), true)
    assert.deepEqual(await store.suppress.get(undefined, 'ada@example.com'), [])
    assert.equal(tableSizes(path).messages, 1)
  })

  it('that is free in time is waited for', async () => {
    const path = newDatabase()
    const store = sqlite(path)
    closing.push(() => store.close())
    const other = new DatabaseSync(path)
    closing.push(() => other.close())
    other.exec('BEGIN EXCLUSIVE')
    const claim = store.claim(rowOf(), {})
    const read = store.read('msg_none')
    setTimeout(() => other.exec('ROLLBACK'), 50)
    assert.equal((await claim).state, 'claimed')
    assert.equal(await read, undefined)
  })

  it('P9: a process that was held up does not do what its caller has given up', async () => {
    const path = newDatabase()
    const store = sqlite(path)
    closing.push(() => store.close())
    await store.read('msg_none')
    const claim = store.claim(rowOf(), {})
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_900)
    await assert.rejects(claim as Promise<unknown>, unavailable(/locked|held up/))
    assert.equal(tableSizes(path).messages, 0)
  })
})

describe('a transaction that cannot begin', () => {
  it('leaves no lock behind', async () => {
    const path = newDatabase()
    const store = sqlite(path)
    closing.push(() => store.close())
    await store.counters.add('a', 1)
    execOnFile(path, 'ALTER TABLE sendwright_store RENAME TO elsewhere')
    for (let i = 0; i < 2; i++) await assert.rejects(store.counters.add('a', 1) as Promise<void>, unavailable(/failed/))
    execOnFile(path, 'ALTER TABLE elsewhere RENAME TO sendwright_store')
    await store.counters.add('a', 1)
    assert.deepEqual(await store.counters.read(['a']), [2])
  })
})

describe('a full disk', () => {
  it('fails what needs room and nothing else, leaves nothing half done, and goes on when there is room', async () => {
    const { commits, path, connection } = openCommits()
    await commits.write((one) => count(one, 'before'))
    const { page_count: pages } = connection().get<{ page_count: number }>('PRAGMA page_count')!
    connection().exec(`PRAGMA max_page_count = ${pages + 2}`)
    const large = 'x'.repeat(100_000)
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        commits.write((one) => count(one, i % 5 === 3 ? `${i}${large}` : `small ${i}`)),
      ),
    )
    for (const [i, answer] of answers.entries()) {
      assert.equal(answer.status, i % 5 === 3 ? 'rejected' : 'fulfilled', `${i}`)
      if (answer.status === 'rejected') unavailable(/no room/)(answer.reason)
    }
    assert.equal(counted(path).length, 17)
    connection().exec('PRAGMA max_page_count = 1000000')
    await commits.write((one) => count(one, large))
    assert.equal(counted(path).length, 18)
  })

  it('D3: is an error for whoever writes, reads go on, and what was acknowledged is there', async (t) => {
    const path = newDatabase()
    const shell = `trap '' XFSZ; ulimit -S -f 1024; exec "${process.execPath}" test/stores/programs/sqlite-full.ts "${path}"`
    const program = start(t, '--eval', {}, [
      `require('node:child_process').spawn('bash', ['-c', process.argv[1]], { stdio: 'inherit' })`,
      shell,
    ])
    const [, line] = await program.printed(/^(\{.*\})$/m)
    assert.equal(await program.ended, 0, program.err)
    const { acknowledged, refused, codes, read, again } = JSON.parse(line!) as {
      acknowledged: string[]
      refused: number
      codes: string[]
      read: boolean
      again: boolean
    }
    assert.ok(acknowledged.length > 0 && refused > 0)
    assert.deepEqual([...new Set(codes)], ['STORE_UNAVAILABLE'])
    assert.equal(read, true)
    assert.equal(again, true)
    const store = sqlite(path)
    closing.push(() => store.close())
    for (const id of acknowledged) assert.ok(await store.read(id), id)
    assert.equal((await store.claim(rowOf({ work: work() }), {})).state, 'claimed')
    checkSqliteData(path)
  })
})
