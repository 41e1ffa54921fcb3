/**
 * One of several processes over one store: `node postgres-race.ts <config> <schema> <race> <seed>`. Prints `ready`, waits for a
 * line, runs and prints what it won as one line of JSON.
 */
import { once } from 'node:events'
import { Pool } from 'pg'
import { MailError } from '../../../src/errors.ts'
import { postgres } from '../../../src/stores/postgres.ts'
import { randomFrom, rowOf, suppression, work } from '../../../src/testing/stores/samples.ts'

const [config, schema, race, seed] = process.argv.slice(2) as [string, string, string, string]
const random = randomFrom(Number(seed))
const pool = new Pool({ ...JSON.parse(config), max: 4 })
const store = postgres({ pool, schema })
const lease = { owner: String(process.pid), ms: 40_000 }
const day = 86_400_000

/** Runs `task` for 0 to `count` - 1 in an order of its own, 20 at a time; answers what it answered besides undefined. */
async function each<T>(count: number, task: (i: number) => Promise<T | undefined>): Promise<T[]> {
  const order = Array.from({ length: count }, (_, i) => i).sort(() => random(3) - 1)
  const won: T[] = []
  const work = async () => {
    for (let i = order.pop(); i !== undefined; i = order.pop()) {
      const one = await task(i)
      if (one !== undefined) won.push(one)
    }
  }
  await Promise.all(Array.from({ length: 20 }, work))
  return won
}

const races: Readonly<Record<string, () => Promise<unknown>>> = {
  claims: () =>
    each(300, async (i) => {
      const claim = await store.claim(rowOf({ id: `msg_${process.pid}_${i}`, key: `k${i}` }), { lease })
      return claim.state === 'claimed' ? i : undefined
    }),
  takeovers: () =>
    each(300, async (i) => ((await store.takeover(`msg_lost_${i}`, ['dispatching'], lease)) ? i : undefined)),
  limits: () =>
    each(300, async () => {
      const take = await store.limits.take(
        'race',
        [
          { limit: 100, per: day },
          { limit: 200, per: 30 * day },
        ],
        1,
      )
      return take.ok ? 1 : undefined
    }),
  once: () => each(300, async (i) => ((await store.once(`e${i}`, day)) ? i : undefined)),
  async due() {
    const won: string[] = []
    const take = async () => {
      for (;;) {
        const { held, next } = await store.due(1 + random(9), lease)
        won.push(...held.map(({ row }) => row.id))
        for (const { row, fence } of held) await store.settle({ ...row, status: 'sent' }, fence)
        if (held.length === 0 && next === undefined) return
      }
    }
    await Promise.all([take(), take(), take()])
    return won
  },
  async everything() {
    const failures: string[] = []
    await each(600, async (i) => {
      try {
        await anything(i)
      } catch (error) {
        if (!(error instanceof MailError)) throw error
        failures.push(error.message)
      }
      return undefined
    })
    return failures
  },
}

async function anything(i: number): Promise<void> {
  const key = `k${random(20)}`
  switch (random(6)) {
    case 0: {
      const scopes = Array.from({ length: 5 }, () => `topic:${random(9)}`)
      return store.suppress.add(scopes.map((scope) => suppression({ key: `${random(4)}@x.example`, scope })))
    }
    case 1:
      return void (await store.suppress.remove(undefined, `${random(4)}@x.example`))
    case 2: {
      const taken = await store.limits.take(key, [{ limit: 1_000, per: 1_000 * (1 + random(3)) }], 1)
      if (taken.ok) await store.limits.refund(key, [{ limit: 1_000, per: 1_000 }], 1, taken.at)
      return
    }
    case 3:
      for (const { row, fence } of (await store.due(5, { ...lease, ms: 20 })).held) {
        if (random(2))
          await store.settle({ ...row, status: random(2) ? 'queued' : 'sent' }, fence, { delay: random(20) })
      }
      return
    default: {
      const row = rowOf({ id: `msg_${process.pid}_${i}`, key, tenant: `t${random(3)}`, kind: 'queue', work: work() })
      const look = { keys: ['1@x.example', '2@x.example'], scopes: ['topic:1', 'topic:2'] }
      const claim = await store.claim(row, { lease: { ...lease, ms: 50 }, look, keyTtl: 20 })
      const retention = { records: 50, content: 10 }
      if (claim.state === 'held') {
        const held = await store.takeover(claim.row.id, ['dispatching', 'sent', 'unknown'], { ...lease, ms: 20 })
        if (held)
          await store.settle({ ...held.row, status: 'sent' }, held.fence, { release: random(2) === 0, retention })
        return
      }
      if (random(2)) await store.renew({ ...row, status: 'dispatching' }, claim.fence, 50, look)
      const status = (['sent', 'queued', 'unknown', 'failed'] as const)[random(4)]!
      await store.settle({ ...row, status }, claim.fence, { release: status === 'failed', retention })
    }
  }
}

await store.read('msg_none')
console.log('ready')
await once(process.stdin, 'data')
process.stdin.destroy()
console.log(JSON.stringify(await races[race]!()))
await store.close()
await pool.end()
