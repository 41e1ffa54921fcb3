/**
 * Messages accepted into a queue per second, 64 at a time, and then worked off by fifty:
 * `queue-rates.ts <contestant> [count] [Redis]`. The contestants are our stores with the queue in them, `redis+bullmq` and
 * `postgres+pg-boss`, which are our stores with those engines, and `bullmq` by itself, whose job holds the message and does
 * nothing.
 */
import { type Job, Queue, Worker } from 'bullmq'
import { createMailer } from 'sendwright'
import { memory } from 'sendwright/providers/memory'
import { removeKeys, runPrefix } from '../../test/support/redis-server.ts'
import { type EngineName, openEngine } from './engines.ts'
import { all, begin, type Cost, report } from './measure.ts'
import * as messages from './messages.ts'
import { openQueueEngine } from './queue-engines.ts'

const [contestant = 'memory', times = '5000', url] = process.argv.slice(2)
// A server of its own, such as one with an append-only file.
if (url !== undefined) process.env.REDIS_URL = url
const count = Number(times)
const warmUp = Math.ceil(count / 5)
const concurrency = 50

const messageOf = (n: number) => ({ ...messages.small, to: messages.recipient(n) })

async function accept(enqueue: (n: number) => Promise<unknown>): Promise<Cost> {
  await all(0, warmUp, 64, enqueue)
  const started = begin()
  await all(warmUp, warmUp + count, 64, enqueue)
  return started.cost(count)
}

/** Counts what is done: resolves with the cost of all after the warm-up. */
function finishLine(): { readonly passed: Promise<Cost>; pass(): void } {
  const passed = Promise.withResolvers<Cost>()
  let done = 0
  let started = begin()
  return {
    passed: passed.promise,
    pass() {
      done++
      if (done === warmUp) started = begin()
      if (done === warmUp + count) passed.resolve(started.cost(count))
    },
  }
}

async function ours(): Promise<{ accepted: Cost; worked: Cost }> {
  const [name, engineName] = contestant.split('+') as [EngineName, string?]
  const opened = await openEngine(name)
  const engine = engineName === undefined ? undefined : await openQueueEngine(engineName)
  const mailer = createMailer({
    providers: { outbox: memory({ limit: 0 }) },
    from: messages.from,
    store: opened.store,
    queue: { work: false, ...(engine ? { engine: engine.engine } : {}) },
  })
  const accepted = await accept((n) => mailer.enqueue(messageOf(n)))
  const line = finishLine()
  mailer.on('settled', () => line.pass())
  mailer.work({ concurrency })
  const worked = await line.passed
  await mailer.close()
  await engine?.remove()
  await opened.close()
  return { accepted, worked }
}

async function bullmq(): Promise<{ accepted: Cost; worked: Cost }> {
  const { connectRedis } = await import('./engines.ts')
  const { url, client, stop } = await connectRedis()
  client.destroy()
  const options = { connection: { url, maxRetriesPerRequest: null }, prefix: `{${runPrefix}}` }
  const queue = new Queue('mail', options)
  const accepted = await accept((n) => queue.add('message', messageOf(n), { removeOnComplete: true }))
  const line = finishLine()
  const worker = new Worker('mail', async (_job: Job) => {}, { ...options, concurrency })
  worker.on('completed', () => line.pass())
  const worked = await line.passed
  await worker.close()
  await queue.close()
  await removeKeys(url)
  await stop()
  return { accepted, worked }
}

const { accepted, worked } = contestant === 'bullmq' ? await bullmq() : await ours()
report({ enqueued: accepted.rate, enqueueCpu: accepted.cpu, worked: worked.rate, workCpu: worked.cpu })
// What a peer leaves open must not hold up the next measurement.
process.exit()
