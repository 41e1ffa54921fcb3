import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, chown, globSync, mkdtemp, rm } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { Client, Pool, type PoolConfig } from 'pg'
import { freePort } from './redis-server.ts'

export interface FoundPostgres {
  /** What a Pool of `pg` is made with. */
  readonly config: PoolConfig
  /** Ends the server if it was started here. */
  stop(): Promise<void>
}

export interface OwnPostgres extends FoundPostgres {
  readonly port: number
  /** Kills the server as `kill -9` of all its processes does: what it had not made durable is gone. */
  kill(): Promise<void>
  /** Starts it again on the same port, with the same data. */
  start(): Promise<void>
}

export interface OwnPostgresOptions {
  /** As on the command line: `['fsync=off']`. */
  readonly settings?: readonly string[]
}

const usual: PoolConfig = { host: '127.0.0.1', port: 5432, user: 'postgres', database: 'test' }

/**
 * A PostgreSQL for tests: the one `DATABASE_URL` or `PGHOST` and the like name, else one that answers on 127.0.0.1:5432 (user
 * postgres, database test), else the installed binaries on a port of their own; else why there is none, in one line. Use
 * `ownSchema` in it.
 */
export async function findPostgres(): Promise<FoundPostgres | { readonly skip: string }> {
  const { DATABASE_URL, PGHOST, PGPORT, PGDATABASE } = process.env
  if (DATABASE_URL) return { config: { connectionString: DATABASE_URL }, stop: async () => {} }
  // What a Pool is not told it takes from these variables itself.
  if (PGHOST || PGPORT || PGDATABASE) return { config: {}, stop: async () => {} }
  if (await answers(usual)) return { config: usual, stop: async () => {} }
  const skip = reasonNotToStart()
  return skip === undefined ? startPostgres() : { skip }
}

export interface PostgresTests {
  readonly config: PoolConfig
  /** A pool that ends with the tests. An idle connection that breaks is none of theirs. */
  pool(options?: PoolConfig): Pool
  /** A name for a schema that is dropped after the tests. */
  schema(): string
}

/** Tests over a PostgreSQL, in a suite of this name; skipped, with the reason, where there is none. */
export async function overPostgres(name: string, tests: (server: PostgresTests) => void): Promise<void> {
  const found = await findPostgres()
  if ('skip' in found) {
    it(name, { skip: found.skip }, () => {})
    return
  }
  const { config } = found
  const pools: Pool[] = []
  const schemas: ReturnType<typeof ownSchema>[] = []
  describe(name, () => {
    after(async () => {
      await Promise.all(pools.map((pool) => pool.end()))
      for (const { drop } of schemas) await drop()
      await found.stop()
    })
    tests({
      config,
      pool(options) {
        const pool = new Pool({ ...config, connectionTimeoutMillis: 5_000, ...options }).on('error', () => {})
        pools.push(pool)
        return pool
      },
      schema() {
        const own = ownSchema(config)
        schemas.push(own)
        return own.schema
      },
    })
  })
}

/** A name no other test uses, for a schema; dropped, if it was made, by `drop`. */
export function ownSchema(config: PoolConfig): { readonly schema: string; drop(): Promise<void> } {
  const schema = `test_${process.pid}_${randomBytes(4).toString('hex')}`
  return { schema, drop: () => query(config, `DROP SCHEMA IF EXISTS "${schema}" CASCADE`).then(() => {}) }
}

/** Empties every table of a store. */
export async function emptyStore(pool: Pool, schema: string): Promise<void> {
  const { rows } = await pool.query(
    `SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') AS tables FROM pg_tables
      WHERE schemaname = $1 AND tablename <> 'migrations'`,
    [schema],
  )
  await pool.query(`TRUNCATE ${rows[0].tables}`)
}

