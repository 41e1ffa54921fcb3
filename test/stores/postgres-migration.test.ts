import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type { Pool } from 'pg'
import { MailError } from '../../src/errors.ts'
import { migrations, migrationText } from '../../src/stores/postgres/migration.ts'
import { postgres, postgresMigration } from '../../src/stores/postgres.ts'
import type { MailStore } from '../../src/stores/store.ts'
import { claimed, rowOf } from '../../src/testing/stores/samples.ts'
import { overPostgres } from '../support/postgres-server.ts'
import { start } from '../support/program.ts'

const lease = { owner: 'test', ms: 40_000 }

/** Refused for good, at every call, saying what must be done. */
async function refuses(store: MailStore, message: RegExp): Promise<void> {
  for (let i = 0; i < 2; i++) {
    await assert.rejects(
      async () => store.claim(rowOf(), { lease }),
      (error) => {
        assert.ok(error instanceof MailError && error.code === 'CONFIGURATION_ERROR', String(error))
        assert.match(error.message, message)
        return true
      },
    )
  }
}

/** Everything in a schema, with its name left out. */
async function shapeOf(pool: Pool, schema: string): Promise<unknown> {
  const ask = async (text: string) => (await pool.query(text, [schema])).rows
  const shape = {
    columns: await ask(
      `SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name
        FROM information_schema.columns WHERE table_schema = $1 ORDER BY table_name, ordinal_position`,
    ),
    indexes: await ask('SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1 ORDER BY indexname'),
    tables: await ask(
      `SELECT relname, relkind, reloptions FROM pg_class WHERE relnamespace = quote_ident($1)::regnamespace ORDER BY relname`,
    ),
    functions: await ask(
      `SELECT pg_get_functiondef(oid) AS definition FROM pg_proc WHERE pronamespace = quote_ident($1)::regnamespace
        ORDER BY proname`,
    ),
    migrations: (await pool.query(`SELECT version FROM "${schema}".migrations`)).rows,
  }
  return JSON.parse(JSON.stringify(shape).replaceAll(schema, 'schema'))
}

