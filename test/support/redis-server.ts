import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, connect as openSocket, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'redis'

export interface FoundRedis {
  readonly url: string
  /** Ends the server if it was started here. */
  stop(): Promise<void>
}

export interface OwnRedis extends FoundRedis {
  readonly port: number
  /** Kills the server as `kill -9` does. */
  kill(): Promise<void>
  /** Starts it again on the same port, with the same files. */
  start(): Promise<void>
}

export interface OwnRedisOptions {
  /** `always` is `appendonly yes` with `appendfsync always`. Default: nothing is written to disk. */
  readonly appendonly?: 'always' | 'everysec'
  /** More settings, as on the command line: `['--maxmemory', '8mb']`. */
  readonly settings?: readonly string[]
}

/**
 * A Redis for tests: the one `REDIS_URL` names, else one that answers on 127.0.0.1:6379, else the installed `redis-server`
 * on a port of its own; else why there is none, in one line. Use a prefix of your own in it, and `removeKeys` afterwards.
 */
export async function findRedis(): Promise<FoundRedis | { readonly skip: string }> {
  const given = process.env.REDIS_URL
  if (given) return { url: given, stop: async () => {} }
  const usual = 'redis://127.0.0.1:6379'
  if (await answers(6379)) return { url: usual, stop: async () => {} }
  if (hasRedisServer()) return startRedis()
  return { skip: 'no Redis: set REDIS_URL, run one on 127.0.0.1:6379, or install redis-server' }
}

/** Whether `startRedis` can start one. */
export const hasRedisServer = (): boolean => spawnSync('redis-server', ['--version']).status === 0

/** Always starts a server of its own, in a directory of its own, on a free port of 127.0.0.1. */
export async function startRedis({ appendonly, settings = [] }: OwnRedisOptions = {}): Promise<OwnRedis> {
  const directory = await mkdtemp(join(tmpdir(), 'sendwright-redis-'))
  const port = await freePort()
  const appending = appendonly ? ['--appendonly', 'yes', '--appendfsync', appendonly] : []
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory, '--save', '', ...appending, ...settings]
  let child: ChildProcess | undefined
  let guard: ChildProcess | undefined
  const end = async (signal: NodeJS.Signals) => {
    const running = child
    child = undefined
    guard?.kill('SIGKILL')
    if (!running || running.exitCode !== null) return
    const ended = once(running, 'exit')
    running.kill(signal)
    await ended
  }
  const server: OwnRedis = {
    url: `redis://127.0.0.1:${port}`,
    port,
    kill: () => end('SIGKILL'),
    async start() {
      child = spawn('redis-server', args, { stdio: 'ignore' })
      guard = guardOf(child, directory)
      await untilReady(port, child)
    },
    async stop() {
      await end('SIGKILL')
      await rm(directory, { recursive: true, force: true })
    },
  }
  await server.start()
  return server
}

/** Ends the server, and removes its files, when this process ends in whatever way: its pipe closes then. */
function guardOf({ pid }: ChildProcess, directory: string): ChildProcess {
  const script = 'cat > /dev/null; kill -9 "$0"; rm -rf "$1"'
  const guard = spawn('sh', ['-c', script, `${pid}`, directory], { stdio: ['pipe', 'ignore', 'ignore'] })
  guard.unref()
  ;(guard.stdin as Socket).unref()
  return guard
}

/** Of this run and nobody else's: begins every prefix a test uses. */
export const runPrefix = `test-${process.pid}-${randomBytes(4).toString('hex')}`

/** Removes every key of prefixes that begin with `prefix`. */
export async function removeKeys(url: string, prefix: string = runPrefix): Promise<void> {
  const client = await createClient({ url })
    .on('error', () => {})
    .connect()
  try {
    for await (const keys of client.scanIterator({ MATCH: `{${prefix}*`, COUNT: 1_000 })) {
      if (keys.length > 0) await client.unlink(keys)
    }
  } finally {
    client.destroy()
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Whether a server that is ready answers there: one that still loads its data answers otherwise. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = openSocket(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.setTimeout(1_000, () => socket.destroy())
    socket.on('data', (data) => {
      resolve(/^(\+PONG|-NOAUTH)/.test(data.toString()))
      socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(false))
  })
}

async function untilReady(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`)
    if (await answers(port)) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('redis-server did not get ready')
}
