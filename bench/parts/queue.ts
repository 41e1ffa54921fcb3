import { hasRedisServer, startRedis } from '../../test/support/redis-server.ts'
import { type Contestant, contest, type Runs } from '../contest.ts'
import type { EngineName } from '../measures/engines.ts'
import { count, fixed, heading, line, times } from '../print.ts'
import { findServers } from '../servers.ts'
import type { PartOptions } from './part.ts'

/** Messages of one tenant that the messages of another wait among. */
const crowd = 100_000
/** Waits that tell something. */
const fewest = 20

export async function queue({ rounds }: PartOptions): Promise<void> {
  const { engines, stop } = await findServers()
  heading('Queue: messages enqueued a second, and then worked off by fifty, 1 kB each')
  await rates(engines, rounds)
  heading(`Queue: how long single messages wait while ${count(crowd)} of another tenant are worked off`)
  for (const engine of ['memory', 'sqlite'] as const) await fairness(engine)
  heading('Queue: memory of this process a waiting message')
  const growth = Object.fromEntries(engines.map((engine) => [engine, ['queue-memory.ts', engine] as const]))
  for (const [engine, runs] of Object.entries(await contest(growth, 1))) {
    line(engine, `${count(runs.of('bytes'))} bytes`)
  }
  await stop()
}

async function rates(engines: readonly EngineName[], rounds: number): Promise<void> {
  const contestants: Record<string, Contestant> = {}
  for (const engine of engines) contestants[engine] = ['queue-rates.ts', engine]
  if (engines.includes('redis')) contestants['redis, jobs in BullMQ'] = ['queue-rates.ts', 'redis+bullmq']
  if (engines.includes('postgres'))
    contestants['postgres, jobs in pg-boss'] = ['queue-rates.ts', 'postgres+pg-boss', 2000]
  const stops: (() => Promise<void>)[] = []
  if (engines.includes('redis')) contestants['BullMQ, Redis as it runs'] = ['queue-rates.ts', 'bullmq']
  for (const appendonly of ['everysec', 'always'] as const) {
    if (!hasRedisServer()) continue
    const server = await startRedis({ appendonly })
    stops.push(server.stop)
    contestants[`BullMQ, appendfsync ${appendonly}`] = ['queue-rates.ts', 'bullmq', 5000, server.url]
  }
  const found = await contest(contestants, rounds)
  for (const stop of stops) await stop()
  for (const [name, runs] of Object.entries(found)) line(name, ratesOf(runs, found, name))
}

function ratesOf(runs: Runs, all: Readonly<Record<string, Runs>>, name: string): string {
  const told = `${count(runs.of('enqueued'))} enqueued, ${count(runs.of('worked'))} worked off`
  const sqlite = all.sqlite
  if (!name.startsWith('BullMQ') || !sqlite) return told
  return `${told}; SQLite ${times(sqlite.to(runs, 'enqueued'))}, ${times(sqlite.to(runs, 'worked'))}`
}

async function fairness(engine: EngineName): Promise<void> {
  const { alone, crowded } = await contest(
    {
      alone: ['queue-fairness.ts', engine, 'alone'],
      crowded: ['queue-fairness.ts', engine, 'crowded', crowd],
    },
    1,
  )
  const samples = crowded.of('samples')
  if (!(samples >= fewest)) {
    line(engine, `only ${samples} of them came to their turn before the crowd was gone`, 'aim: below 10 ×')
    return
  }
  line(
    engine,
    `p95 ${fixed(crowded.of('p95'), 1)} ms to ${fixed(alone.of('p95'), 1)} ms alone: ${times(crowded.to(alone, 'p95'))}`,
    'aim: below 10 ×',
  )
}
