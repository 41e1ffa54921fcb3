import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { deserialize, serialize } from 'node:v8'
import { MailError, type MailStore } from '../../src/index.ts'

interface Request {
  readonly number: number
  /** `claim`, `suppress.hasMany`, … */
  readonly verb: string
  readonly args: readonly unknown[]
}

interface Response {
  readonly number: number
  readonly answer?: unknown
  readonly failed?: string
}

export interface ServedStore {
  readonly port: number
  close(): Promise<void>
}

/**
 * Lets other processes use a store of this one, over a socket: what they do outlives them. So the harness can be tried on
 * a store whose atomicity is beyond doubt, and on one that was broken on purpose.
 */
export async function serve(store: MailStore): Promise<ServedStore> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).once('close', () => sockets.delete(socket))
    const lines = createInterface({ input: socket }).on('error', () => {})
    lines.on('line', (line) => {
      const { number, verb, args } = read(line) as Request
      void answerTo(store, verb, args).then((response) => {
        if (socket.writable) socket.write(written({ number, ...response }))
      })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('the server listens on no port')
  return {
    port: address.port,
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
      await store.close()
    },
  }
}

async function answerTo(store: MailStore, verb: string, args: readonly unknown[]): Promise<Omit<Response, 'number'>> {
  try {
    const way = verb.split('.')
    const name = way.pop()!
    const target = way.reduce<object>((at, step) => Reflect.get(at, step) as object, store)
    const method = Reflect.get(target, name) as (...args: unknown[]) => unknown
    return { answer: await method.apply(target, [...args]) }
  } catch (error) {
    return { failed: String(error) }
  }
}

/** The store another process serves at `port`, as one that outlives this process. */
export async function served(port: number): Promise<MailStore> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  socket.unref()
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  let number = 0
  createInterface({ input: socket }).on('line', (line) => {
    const response = read(line) as Response
    const made = waiting.get(response.number)
    waiting.delete(response.number)
    if (waiting.size === 0) socket.unref()
    if (response.failed === undefined) made?.resolve(response.answer)
    else made?.reject(new MailError('STORE_UNAVAILABLE', response.failed))
  })
  const call =
    (verb: string) =>
    (...args: unknown[]): Promise<unknown> => {
      const made = Promise.withResolvers<unknown>()
      waiting.set(++number, made)
      socket.ref()
      socket.write(written({ number, verb, args }))
      return made.promise
    }
  const calls = (prefix: string, names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [name, call(`${prefix}${name}`)]))
  return {
    guarantees: { scope: 'host', durability: 'process-crash', list: true },
    ...calls('', ['claim', 'renew', 'settle', 'takeover', 'read', 'find', 'list', 'due', 'waiting', 'once']),
    suppress: calls('suppress.', ['add', 'hasMany', 'get', 'remove', 'list']),
    limits: calls('limits.', ['take', 'refund', 'move', 'usage']),
    counters: calls('counters.', ['add', 'read']),
    close: () => void socket.destroy(),
  } as unknown as MailStore
}

const written = (value: Request | Response): string => `${serialize(value).toString('base64')}\n`
const read = (line: string): unknown => deserialize(Buffer.from(line, 'base64'))
