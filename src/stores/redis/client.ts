import { configurationError } from '../../errors.ts'

/** A connected client of node-redis 4 to 6 (`createClient`, `createClientPool`). */
export interface NodeRedisClient {
  readonly isOpen: boolean
  sendCommand(command: string[]): Promise<unknown>
}

/** A connected client of node-redis 4 to 6 for a cluster (`createCluster`). */
export interface NodeRedisCluster {
  readonly isOpen?: boolean
  readonly slots: unknown
  sendCommand(firstKey: string | undefined, isReadonly: boolean | undefined, command: string[]): Promise<unknown>
}

/** A connected client of node-redis 5 or 6 for a primary that sentinels watch (`createSentinel`). */
export interface NodeRedisSentinel {
  readonly isOpen: boolean
  getMasterNode(): unknown
  sendCommand(isReadonly: boolean | undefined, command: string[]): Promise<unknown>
}

/** A client of ioredis 5 or 6, or of iovalkey; `Redis` and `Cluster` alike. */
export interface IoredisClient {
  readonly status: string
  call(command: string, ...args: string[]): Promise<unknown>
}

/** What `redis({ client })` takes: the application's own client, which it connects, closes and listens to itself. */
export type RedisClient = NodeRedisClient | NodeRedisCluster | NodeRedisSentinel | IoredisClient

/** The same few things of every client. */
export interface Wire {
  /** Sends one command to the server that holds `key`. */
  send(key: string, command: string[]): Promise<unknown>
  /** False when nobody has connected the client, or somebody closed it: it would refuse every command. */
  isOpen(): boolean
  /** Whether the client sends a command again when the connection was lost before its answer came. */
  readonly repeats: boolean
}

/** @throws MailError `CONFIGURATION_ERROR` for anything that is none of the clients above. */
export function wireOf(client: unknown): Wire {
  if (typeof client !== 'object' || client === null) {
    throw configurationError(
      'redis({ client }) needs a client of node-redis, ioredis or iovalkey; a connection text is not taken.',
    )
  }
  const { call, sendCommand } = client as { call?: unknown; sendCommand?: unknown }
  if (typeof call === 'function') return ioredisWire(client as IoredisClient)
  if (typeof sendCommand !== 'function' || !('isOpen' in client || 'slots' in client)) {
    throw configurationError(
      'redis({ client }) needs a client of node-redis (createClient), ioredis or iovalkey; this object is none.',
    )
  }
  return { send: senderOf(client), isOpen: () => (client as NodeRedisCluster).isOpen !== false, repeats: false }
}

function senderOf(client: object): Wire['send'] {
  if ('slots' in client) {
    const cluster = client as NodeRedisCluster
    return (key, command) => cluster.sendCommand(key, false, command)
  }
  if ('getMasterNode' in client) {
    const sentinel = client as NodeRedisSentinel
    return (_key, command) => sentinel.sendCommand(false, command)
  }
  return (_key, command) => (client as NodeRedisClient).sendCommand(command)
}

function ioredisWire(client: IoredisClient): Wire {
  return {
    send: (_key, [name, ...args]) => client.call(name!, ...args),
    // It connects by itself when it has to, also with `lazyConnect`.
    isOpen: () => client.status !== 'end',
    repeats: true,
  }
}
