import assert from 'node:assert/strict'
import { chmodSync, copyFileSync, existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, it } from 'node:test'
import { MailError, type MailErrorCode } from '../../src/errors.ts'
import { Connection } from '../../src/stores/sqlite/connection.ts'
import { migrate, migrations } from '../../src/stores/sqlite/schema.ts'
import { StoreTime } from '../../src/stores/sqlite/time.ts'
import { sqlite } from '../../src/stores/sqlite.ts'
import { rowOf, suppression } from '../../src/testing/stores/samples.ts'
import { start } from '../support/program.ts'
import { execOnFile, onFile } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'

const failure = (code: MailErrorCode, words: RegExp) => (error: unknown) => {
  assert.ok(error instanceof MailError && error.code === code, String(error))
  assert.match(error.message, words)
  return true
}

describe('what cannot be opened as a store says why', () => {
  it('a file that is no database, which stays as it is', async () => {
    const path = newDatabase()
    const text = 'Dear diary, '.repeat(1_000)
    writeFileSync(path, text)
    const store = sqlite(path)
    for (const verb of [() => store.read('msg_none'), () => store.claim(rowOf(), {})]) {
      await assert.rejects(async () => verb(), failure('CONFIGURATION_ERROR', /not a SQLite database/))
    }
    await store.close()
    assert.equal(readFileSync(path, 'utf8'), text)
  })

  it('a file of a newer release, which stays as it is', async () => {
    const path = newDatabase()
    await onceOpened(path)
    execOnFile(path, 'UPDATE sendwright_store SET version = version + 1')
    const store = sqlite(path)
    await assert.rejects(async () => store.read('msg_none'), failure('CONFIGURATION_ERROR', /newer release/))
    await store.close()
    assert.equal(versionOf(path), migrations.length + 1)
  })

  it('a file that a newer release changes while this one has it open', async () => {
    const path = newDatabase()
    const store = sqlite(path)
    const row = rowOf()
    await store.claim(row, {})
    execOnFile(path, 'UPDATE sendwright_store SET version = version + 1')
    await assert.rejects(store.claim(rowOf(), {}) as Promise<unknown>, failure('CONFIGURATION_ERROR', /newer release/))
    await store.close()
  })

  it('a file or folder that cannot be written', async (t) => {
    const path = newDatabase()
    await onceOpened(path)
    chmodSync(path, 0o444)
    chmodSync(dirname(path), 0o555)
    chmodSync(dirname(dirname(path)), 0o755)
    // Permissions do not bind root, so then somebody else tries.
    const program = start(t, 'test/stores/programs/sqlite-open.ts', {}, [path, process.getuid?.() === 0 ? '65534' : ''])
    const [, code, message] = await program.printed(/^(\S+) (.*)$/m)
    assert.equal(code, 'CONFIGURATION_ERROR')
    assert.match(message!, /read-only|cannot be opened/)
    assert.ok(message!.includes(path))
    chmodSync(dirname(path), 0o755)
  })
})

describe('a file of an earlier release', () => {
  it('is taken through the steps it lacks, each once', () => {
    const steps = ['CREATE TABLE first (a)', 'CREATE TABLE second (b); INSERT INTO first VALUES (1)']
    const path = newDatabase()
    const open = (known: readonly string[]) => {
      const connection = new Connection(path, new StoreTime(undefined))
      const newer = migrate(connection, known)
      connection.close()
      return newer
    }
    assert.equal(open(steps.slice(0, 1)), undefined)
    assert.equal(versionOf(path), 1)
    assert.equal(open(steps), undefined)
    assert.equal(open(steps), undefined)
    assert.equal(versionOf(path), 2)
    assert.deepEqual(
      onFile(path, (database) => database.prepare('SELECT count(*) AS rows FROM first').get()),
      Object.assign(Object.create(null), { rows: 1 }),
    )
    assert.equal(open(steps.slice(0, 1)), 2)
  })
})

describe('a database of the application', () => {
  it('keeps its own tables beside ours', async () => {
    const path = newDatabase()
    execOnFile(path, `CREATE TABLE orders (id); INSERT INTO orders VALUES (1048); PRAGMA user_version = 7`)
    const store = sqlite(path)
    const row = rowOf()
    await store.claim(row, {})
    await store.close()
    onFile(path, (database) => {
      assert.equal(database.prepare('SELECT id FROM orders').get()?.id, 1048)
      assert.equal(database.prepare('PRAGMA user_version').get()?.user_version, 7)
      const names = database.prepare(`SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'`).all()
      assert.deepEqual(
        names.map(({ name }) => name as string).filter((name) => !name.startsWith('sendwright_')),
        ['orders'],
      )
    })
  })
})

describe('a file that goes away while it is open', () => {
  it('P3 S3: removed, every verb fails until it is back, and no empty store takes its place', async () => {
    const path = newDatabase()
    const store = sqlite(path)
    await store.suppress.add([suppression()])
    renameSync(path, `${path}.away`)
    for (const suffix of ['-wal', '-shm']) renameSync(path + suffix, `${path}.away${suffix}`)
    const look = async () => store.suppress.hasMany(undefined, ['ada@example.com'], ['all'])
    for (let i = 0; i < 3; i++) {
      await assert.rejects(look, failure('STORE_UNAVAILABLE', /removed or replaced|is gone/))
      await assert.rejects(async () => store.claim(rowOf(), {}), failure('STORE_UNAVAILABLE', /Put (it|the file) back/))
    }
    assert.equal(existsSync(path), false)
    for (const suffix of ['', '-wal', '-shm']) renameSync(`${path}.away${suffix}`, path + suffix)
    assert.equal((await look())[0]?.key, 'ada@example.com')
    assert.equal((await store.claim(rowOf(), {})).state, 'claimed')
    await store.close()
  })

  it('P3 S3: replaced by an empty one, it is no store', async () => {
    const path = newDatabase()
    const store = sqlite(path)
    await store.suppress.add([suppression()])
    rmSync(path)
    writeFileSync(path, '')
    for (let i = 0; i < 3; i++) {
      await assert.rejects(
        async () => store.suppress.get(undefined, 'ada@example.com'),
        failure('STORE_UNAVAILABLE', /replaced/),
      )
    }
    await store.close()
    assert.equal(statSync(path).size <= 4_096, true, 'nothing of ours was put in')
  })

  it('replaced by a backup of the store, it goes on with that', async () => {
    const path = newDatabase()
    const row = rowOf()
    const first = sqlite(path)
    await first.claim(row, {})
    await first.close()
    copyFileSync(path, `${path}.backup`)
    const store = sqlite(path)
    await store.claim(rowOf(), {})
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
    renameSync(`${path}.backup`, path)
    await assert.rejects(async () => store.read(row.id), failure('STORE_UNAVAILABLE', /replaced/))
    assert.equal((await store.read(row.id))?.id, row.id)
    await store.close()
  })
})

async function onceOpened(path: string): Promise<void> {
  const store = sqlite(path)
  await store.read('msg_none')
  await store.close()
}

const versionOf = (path: string): unknown =>
  onFile(path, (database) => database.prepare('SELECT version FROM sendwright_store').get()?.version)
