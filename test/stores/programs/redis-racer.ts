/**
 * One of several processes on one Redis store: does what its first argument says for the ids and keys of a race, and prints
 * what it won as JSON. `REDIS_URL` and `PREFIX` say where.
 */
import { once } from 'node:events'
import { createClient } from 'redis'
import { redis } from '../../../src/stores/redis.ts'
import type { MailStore } from '../../../src/stores/store.ts'
import { rowOf } from '../../../src/testing/stores/samples.ts'

const [race = '', name = ''] = process.argv.slice(2)
const lease = { owner: name, ms: 60_000 }
const size = 300

const races: Readonly<Record<string, (store: MailStore) => Promise<unknown>>> = {
  async claims(store) {
    const won: string[] = []
    const keys = Array.from({ length: 3 * size }, (_, i) => `k${i % size}`)
    await inParallel(keys, async (key) => {
      const claim = await store.claim(rowOf({ id: `msg_${name}_${key}_${Math.random()}`, key }), { lease })
      if (claim.state === 'claimed') won.push(key)
    })
    return won
  },

  async takeovers(store) {
    const won: [string, number][] = []
    const ids = Array.from({ length: size }, (_, i) => `msg_lost_${i}`)
    await inParallel(ids, async (id) => {
      const held = await store.takeover(id, ['dispatching'], lease)
      if (held) won.push([id, held.fence])
    })
    return won
  },

  async due(store) {
    const won: string[] = []
    for (let idle = 0; idle < 3; ) {
      const { held } = await store.due(7, lease)
      won.push(...held.map(({ row }) => row.id))
      await Promise.all(held.map(({ row, fence }) => store.settle({ ...row, status: 'sent' }, fence)))
      idle = held.length === 0 ? idle + 1 : 0
    }
    return won
  },

  async limits(store) {
    let passed = 0
    const windows = [
      { limit: size, per: 3_600_000 },
      { limit: 10 * size, per: 86_400_000 },
    ]
    await inParallel(Array.from({ length: size }), async () => {
      if ((await store.limits.take('limit', windows, 1)).ok) passed++
    })
    return passed
  },

  async once(store) {
    const won: string[] = []
    const ids = Array.from({ length: size }, (_, i) => `event ${i}`)
    await inParallel(ids, async (id) => {
      if (await store.once(id, 3_600_000)) won.push(id)
    })
    return won
  },
}

/** Twenty at a time. */
async function inParallel<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  const worker = async () => {
    for (const item of queue) await act(item)
  }
  await Promise.all(Array.from({ length: 20 }, worker))
}

const client = createClient({ url: process.env.REDIS_URL! }).on('error', () => {})
await client.connect()
const store = redis({ client, prefix: process.env.PREFIX! })
await store.read('x')
console.log('ready')
await once(process.stdin, 'data')
process.stdin.destroy()
console.log(`won ${JSON.stringify(await races[race]!(store))}`)
await store.close()
client.destroy()
