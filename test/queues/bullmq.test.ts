import assert from 'node:assert/strict'
import { after, describe, it, test } from 'node:test'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { MailError } from '../../src/index.ts'
import { bullmq } from '../../src/queues/bullmq.ts'
import { findRedis, hasRedisServer, removeKeys, runPrefix, startRedis } from '../support/redis-server.ts'
import { engineTests } from './engine-tests.ts'
import { type BullmqGround, bullPrefix, until } from './ground.ts'
import { killTests } from './kill-tests.ts'

const server = await findRedis()
let made = 0

if ('skip' in server) {
  it('bullmq', { skip: server.skip }, () => {})
} else {
  const { url } = server
  const newGround = (): BullmqGround => ({ kind: 'bullmq', url, prefix: `${runPrefix}-${++made}` })
  const owned: { stop(): Promise<void> }[] = []
  after(async () => {
    await Promise.all(owned.map((own) => own.stop()))
    await removeKeys(url)
    await server.stop()
  })

  describe('bullmq', () => {
    const newMortalGround = async () => {
      const own = await startRedis()
      owned.push(own)
      return { ground: { ...newGround(), engineUrl: own.url }, kill: own.kill, start: own.start }
    }
    engineTests({ newGround, newMortalGround, pausesAll: true })
    killTests(newGround)

    for (const name of ['ioredis', 'node-redis'] as const) {
      test(`takes the application’s own client of ${name}, and leaves it open`, async (t) => {
        const ground = newGround()
        const client =
          name === 'ioredis' ? new Redis(url, { maxRetriesPerRequest: null }) : await createClient({ url }).connect()
        t.after(() => ('destroy' in client ? client.destroy() : client.disconnect()))
        const engine = bullmq({ connection: client, prefix: bullPrefix(ground) })
        const ran: string[] = []
        const worker = await engine.work(async ({ id }) => void ran.push(id), { concurrency: 2 })
        await engine.enqueue([{ kind: 'message', id: 'msg:1', run: '1' }])
        await until('it ran', () => ran.length === 1)
        await worker.stop()
        await engine.close()
        assert.deepEqual(ran, ['msg:1'])
        assert.equal(await (client as Redis).ping(), 'PONG')
      })
    }

    test('a worker refuses a client of ioredis that gives up commands, and says what to do', async (t) => {
      const client = new Redis(url)
      t.after(() => client.disconnect())
      const engine = bullmq({ connection: client, prefix: bullPrefix(newGround()) })
      t.after(() => engine.close())
      await assert.rejects(
        async () => engine.work(async () => {}, { concurrency: 1 }),
        (error) => error instanceof MailError && error.code === 'CONFIGURATION_ERROR' && /null/.test(error.message),
      )
      await engine.enqueue([{ kind: 'message', id: 'msg_1', run: '1' }])
      assert.deepEqual(await engine.stats(), { waiting: 1, delayed: 0, active: 0 })
    })

    test('stats count what waits, is put off and runs', async (t) => {
      const engine = bullmq({ connection: { url }, prefix: bullPrefix(newGround()) })
      t.after(() => engine.close())
      const job = (id: string, more: object = {}) => ({ kind: 'message' as const, id, run: '1', ...more })
      const gate = Promise.withResolvers<void>()
      await engine.enqueue([job('a'), job('b', { priority: 10 }), job('c', { delay: 60_000 })])
      assert.deepEqual(await engine.stats(), { waiting: 2, delayed: 1, active: 0 })
      const worker = await engine.work(() => gate.promise, { concurrency: 1 })
      await until('one runs', async () => (await engine.stats()).active === 1)
      assert.deepEqual(await engine.stats(), { waiting: 1, delayed: 1, active: 1 })
      gate.resolve()
      await worker.stop()
    })

    test('what others put into the queue is passed over', async (t) => {
      const ground = newGround()
      const queue = new Queue('sendwright', { connection: { url }, prefix: bullPrefix(ground) })
      t.after(() => queue.close())
      for (const data of [{}, null, { kind: 'message' }, { kind: 'other', id: 'x' }]) await queue.add('odd', data)
      const engine = bullmq({ connection: { url }, prefix: bullPrefix(ground) })
      t.after(() => engine.close())
      const ran: string[] = []
      const worker = await engine.work(async ({ id }) => void ran.push(id), { concurrency: 1 })
      await engine.enqueue([{ kind: 'message', id: 'msg_1', run: '1' }])
      await until('ours ran', () => ran.length > 0)
      await worker.stop()
      assert.deepEqual(ran, ['msg_1'])
      assert.equal(await queue.getFailedCount(), 0)
    })

    test('a job whose process died is begun again after its lock', { skip: !hasRedisServer() }, async (t) => {
      const ground = newGround()
      const options = { connection: { url }, prefix: bullPrefix(ground), lockDuration: 1_000 }
      const dead = bullmq(options)
      await dead.enqueue([{ kind: 'message', id: 'msg_1', run: '1' }])
      const begun = Promise.withResolvers<void>()
      await dead.work(
        () => {
          begun.resolve()
          return new Promise(() => {})
        },
        { concurrency: 1 },
      )
      await begun.promise
      await dead.close()
      const alive = bullmq(options)
      t.after(() => alive.close())
      const ran: string[] = []
      const worker = await alive.work(async ({ id }) => void ran.push(id), { concurrency: 1 })
      await until('begun again', () => ran.length > 0)
      await worker.stop()
      assert.deepEqual(ran, ['msg_1'])
    })
  })
}

test('bullmq refuses options it cannot work with', () => {
  for (const options of [
    undefined,
    {},
    { connection: 'redis://x' },
    { connection: {}, name: '' },
    { connection: {}, name: 'a:b' },
    { connection: {}, prefix: 1 },
    { connection: {}, lockDuration: 999 },
  ]) {
    assert.throws(
      () => bullmq(options as never),
      (error) => error instanceof MailError && error.code === 'CONFIGURATION_ERROR' && /^bullmq/.test(error.message),
    )
  }
})
