import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { MailStore } from '../../src/index.ts'
import { type FlakyProxy, flakyProxy } from '../support/flaky-proxy.ts'
import type { Ground } from './ground.ts'

/** One way a store fails, from `begin` until `end`. */
export interface Outage {
  readonly name: string
  /** Whether reads go on. */
  readonly readable?: true
  /** `store` is one that has the place open. */
  begin(store: MailStore): void | Promise<void>
  end(): void
}

/** A store's place, with what lies between it and its users. */
export interface Place {
  readonly ground: Ground
  readonly outages: readonly Outage[]
  /** Resets every connection once, just before the answers that are on their way arrive. Not for a file. */
  cut?(): void
  close(): Promise<void>
}

/** The same store by a way that can be made to fail. */
export async function faulty(ground: Ground): Promise<Place> {
  if (ground.engine === 'sqlite') {
    const { path } = ground
    const outages = [locked(path), removed(path), ...(canBeFull ? [full()] : []), readOnly(path)]
    return { ground, outages, close: async () => undefined }
  }
  const { host, port } = addressOf(ground)
  const proxy = await flakyProxy(port, host)
  return {
    ground: through(ground, proxy),
    outages: [
      { name: 'refuses connections', begin: proxy.refuse, end: proxy.resume },
      { name: 'is silent', begin: proxy.pause, end: proxy.resume },
    ],
    cut: () => proxy.cutAfter(0),
    close: proxy.close,
  }
}

type ServerGround = Exclude<Ground, { readonly engine: 'sqlite' }>

/** Where its server is, as the driver would read it. */
function addressOf(ground: ServerGround): { readonly host: string; readonly port: number } {
  const usual = ground.engine === 'redis' ? 6379 : 5432
  const text = ground.engine === 'redis' ? ground.url : ground.config.connectionString
  if (text !== undefined) {
    const { hostname, port } = new URL(text)
    return { host: hostname, port: Number(port) || usual }
  }
  const { host = process.env.PGHOST ?? '127.0.0.1', port = Number(process.env.PGPORT) || usual } =
    ground.engine === 'postgres' ? ground.config : {}
  return { host, port }
}

function through(ground: ServerGround, { host, port }: FlakyProxy): Ground {
  const moved = (text: string) => Object.assign(new URL(text), { hostname: host, port: String(port) }).href
  if (ground.engine === 'redis') return { ...ground, url: moved(ground.url) }
  const { connectionString, ...config } = ground.config
  return {
    ...ground,
    config: connectionString === undefined ? { ...config, host, port } : { connectionString: moved(connectionString) },
  }
}

/** Another connection is in the middle of a transaction that writes. */
function locked(path: string): Outage {
  let other: DatabaseSync | undefined
  return {
    name: 'is locked',
    readable: true,
    begin() {
      other = new DatabaseSync(path, { timeout: 5_000 })
      other.exec('BEGIN IMMEDIATE')
    },
    end() {
      other?.exec('ROLLBACK')
      other?.close()
    },
  }
}

const filesOf = (path: string) => ['', '-wal', '-shm'].map((suffix) => `${path}${suffix}`)

function move(path: string, folder: string): void {
  for (const file of filesOf(path).filter(existsSync)) renameSync(file, join(folder, file.slice(dirname(path).length)))
}

function removed(path: string): Outage {
  const away = join(dirname(path), 'away')
  return {
    name: 'is gone',
    begin() {
      mkdirSync(away, { recursive: true })
      move(path, away)
    },
    end: () => move(join(away, path.slice(dirname(path).length)), dirname(path)),
  }
}

/** What util-linux calls `prlimit`; a file that may not grow is as good as a full disk. */
const canBeFull = spawnSync('prlimit', ['--version']).status === 0

/** No file of this process may be written any more, so nothing else may run meanwhile that writes any. */
function full(): Outage {
  const limit = (bytes: string) => execFileSync('prlimit', ['--pid', `${process.pid}`, `--fsize=${bytes}:unlimited`])
  return { name: 'has no room', begin: () => void limit('1'), end: () => void limit('unlimited') }
}

const nobody = 65_534

/** Its file and folder may be read only. Whoever has the file open goes on writing, so the store has to lose it first. */
function readOnly(path: string): Outage {
  const folder = dirname(path)
  const isRoot = process.getuid?.() === 0
  const gone = removed(path)
  return {
    name: 'is read-only',
    async begin(store) {
      await gone.begin(store)
      await Promise.resolve(store.once('somebody asks', 1)).catch(() => undefined)
      gone.end()
      for (const file of filesOf(path).filter(existsSync)) chmodSync(file, 0o444)
      chmodSync(folder, 0o555)
      // Permissions do not hold for root.
      if (isRoot) process.seteuid?.(nobody)
    },
    end() {
      if (isRoot) process.seteuid?.(0)
      chmodSync(folder, 0o755)
      for (const file of filesOf(path).filter(existsSync)) chmodSync(file, 0o644)
    },
  }
}
