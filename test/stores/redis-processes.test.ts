import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { createClient } from 'redis'
import { redis } from '../../src/stores/redis.ts'
import { claimed, rowOf } from '../../src/testing/stores/samples.ts'
import { start } from '../support/program.ts'
import { checkData, readData } from '../support/redis-data.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'

const server = await findRedis()
const processes = 4
const size = 300

if ('skip' in server) it('several processes on one Redis', { skip: server.skip }, () => {})
else {
  const { url } = server
  const client = createClient({ url }).on('error', () => {})
  before(() => client.connect())
  after(async () => {
    await removeKeys(url)
    client.destroy()
    await server.stop()
  })

  /** What each of the processes won, all having begun at once. */
  async function race<T>(test: TestContext, name: string, prefix: string): Promise<T[]> {
    const env = { REDIS_URL: url, PREFIX: prefix }
    const programs = Array.from({ length: processes }, (_, i) =>
      start(test, 'test/stores/programs/redis-racer.ts', env, [name, `${i}`]),
    )
    await Promise.all(programs.map((program) => program.printed(/ready/)))
    for (const { child } of programs) child.stdin!.write('go\n')
    const won = await Promise.all(programs.map((program) => program.printed(/won (.*)\n/)))
    for (const program of programs) assert.equal(await program.ended, 0, program.err)
    checkData(await readData(url, prefix))
    return won.map(([, json]) => JSON.parse(json!) as T)
  }

  describe('several processes on one Redis', () => {
    it('P7 D4: each key is claimed once', async (test) => {
      const won = (await race<string[]>(test, 'claims', `${runPrefix}-claims`)).flat()
      assert.equal(won.length, size)
      assert.equal(new Set(won).size, size)
    })

    it('D4: each lost row is taken over once, each time with a fence of its own', async (test) => {
      const prefix = `${runPrefix}-takeovers`
      const store = redis({ client, prefix })
      for (let i = 0; i < size; i++) {
        await store.claim(rowOf({ id: `msg_lost_${i}` }), { lease: { owner: 'dead', ms: 1 } })
      }
      const won = (await race<[string, number][]>(test, 'takeovers', prefix)).flat()
      assert.equal(won.length, size)
      assert.equal(new Set(won.map(([id]) => id)).size, size)
      assert.equal(new Set(won.map(([, fence]) => fence)).size, size)
    })

    it('P2: each queued row is handed to one worker', async (test) => {
      const prefix = `${runPrefix}-due`
      const store = redis({ client, prefix })
      for (let i = 0; i < size; i++) {
        const row = rowOf({ kind: 'queue', tenant: `t${i % 5}` })
        await store.settle({ ...row, status: 'queued' }, await claimed(store, row), { delay: (i % 3) * 50 })
      }
      const won = (await race<string[]>(test, 'due', prefix)).flat()
      won.push(...(await store.due(size, { owner: 'rest', ms: 1 })).held.map(({ row }) => row.id))
      assert.equal(won.length, size)
      assert.equal(new Set(won).size, size)
    })

    it('P4: all of them together never pass a limit', async (test) => {
      const passed = await race<number>(test, 'limits', `${runPrefix}-limits`)
      assert.equal(
        passed.reduce((sum, count) => sum + count, 0),
        size,
      )
    })

    it('P12: each event is the first once', async (test) => {
      const won = (await race<string[]>(test, 'once', `${runPrefix}-once`)).flat()
      assert.equal(won.length, size)
      assert.equal(new Set(won).size, size)
    })
  })
}