await overPostgres('the migration of postgres', (server) => {
  const pool = server.pool()

  const psql = (config: string, file: string) =>
    execFileSync('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', config, '-f', file], { stdio: 'pipe' })

  function written(test: TestContext, text: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'sendwright-migration-'))
    test.after(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'migration.sql')
    writeFileSync(file, text)
    return file
  }

  it('D4: many processes may start at once', async (test) => {
    const schema = server.schema()
    const programs = Array.from({ length: 6 }, () =>
      start(test, 'test/stores/programs/postgres-open.ts', {}, [JSON.stringify(server.config), schema]),
    )
    await Promise.all(programs.map((program) => program.printed(/ready/)))
    for (const { child } of programs) child.stdin!.write('go\n')
    await Promise.all(programs.map(({ ended }) => ended))
    assert.deepEqual(
      programs.map(({ out }) => out),
      programs.map(() => 'ready\nopened\n'),
    )
    assert.deepEqual(await postgres({ pool, schema }).counters.read(['opened']), [6])
    assert.equal((await pool.query(`SELECT FROM "${schema}".migrations`)).rowCount, migrations.length)
  })

  it('and so may many stores of one process', async () => {
    const schema = server.schema()
    const stores = Array.from({ length: 20 }, () => postgres({ pool, schema }))
    await Promise.all(stores.map(async (store) => store.counters.add('opened', 1)))
    assert.deepEqual(await stores[0]!.counters.read(['opened']), [20])
  })

  it('printed and run by psql, it makes the same', async (test) => {
    if (spawnSync('psql', ['--version']).status !== 0) return test.skip('install psql')
    const [printed, made] = [server.schema(), server.schema()]
    const file = written(test, postgresMigration({ schema: printed }))
    const { connectionString, host, port, user, database } = server.config
    const address = connectionString ?? (host ? `postgres://${user}@${host}:${port}/${database}` : '')
    psql(address, file)
    psql(address, file)
    await postgres({ pool, schema: made }).read('msg_none')
    assert.deepEqual(await shapeOf(pool, printed), await shapeOf(pool, made))
    const store = postgres({ pool, schema: printed, migrate: false })
    await claimed(store, rowOf())
  })

  it('with migrate: false nothing is made, and the refusal says how to', async () => {
    const schema = server.schema()
    const store = postgres({ pool, schema, migrate: false })
    await refuses(store, /postgresMigration\(\{ schema: '/)
    assert.equal((await pool.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema])).rowCount, 0)
    await postgres({ pool, schema }).read('msg_none')
    await claimed(store, rowOf())
  })

  describe('versions', () => {
    const nextStep = (schema: string) => `ALTER TABLE ${schema}.messages ADD COLUMN added text;`

    it('an older store is migrated, and keeps what is in it; a newer one is refused', async () => {
      const schema = server.schema()
      const store = postgres({ pool, schema })
      const row = rowOf({ key: 'k' })
      await claimed(store, row)
      await pool.query(migrationText(schema, [...migrations, nextStep]))
      await pool.query(migrationText(schema, [...migrations, nextStep]))
      assert.deepEqual(await store.read(row.id), row)
      assert.equal((await pool.query(`SELECT added FROM "${schema}".messages`)).rowCount, 1)
      for (const migrate of [true, false]) await refuses(postgres({ pool, schema, migrate }), /newer release/)
      await assert.rejects(pool.query(migrationText(schema)), { code: 'SW002' })
      await assert.rejects(pool.query(postgresMigration({ schema })), { code: 'SW002' })
    })

    it('a step that fails leaves everything as it was', async () => {
      const schema = server.schema()
      await postgres({ pool, schema }).read('msg_none')
      const before = await shapeOf(pool, schema)
      const failing = (name: string) => `${nextStep(name)} ALTER TABLE ${name}.none ADD COLUMN x text;`
      await assert.rejects(pool.query(migrationText(schema, [...migrations, failing])))
      assert.deepEqual(await shapeOf(pool, schema), before)
      await claimed(postgres({ pool, schema }), rowOf())
    })

    it('a schema that was dropped is made again at the call after next', async () => {
      const schema = server.schema()
      const store = postgres({ pool, schema })
      await claimed(store, rowOf())
      await pool.query(`SET client_min_messages = warning; DROP SCHEMA "${schema}" CASCADE`)
      await assert.rejects(async () => claimed(store, rowOf()), { code: 'STORE_UNAVAILABLE' })
      await claimed(store, rowOf())
    })
  })

  describe('what the server must be', () => {
    const set = (settings: string) => server.pool({ options: settings, max: 2 })

    it('D2: durable, unless said otherwise', async () => {
      const unsafe = set('-c synchronous_commit=off')
      await refuses(postgres({ pool: unsafe, schema: server.schema() }), /synchronous_commit is off.*process-crash/)
      const store = postgres({ pool: unsafe, schema: server.schema(), durability: 'process-crash' })
      await claimed(store, rowOf())
      assert.deepEqual(store.guarantees, { scope: 'cluster', durability: 'process-crash', list: true })
      assert.equal(postgres({ pool }).guarantees.durability, 'power-loss')
    })

    it('of READ COMMITTED', async () => {
      const strict = set('-c default_transaction_isolation=serializable')
      await refuses(postgres({ pool: strict, schema: server.schema() }), /read committed/)
    })

    it('the primary: a read-only one is unavailable', async () => {
      const schema = server.schema()
      await postgres({ pool, schema }).read('msg_none')
      const standby = set('-c default_transaction_read_only=on')
      for (const name of [schema, server.schema()]) {
        await assert.rejects(
          async () => claimed(postgres({ pool: standby, schema: name }), rowOf()),
          (error) => {
            assert.ok(error instanceof MailError && error.code === 'STORE_UNAVAILABLE')
            assert.match(error.message, /25006.*primary/)
            return true
          },
        )
      }
    })

    it('open to the role: what is forbidden is named, with what to do', async (test) => {
      const role = `${server.schema()}_role`
      await pool.query(`CREATE ROLE ${role} LOGIN`)
      test.after(() => pool.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`))
      const limited = server.pool({ options: `-c role=${role}`, max: 2 })
      await refuses(postgres({ pool: limited, schema: server.schema() }), /role.*GRANT/)
      const schema = server.schema()
      await postgres({ pool, schema }).read('msg_none')
      const store = postgres({ pool: limited, schema, migrate: false })
      await refuses(store, /GRANT USAGE/)
      await pool.query(`GRANT USAGE ON SCHEMA "${schema}" TO ${role};
        GRANT ALL ON ALL TABLES IN SCHEMA "${schema}" TO ${role};
        GRANT ALL ON ALL SEQUENCES IN SCHEMA "${schema}" TO ${role}`)
      await claimed(store, rowOf())
    })
  })
})
