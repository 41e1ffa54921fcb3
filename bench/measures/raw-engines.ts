import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { connectPostgres, connectRedis, countCommits, type EngineName, temporaryFolder } from './engines.ts'

/** An engine without us: one plain table of texts, as durable as the store over the same engine, and nothing else kept. */
export interface RawEngine {
  insert(id: string, body: string, content: string | null): Promise<void>
  /** Marks rows as taken and reads them, in one step. */
  take(ids: readonly string[], body: (n: number) => string): Promise<void>
  update(id: string, body: string): Promise<void>
  /** Commits of SQLite so far. */
  trips(): number
  close(): Promise<void>
}

export function openRawEngine(name: EngineName): Promise<RawEngine> {
  if (name === 'sqlite') return rawSqlite()
  if (name === 'redis') return rawRedis()
  if (name === 'postgres') return rawPostgres()
  throw new RangeError(`there is no raw ${name}`)
}

const table = 'CREATE TABLE messages (id TEXT PRIMARY KEY, body TEXT NOT NULL, content TEXT)'

async function rawSqlite(): Promise<RawEngine> {
  const folder = await temporaryFolder()
  const commits = countCommits()
  const database = new DatabaseSync(join(folder, 'raw.db'))
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  database.exec(table)
  const insert = database.prepare('INSERT INTO messages (id, body, content) VALUES (?, ?, ?)')
  const update = database.prepare('UPDATE messages SET body = ? WHERE id = ?')
  const take = database.prepare('UPDATE messages SET body = ? WHERE id = ? RETURNING body, content')
  const transactions = new Transactions(database)
  return {
    insert: (id, body, content) => transactions.write(() => insert.run(id, body, content)),
    take: (ids, body) => transactions.write(() => ids.map((id, n) => take.get(body(n), id))),
    update: (id, body) => transactions.write(() => update.run(body, id)),
    trips: () => commits.count,
    async close() {
      database.close()
      await rm(folder, { recursive: true })
    },
  }
}

/** Everything asked for in one turn of the event loop is one transaction. */
class Transactions {
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  #waiting: { readonly run: () => unknown; readonly done: () => void }[] = []

  constructor(database: DatabaseSync) {
    this.#begin = database.prepare('BEGIN IMMEDIATE')
    this.#commit = database.prepare('COMMIT')
  }

  write(run: () => unknown): Promise<void> {
    return new Promise((done) => {
      if (this.#waiting.push({ run, done }) === 1) setImmediate(() => this.#flush())
    })
  }

  #flush(): void {
    const batch = this.#waiting
    this.#waiting = []
    this.#begin.run()
    for (const { run } of batch) run()
    this.#commit.run()
    for (const { done } of batch) done()
  }
}

async function rawRedis(): Promise<RawEngine> {
  const { removeKeys, runPrefix } = await import('../../test/support/redis-server.ts')
  const { client, stop, url } = await connectRedis()
  const prefix = `{${runPrefix}-raw}:`
  const key = (id: string) => prefix + id
  const contentKey = (id: string) => `${prefix}content:${id}`
  return {
    async insert(id, body, content) {
      await Promise.all([
        client.set(key(id), body, { condition: 'NX' }),
        ...(content === null ? [] : [client.set(contentKey(id), content)]),
      ])
    },
    async take(ids, body) {
      await client
        .multi()
        .mGet(ids.flatMap((id) => [key(id), contentKey(id)]))
        .mSet(ids.map((id, n) => [key(id), body(n)] as [string, string]))
        .exec()
    },
    async update(id, body) {
      await client.set(key(id), body)
    },
    trips: () => 0,
    async close() {
      client.destroy()
      await removeKeys(url, `${runPrefix}-raw`)
      await stop()
    },
  }
}

/** Without names for its statements, as the store does without them to work through every pooler. */
async function rawPostgres(): Promise<RawEngine> {
  const { ownSchema, query } = await import('../../test/support/postgres-server.ts')
  const { pool, config, stop } = await connectPostgres()
  const { schema, drop } = ownSchema(config)
  await query(config, `CREATE SCHEMA ${schema}`)
  await query(config, table.replace('messages', `${schema}.messages`))
  return {
    async insert(id, body, content) {
      await pool.query(`INSERT INTO ${schema}.messages (id, body, content) VALUES ($1, $2, $3)`, [id, body, content])
    },
    async take(ids, body) {
      await pool.query(
        `UPDATE ${schema}.messages m SET body = taken.body FROM unnest($1::text[], $2::text[]) AS taken (id, body)
          WHERE m.id = taken.id RETURNING m.body, m.content`,
        [ids, ids.map((_, n) => body(n))],
      )
    },
    async update(id, body) {
      await pool.query(`UPDATE ${schema}.messages SET body = $2 WHERE id = $1`, [id, body])
    },
    trips: () => 0,
    async close() {
      await pool.end()
      await drop()
      await stop()
    },
  }
}
