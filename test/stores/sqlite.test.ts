import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, it } from 'node:test'
import { MailError } from '../../src/errors.ts'
import { type SqliteStoreOptions, sqlite } from '../../src/stores/sqlite.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rowOf } from '../../src/testing/stores/samples.ts'
import { newDatabase } from '../support/sqlite-files.ts'

describeStore(
  'sqlite',
  () => {
    const clock = fakeClock()
    return { store: sqlite(newDatabase(), { clock }), now: clock.now, advance: clock.advance, step: clock.step }
  },
  { describe, it },
)

describeStore(
  'sqlite, one file open twice',
  () => {
    const clock = fakeClock()
    const path = newDatabase()
    const store = inTurn(sqlite(path, { clock }), sqlite(path, { clock }))
    return { store, now: clock.now, advance: clock.advance, step: clock.step }
  },
  { describe, it },
)

/** A store of which every verb is asked of one and then of the other. */
function inTurn(...stores: readonly MailStore[]): MailStore {
  let calls = 0
  const next = () => stores[calls++ % stores.length]!
  return {
    guarantees: stores[0]!.guarantees,
    claim: (...args) => next().claim(...args),
    renew: (...args) => next().renew(...args),
    settle: (...args) => next().settle(...args),
    takeover: (...args) => next().takeover(...args),
    read: (...args) => next().read(...args),
    find: (...args) => next().find(...args),
    list: (...args) => next().list(...args),
    due: (...args) => next().due(...args),
    waiting: () => next().waiting(),
    suppress: {
      add: (...args) => next().suppress.add(...args),
      hasMany: (...args) => next().suppress.hasMany(...args),
      get: (...args) => next().suppress.get(...args),
      remove: (...args) => next().suppress.remove(...args),
      list: (...args) => next().suppress.list(...args),
    },
    limits: {
      take: (...args) => next().limits.take(...args),
      refund: (...args) => next().limits.refund(...args),
      move: (...args) => next().limits.move(...args),
      usage: (...args) => next().limits.usage(...args),
    },
    counters: {
      add: (...args) => next().counters.add(...args),
      read: (...args) => next().counters.read(...args),
    },
    once: (...args) => next().once(...args),
    close: async () => {
      await Promise.all(stores.map((store) => store.close()))
    },
  }
}

const configuration = (words: RegExp) => (error: unknown) => {
  assert.ok(error instanceof MailError && error.code === 'CONFIGURATION_ERROR', String(error))
  assert.match(error.message, words)
  return true
}

describe('sqlite(path, options) refuses at once what cannot be meant', () => {
  const refused: readonly [what: string, path: unknown, options: unknown, words: RegExp][] = [
    ['no path', undefined, undefined, /path of a file/],
    ['an object', { path: 'mail.db' }, undefined, /path of a file/],
    ['an empty path', '', undefined, /memory\(\)/],
    ['memory of SQLite', ':memory:', undefined, /memory\(\)/],
    ['a URI', 'file:mail.db?mode=memory', undefined, /no URI/],
    ['a NUL', 'mail\0.db', undefined, /plain path/],
    ['a folder that does not exist', '/no/such/folder/mail.db', undefined, /\/no\/such\/folder does not exist/],
    ['a folder', import.meta.dirname, undefined, /is a folder/],
    ['a file as folder', `${import.meta.filename}/mail.db`, undefined, /does not exist/],
    ['options of another kind', 'mail.db', 'fast', /object/],
    ['no options', 'mail.db', null, /object/],
    ['an unknown option', 'mail.db', { sync: true }, /no such option: sync/],
    ['another durability', 'mail.db', { durability: 'none' }, /durability/],
    ['a bound that is none', 'mail.db', { maxQueued: 0 }, /maxQueued/],
    ['a clock that is none', 'mail.db', { clock: Date }, /clock/],
  ]
  for (const [what, path, options, words] of refused) {
    it(what, () => {
      assert.throws(() => sqlite(path as string, options as SqliteStoreOptions), configuration(words))
    })
  }

  it('and opens nothing before the first verb', async () => {
    const path = newDatabase()
    await sqlite(path).close()
    writeFileSync(path, '')
    const store = sqlite(path)
    assert.equal(await store.read('msg_none'), undefined, 'an empty file becomes a store')
    await store.close()
  })
})

describe('sqlite tells what it promises', () => {
  it('power loss unless told otherwise, and only what is asked for', () => {
    const path = newDatabase()
    assert.deepEqual(sqlite(path).guarantees, { scope: 'host', durability: 'power-loss', list: true })
    assert.equal(sqlite(path, { durability: 'process-crash' }).guarantees.durability, 'process-crash')
  })

  it('relative paths stay where they were meant, whatever the working directory becomes', async () => {
    const path = newDatabase()
    const before = process.cwd()
    process.chdir(dirname(path))
    const store = sqlite('mail.db')
    process.chdir(before)
    await store.claim(rowOf({ id: 'msg_here' }), {})
    await store.close()
    const again = sqlite(path)
    assert.equal((await again.read('msg_here'))?.id, 'msg_here')
    await again.close()
  })
})

describe('a store that was closed', () => {
  it('X7: finishes what it was asked for, and refuses the rest', async () => {
    const path = newDatabase()
    const store = sqlite(path)
    const rows = Array.from({ length: 500 }, () => rowOf())
    const claims = rows.map((row) => store.claim(row, {}))
    const closing = store.close()
    assert.deepEqual(new Set((await Promise.all(claims)).map(({ state }) => state)), new Set(['claimed']))
    await closing
    await store.close()
    const closed = (error: unknown) => error instanceof MailError && error.code === 'CLOSED'
    await assert.rejects(async () => store.claim(rowOf(), {}), closed)
    await assert.rejects(async () => store.read('msg_none'), closed)
    const again = sqlite(path)
    for (const { id } of rows) assert.ok(await again.read(id))
    await again.close()
  })
})