/** One statement on a connection of its own. */
export async function query(
  config: PoolConfig,
  text: string,
  values: unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const pool = new Pool({ ...config, max: 1 })
  // It may hear of the server's end after its own.
  pool.on('connect', (client) => client.on('error', () => {}))
  try {
    await pool.query('SET client_min_messages = warning')
    return (await pool.query(text, values)).rows
  } finally {
    await pool.end()
  }
}

/** Undefined when `startPostgres` can start one; else why not, and what to do. */
export function reasonNotToStart(): string | undefined {
  if (binaries() === undefined) {
    return 'no PostgreSQL: set DATABASE_URL, run one on 127.0.0.1:5432 (user postgres, database test), or install postgresql'
  }
  if (process.getuid?.() === 0 && userOfServer() === undefined) {
    return 'no PostgreSQL: it will not run as root and there is no user postgres; run one, or the tests as another user'
  }
  return undefined
}

/** Always starts a server of its own, in a folder of its own, on a free port of 127.0.0.1. */
export async function startPostgres({ settings = [] }: OwnPostgresOptions = {}): Promise<OwnPostgres> {
  const bin = binaries()!
  const user = userOfServer()
  const folder = await promisify(mkdtemp)(join(tmpdir(), 'sendwright-postgres-'))
  await promisify(chmod)(folder, 0o700)
  if (user) await promisify(chown)(folder, user.uid, user.gid)
  const data = join(folder, 'data')
  const options = { cwd: folder, stdio: 'ignore', ...user } as const
  execFileSync(join(bin, 'initdb'), ['-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--locale=C', '-D', data], options)
  const port = await freePort()
  const settled = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', `port=${port}`, ...settings]
  const config: PoolConfig = { ...usual, port }
  let child: ChildProcess | undefined
  const end = async (signal: NodeJS.Signals) => {
    const running = child
    child = undefined
    if (!running || running.exitCode !== null) return
    const ended = once(running, 'exit')
    running.kill(signal)
    await ended
  }
  // A test process that dies would leave it behind.
  const atExit = () => child?.kill('SIGQUIT')
  const server: OwnPostgres = {
    config,
    port,
    // What the postmaster does to its children and itself on SIGQUIT is to stop where they are.
    kill: () => end('SIGQUIT'),
    async start() {
      child = spawn(join(bin, 'postgres'), ['-D', data, ...settled.flatMap((setting) => ['-c', setting])], options)
      await untilReady({ ...config, database: 'postgres' }, child)
    },
    async stop() {
      process.off('exit', atExit)
      await end('SIGINT')
      await promisify(rm)(folder, { recursive: true, force: true })
    },
  }
  process.on('exit', atExit)
  await server.start()
  await query({ ...config, database: 'postgres' }, 'CREATE DATABASE test')
  return server
}

/** The folder of the newest installed binaries. */
function binaries(): string | undefined {
  const installed = globSync('/usr/lib/postgresql/*/bin/initdb').map((path) => join(path, '..'))
  const version = (path: string) => Number(/(\d+)/.exec(path)?.[1])
  const [newest] = installed.sort((a, b) => version(b) - version(a))
  if (newest) return newest
  const found = spawnSync('pg_config', ['--bindir'], { encoding: 'utf8' })
  return found.status === 0 ? found.stdout.trim() : undefined
}

/** Whom the server runs as: us, or as it refuses root the user its package made. */
function userOfServer(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const [uid, gid] = ['-u', '-g'].map((what) => spawnSync('id', [what, 'postgres'], { encoding: 'utf8' }))
  return uid?.status === 0 && gid?.status === 0 ? { uid: Number(uid.stdout), gid: Number(gid.stdout) } : undefined
}

async function answers(config: PoolConfig): Promise<boolean> {
  const client = new Client({ ...config, connectionTimeoutMillis: 2_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.end()
    return true
  } catch {
    return false
  }
}

async function untilReady(config: PoolConfig, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (child.exitCode !== null) throw new Error(`postgres ended with ${child.exitCode}`)
    if (await answers(config)) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('postgres did not get ready')
}
