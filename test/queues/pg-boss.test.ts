import assert from 'node:assert/strict'
import { after, describe, it, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'pg'
import { PgBoss } from 'pg-boss'
import { MailError } from '../../src/index.ts'
import { pgBoss } from '../../src/queues/pg-boss.ts'
import { findPostgres, ownSchema, reasonNotToStart, startPostgres } from '../support/postgres-server.ts'
import { engineTests } from './engine-tests.ts'
import { type PgBossGround, until, urlOf } from './ground.ts'
import { killTests } from './kill-tests.ts'

const server = await findPostgres()

if ('skip' in server) {
  it('pg-boss', { skip: server.skip }, () => {})
} else {
  const { config } = server
  const dropped: ReturnType<typeof ownSchema>[] = []
  const newSchema = (): string => {
    const own = ownSchema(config)
    dropped.push(own)
    return own.schema
  }
  const newGround = (): PgBossGround => ({ kind: 'pg-boss', config, schema: newSchema(), bossSchema: newSchema() })
  const owned: { stop(): Promise<void> }[] = []
  after(async () => {
    await Promise.all(owned.map((own) => own.stop()))
    for (const { drop } of dropped) await drop()
    await server.stop()
  })

  describe('pg-boss', { skip: reasonNotToStart() }, () => {
    const newMortalGround = async () => {
      const own = await startPostgres()
      owned.push(own)
      return { ground: { ...newGround(), engineConfig: own.config }, kill: own.kill, start: own.start }
    }
    engineTests({ newGround, newMortalGround, pausesAll: false })
    killTests(newGround)
  })

  describe('pgBoss({ boss })', () => {
    test('takes a boss of the application, catches its errors, and leaves it running', async (t) => {
      const boss = new PgBoss({ ...config, schema: newSchema(), schedule: false } as object)
      await boss.start()
      t.after(() => boss.stop({ graceful: false }))
      const engine = pgBoss({ boss, name: 'mail' })
      const ran: string[] = []
      const warned: unknown[] = []
      const worker = await engine.work(async ({ id }) => void ran.push(id), {
        concurrency: 3,
        warn: (error) => warned.push(error),
      })
      await engine.enqueue([{ kind: 'message', id: 'msg_1', run: '1' }])
      await until('it ran', () => ran.length === 1)
      const trouble = new Error('of its maintenance')
      boss.emit('error', trouble)
      assert.deepEqual(warned, [trouble])
      await worker.stop()
      await engine.close()
      assert.equal(boss.listenerCount('error'), 0)
      assert.equal((await boss.getQueue('mail'))?.name, 'mail')
      await assert.rejects(engine.enqueue([{ kind: 'message', id: 'msg_1', run: '2' }]), { code: 'CLOSED' })
    })

    test('a boss nobody started is named as such', async () => {
      const engine = pgBoss({ boss: new PgBoss({ ...config, schema: newSchema() } as object) })
      await assert.rejects(
        engine.enqueue([{ kind: 'message', id: 'msg_1', run: '1' }]),
        (error) => error instanceof MailError && error.code === 'CONFIGURATION_ERROR' && /start/.test(error.message),
      )
    })

    test('what others put into the queue is passed over, and a job whose process died is begun again', async (t) => {
      const schema = newSchema()
      const boss = new PgBoss({ ...config, schema, schedule: false } as object)
      boss.on('error', () => {})
      await boss.start()
      t.after(() => boss.stop({ graceful: false }))
      const engine = pgBoss({ boss })
      await engine.enqueue([{ kind: 'message', id: 'msg_1', run: '1' }])
      for (const data of [{}, { kind: 'message' }, { kind: 'other', id: 'x' }]) await boss.send('sendwright', data)
      // A worker that took it, and was heard of no more for longer than its heartbeat.
      const [taken] = await boss.fetch('sendwright')
      const pool = new Pool({ ...config, max: 1 })
      t.after(() => pool.end())
      const { rowCount } = await pool.query(
        `UPDATE ${schema}.job SET heartbeat_on = heartbeat_on - interval '61 s' WHERE id = $1`,
        [taken!.id],
      )
      assert.equal(rowCount, 1)
      await boss.supervise('sendwright')
      const ran: string[] = []
      const worker = await engine.work(async ({ id }) => void ran.push(id), { concurrency: 2 })
      await until('ours ran', () => ran.length > 0)
      await until('all are done', async () => {
        const { rows } = await pool.query(`SELECT count(*) AS left FROM ${schema}.job WHERE state < 'completed'`)
        return Number(rows[0].left) === 0
      })
      await worker.stop()
      await engine.close()
      assert.deepEqual(ran, ['msg_1'])
    })

    test('a worker that is paused while it starts takes nothing until it goes on', async (t) => {
      const engine = pgBoss({ connectionString: urlOf(config), schema: newSchema() })
      t.after(() => engine.close())
      await engine.enqueue([{ kind: 'message', id: 'first', run: '1' }])
      const ran: string[] = []
      const starting = engine.work(async ({ id }) => void ran.push(id), { concurrency: 2 })
      await engine.pause()
      const worker = await starting
      const before = ran.length
      await engine.enqueue([{ kind: 'message', id: 'second', run: '1' }])
      await sleep(1_500)
      assert.equal(ran.length, before)
      await engine.resume()
      await until('both ran', () => ran.length === 2)
      await worker.stop()
    })

    test('stats count what waits, is put off and runs', async (t) => {
      const engine = pgBoss({ connectionString: urlOf(config), schema: newSchema() })
      t.after(() => engine.close())
      const job = (id: string, more: object = {}) => ({ kind: 'message' as const, id, run: '1', ...more })
      await engine.enqueue([job('a'), job('b', { priority: 10 }), job('c', { delay: 60_000 })])
      assert.deepEqual(await engine.stats(), { waiting: 2, delayed: 1, active: 0 })
    })
  })
}

test('pgBoss refuses options it cannot work with', () => {
  const boss = { work() {}, insert() {}, offWork() {} }
  for (const options of [undefined, {}, { boss: {} }, { boss: null }, { connectionString: 1 }, { boss, name: 'a b' }]) {
    assert.throws(
      () => pgBoss(options as never),
      (error) => error instanceof MailError && error.code === 'CONFIGURATION_ERROR' && /^pgBoss/.test(error.message),
    )
  }
})
