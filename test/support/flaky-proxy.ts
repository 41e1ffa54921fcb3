import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** A network between a client and a server that does what a test tells it to. */
export interface FlakyProxy {
  readonly host: string
  readonly port: number
  /** Bytes wait in both directions, and new connections are taken but not passed on: a server that has gone silent. */
  pause(): void
  /** What waited goes on its way. */
  resume(): void
  /** Resets every connection; new ones are welcome. */
  cut(): void
  /** Lets `bytes` more of the server's answers through on every connection, then resets it. */
  cutAfter(bytes: number): void
  /** Resets every connection, and each new one, until `resume`. */
  refuse(): void
  /** Connections taken so far. */
  readonly connections: number
  close(): Promise<void>
}

interface Pair {
  readonly client: Socket
  readonly server: Socket
  /** Bytes of answers that may still pass; undefined without bound. */
  left: number | undefined
}

/** Listens on a free port of 127.0.0.1 and passes on what comes to `port` on `host`. */
export async function flakyProxy(port: number, host = '127.0.0.1'): Promise<FlakyProxy> {
  const pairs = new Set<Pair>()
  let state: 'open' | 'paused' | 'refusing' = 'open'
  let connections = 0

  const end = (pair: Pair) => {
    pairs.delete(pair)
    pair.client.resetAndDestroy()
    pair.server.resetAndDestroy()
  }
  const setFlow = ({ client, server }: Pair) => {
    for (const socket of [client, server]) state === 'paused' ? socket.pause() : socket.resume()
  }
  const answer = (pair: Pair, data: Buffer) => {
    const { left } = pair
    if (left === undefined) return pair.client.write(data)
    pair.left = left - data.length
    if (pair.left > 0) return pair.client.write(data)
    pairs.delete(pair)
    pair.server.resetAndDestroy()
    return pair.client.write(data.subarray(0, left), () => pair.client.resetAndDestroy())
  }

  const listener = createServer((client) => {
    connections++
    client.on('error', () => {})
    if (state === 'refusing') return void client.resetAndDestroy()
    const server = connect(port, host).on('error', () => {})
    const pair: Pair = { client, server, left: undefined }
    pairs.add(pair)
    client.on('data', (data) => server.write(data))
    server.on('data', (data) => answer(pair, data))
    client.on('close', () => end(pair))
    server.on('close', () => {
      if (pairs.has(pair)) end(pair)
    })
    setFlow(pair)
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')

  const become = (next: typeof state) => {
    state = next
    for (const pair of pairs) setFlow(pair)
  }
  return {
    host: '127.0.0.1',
    port: (listener.address() as { port: number }).port,
    pause: () => become('paused'),
    resume: () => become('open'),
    cut() {
      for (const pair of pairs) end(pair)
    },
    cutAfter(bytes) {
      for (const pair of pairs) pair.left = bytes
    },
    refuse() {
      become('refusing')
      for (const pair of pairs) end(pair)
    },
    get connections() {
      return connections
    },
    async close() {
      for (const pair of pairs) end(pair)
      listener.close()
      await once(listener, 'close')
    },
  }
}
