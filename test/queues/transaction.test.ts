import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool, PoolClient } from 'pg'
import { createMailer, MailError, type Mailer, type MailerOptions } from '../../src/index.ts'
import { bullmq } from '../../src/queues/bullmq.ts'
import { pgBoss } from '../../src/queues/pg-boss.ts'
import { memory } from '../../src/stores/memory.ts'
import { postgres } from '../../src/stores/postgres.ts'
import { overPostgres, type PostgresTests } from '../support/postgres-server.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'
import { rejection } from '../support/rejection.ts'
import { type ScriptedProvider, scripted } from '../support/scripted-provider.ts'
import { until, urlOf } from './ground.ts'

const message = { to: 'ada@example.com', subject: 'Your order', text: 'It is on its way.' }
const hour = 3_600_000
const redis = await findRedis()

interface Shop {
  /** The application's own pool; the store has another. */
  readonly pool: Pool
  readonly provider: ScriptedProvider
  mailer(options?: Partial<MailerOptions>): Mailer
  worker(): Mailer
  /** Runs `task` between BEGIN and COMMIT, or ROLLBACK when it throws. */
  transaction<T>(task: (client: PoolClient) => Promise<T>, begin?: string): Promise<T>
  orders(): Promise<number[]>
}

type EngineName = 'none' | 'pg-boss' | 'bullmq'

await overPostgres('enqueue in the application’s own transaction', (server: PostgresTests) => {
  const schema = server.schema()
  const bossSchema = server.schema()
  const shopSchema = server.schema()
  const storePool = server.pool()
  const pool = server.pool()
  const engines = {
    none: () => undefined,
    'pg-boss': () => pgBoss({ connectionString: urlOf(server.config), schema: bossSchema, max: 3 }),
    bullmq: () => bullmq({ connection: { url: 'url' in redis ? redis.url : '' }, prefix: `{${runPrefix}}` }),
  }
  before(async () => {
    await pool.query(`CREATE SCHEMA ${shopSchema}`)
    await pool.query(`CREATE TABLE ${shopSchema}.orders (number integer PRIMARY KEY)`)
    // The schema of the store is made outside the transactions.
    await postgres({ pool: storePool, schema }).read('msg_none')
  })

  function shop(t: { after(end: () => unknown): void }, engine: EngineName): Shop {
    const provider = scripted('a')
    const mailer = (options: Partial<MailerOptions> = {}): Mailer => {
      const made = engines[engine]()
      const mailer = createMailer({
        from: 'Acme <hello@acme.example>',
        providers: { a: provider },
        store: postgres({ pool: storePool, schema }),
        timeout: 2_000,
        ...(options as object),
        queue: { ...(made ? { engine: made } : {}), work: false },
      }) as Mailer
      t.after(() => mailer.close({ deadline: 1_000 }))
      return mailer
    }
    return {
      pool,
      provider,
      mailer,
      worker() {
        const worker = mailer()
        worker.work()
        return worker
      },
      async transaction(task, begin = 'BEGIN') {
        const client = await pool.connect()
        try {
          await client.query(begin)
          const answer = await task(client)
          await client.query('COMMIT')
          return answer
        } catch (error) {
          await client.query('ROLLBACK')
          throw error
        } finally {
          client.release()
        }
      },
      async orders() {
        const { rows } = await pool.query(`SELECT number FROM ${shopSchema}.orders ORDER BY number`)
        return rows.map(({ number }) => number)
      },
    }
  }
  const insertOrder = (client: PoolClient, number: number) =>
    client.query(`INSERT INTO ${shopSchema}.orders VALUES ($1)`, [number])
  let lastNumber = 0
  const newOrder = () => {
    const number = ++lastNumber
    return { number, key: `order-${process.pid}-${number}` }
  }
  const undone = new Error('the application changed its mind')

  for (const engine of ['none', 'pg-boss'] as const) {
    describe(`with engine ${engine}`, () => {
      test('P1: committed: the row and the mail are there, and no worker saw it before', async (t) => {
        const { provider, mailer: newMailer, worker, transaction, orders } = shop(t, engine)
        const mailer = newMailer()
        worker()
        const { number, key } = newOrder()
        const receipt = await transaction(async (client) => {
          await insertOrder(client, number)
          const queued = await mailer.enqueue(message, { transaction: client, idempotencyKey: key })
          assert.equal(queued.status, 'queued')
          assert.equal(await mailer.messages.get(queued.id), undefined)
          await sleep(700)
          assert.equal(provider.calls.length, 0)
          return queued
        })
        await until('sent', async () => (await mailer.messages.get(receipt.id))?.status === 'sent')
        assert.ok((await orders()).includes(number))
        const again = await mailer.enqueue(message, { idempotencyKey: key })
        assert.deepEqual([again.id, again.replayed], [receipt.id, true])
        assert.equal(provider.calls.length, 1)
      })

      test('P1, P7: rolled back: no row, no mail, and the key is free at once', async (t) => {
        const { provider, mailer: newMailer, worker, transaction, orders } = shop(t, engine)
        const mailer = newMailer()
        worker()
        const { number, key } = newOrder()
        const ids: string[] = []
        const attempt = transaction(async (client) => {
          await insertOrder(client, number)
          for (const idempotencyKey of [key, undefined]) {
            const options = idempotencyKey === undefined ? {} : { idempotencyKey }
            ids.push((await mailer.enqueue(message, { transaction: client, ...options })).id)
          }
          throw undone
        })
        assert.equal(await attempt.catch((error) => error), undone)
        const began = performance.now()
        const second = await transaction((client) =>
          mailer.enqueue({ ...message, subject: 'The second' }, { transaction: client, idempotencyKey: key }),
        )
        assert.equal(second.replayed, false)
        assert.ok(performance.now() - began < 1_500, 'it waited for no lease')
        await until('the second is sent', () => provider.calls.length > 0)
        await sleep(700)
        assert.deepEqual(
          provider.calls.map(({ message: { subject } }) => subject),
          ['The second'],
        )
        for (const id of ids) assert.equal(await mailer.messages.get(id), undefined)
        assert.ok(!(await orders()).includes(number))
      })

      test('a savepoint rolled back takes its messages with it, those before it stay', async (t) => {
        const { provider, mailer: newMailer, worker, transaction } = shop(t, engine)
        const mailer = newMailer()
        worker()
        await transaction(async (client) => {
          await mailer.enqueue({ ...message, subject: 'stays' }, { transaction: client })
          await client.query('SAVEPOINT here')
          await mailer.enqueue({ ...message, subject: 'goes' }, { transaction: client })
          await client.query('ROLLBACK TO SAVEPOINT here')
        })
        await until('one is sent', () => provider.calls.length > 0)
        await sleep(700)
        assert.deepEqual(
          provider.calls.map(({ message: { subject } }) => subject),
          ['stays'],
        )
      })

      test('in a transaction that has failed enqueue rejects; after the rollback nothing is left', async (t) => {
        const { mailer: newMailer, transaction } = shop(t, engine)
        const mailer = newMailer()
        const { key } = newOrder()
        const attempt = transaction(async (client) => {
          await client.query('SELECT 1/0').catch(() => {})
          await mailer.enqueue(message, { transaction: client, idempotencyKey: key })
        })
        assert.equal((await rejection(attempt)).code, 'STORE_UNAVAILABLE')
        const { id, replayed } = await mailer.enqueue(message, { idempotencyKey: key })
        assert.equal(replayed, false)
        await mailer.cancel(id)
      })

      for (const level of ['REPEATABLE READ', 'SERIALIZABLE']) {
        test(`works in ${level}`, async (t) => {
          const { provider, mailer: newMailer, worker, transaction } = shop(t, engine)
          const mailer = newMailer()
          worker()
          const { number, key } = newOrder()
          const { id } = await transaction(async (client) => {
            // The snapshot is taken now.
            await insertOrder(client, number)
            return mailer.enqueue(message, { transaction: client, idempotencyKey: key })
          }, `BEGIN ISOLATION LEVEL ${level}`)
          await until('sent', async () => (await mailer.messages.get(id))?.status === 'sent')
          assert.equal(provider.calls.length, 1)
        })

        test(`works in ${level} while others sweep up what is over`, async (t) => {
          const { mailer: newMailer, transaction, orders } = shop(t, engine)
          const mailer = newMailer({ retention: { records: 1, content: 1 } })
          const box = () => mailer.send(message, { sandbox: true })
          for (let n = 0; n < 50; n++) await box()
          const { number } = newOrder()
          // One write in eight sweeps. What the snapshot shows is gone when the second half is written.
          await transaction(async (client) => {
            await insertOrder(client, number)
            for (let n = 0; n < 50; n++) await box()
            for (let n = 0; n < 30; n++) await mailer.enqueue(message, { transaction: client, sandbox: true })
          }, `BEGIN ISOLATION LEVEL ${level}`)
          assert.ok((await orders()).includes(number))
        })
      }

      test('many at once in one transaction, and a batch of them', async (t) => {
        const { provider, mailer: newMailer, worker, transaction } = shop(t, engine)
        const mailer = newMailer()
        worker()
        const warnings: unknown[] = []
        const onWarning = (warning: unknown) => void warnings.push(warning)
        process.on('warning', onWarning)
        t.after(() => void process.off('warning', onWarning))
        await transaction(async (client) => {
          await Promise.all(Array.from({ length: 20 }, () => mailer.enqueue(message, { transaction: client })))
          const batch = await mailer.sendBatch(
            Array.from({ length: 20 }, () => message),
            { mode: 'enqueue', options: { transaction: client } },
          )
          assert.equal(batch.queued, 20)
        })
        await until('all sent', () => provider.calls.length === 40)
        assert.deepEqual(warnings, [], 'pg takes one query at a time')
      })

      test('scheduled, sandboxed and cancelled as outside', async (t) => {
        const { provider, mailer: newMailer, worker, transaction } = shop(t, engine)
        const mailer = newMailer()
        worker()
        const [later, boxed, stopped] = await transaction(async (client) => [
          await mailer.enqueue({ ...message, subject: 'later' }, { transaction: client, sendAt: Date.now() + 1_200 }),
          await mailer.enqueue(message, { transaction: client, sandbox: true }),
          await mailer.enqueue(message, { transaction: client, sendAt: Date.now() + hour }),
        ])
        assert.deepEqual([later?.status, boxed?.status, stopped?.status], ['scheduled', 'sandboxed', 'scheduled'])
        assert.equal((await mailer.cancel(stopped!.id)).status, 'cancelled')
        assert.equal((await mailer.messages.get(boxed!.id))?.status, 'sandboxed')
        await until('sent', () => provider.calls.length > 0)
        assert.deepEqual(
          provider.calls.map(({ message: { subject } }) => subject),
          ['later'],
        )
      })
    })
  }

  test('P7: the same key twice in one transaction is one message; a change of it is a mismatch', async (t) => {
    const { provider, mailer: newMailer, worker, transaction } = shop(t, 'none')
    const mailer = newMailer()
    worker()
    const { key } = newOrder()
    await transaction(async (client) => {
      const options = { transaction: client, idempotencyKey: key }
      const first = await mailer.enqueue(message, options)
      const second = await mailer.enqueue(message, options)
      assert.deepEqual([second.id, second.replayed], [first.id, true])
      assert.equal(
        (await rejection(mailer.enqueue({ ...message, text: 'Other' }, options))).code,
        'IDEMPOTENCY_MISMATCH',
      )
    })
    await until('sent', () => provider.calls.length > 0)
    await sleep(500)
    assert.equal(provider.calls.length, 1)
  })

  test('P7: who comes with a key that an open transaction holds is put off, and hears of its message afterwards', async (t) => {
    const { provider, mailer: newMailer, worker, transaction } = shop(t, 'none')
    const mailer = newMailer()
    worker()
    const { key } = newOrder()
    const first = await transaction(async (client) => {
      const queued = await mailer.enqueue(message, { transaction: client, idempotencyKey: key })
      for (const verb of ['enqueue', 'send'] as const) {
        const refused = await rejection(newMailer()[verb](message, { idempotencyKey: key }))
        assert.deepEqual([refused.code, refused.retryable], ['STORE_UNAVAILABLE', true])
      }
      return queued
    })
    const second = await mailer.enqueue(message, { idempotencyKey: key })
    assert.deepEqual([second.id, second.replayed], [first.id, true])
    await until('sent', () => provider.calls.length > 0)
    assert.equal(provider.calls.length, 1)
  })

  test('P4: a refusal leaves the transaction usable; quota that a rolled back one took stays taken', async (t) => {
    const { mailer: newMailer, transaction, orders } = shop(t, 'none')
    const tenant = `shop-${process.pid}`
    const mailer = newMailer({
      tenants: { [tenant]: { route: 'a', from: 'hello@acme.example', limits: { quota: { limit: 2, per: hour } } } },
    }).tenant(tenant)
    const { number, key } = newOrder()
    const undo = transaction(async (client) => {
      await mailer.enqueue(message, { transaction: client })
      throw undone
    })
    await undo.catch(() => {})
    const codes = await transaction(async (client) => {
      await insertOrder(client, number)
      const second = await mailer.enqueue(message, { transaction: client })
      const third = await rejection(mailer.enqueue(message, { transaction: client, idempotencyKey: key }))
      return [second.status, third.code]
    })
    assert.deepEqual(codes, ['queued', 'SEND_LIMIT_EXCEEDED'])
    assert.ok((await orders()).includes(number))
  })

  test('a connection that is lost before COMMIT leaves nothing', async (t) => {
    const { provider, mailer: newMailer, worker, pool } = shop(t, 'pg-boss')
    const mailer = newMailer()
    worker()
    const { key } = newOrder()
    const client = await pool.connect()
    await client.query('BEGIN')
    const { id } = await mailer.enqueue(message, { transaction: client, idempotencyKey: key })
    client.release(true)
    await until('the key is free', async () => {
      const receipt = await mailer.enqueue(message, { idempotencyKey: key }).catch(() => undefined)
      return receipt !== undefined && receipt.id !== id
    })
    await until('the other is sent', () => provider.calls.length > 0)
    await sleep(500)
    assert.equal(provider.calls.length, 1)
    assert.equal(await mailer.messages.get(id), undefined)
  })

  test('BullMQ, which knows nothing of transactions, is told all the same, and not too soon', {
    skip: 'skip' in redis ? redis.skip : false,
  }, async (t) => {
    const { provider, mailer: newMailer, worker, transaction } = shop(t, 'bullmq')
    t.after(() => 'url' in redis && removeKeys(redis.url))
    const mailer = newMailer()
    const working = worker()
    await working.queue.stats()
    const committed = await transaction((client) => mailer.enqueue(message, { transaction: client }))
    const attempt = transaction(async (client) => {
      await mailer.enqueue(message, { transaction: client })
      throw undone
    })
    await attempt.catch(() => {})
    await until('sent', async () => (await mailer.messages.get(committed.id))?.status === 'sent', 10_000)
    await sleep(500)
    assert.equal(provider.calls.length, 1)
  })

  test('what is no transaction, and calls that cannot wait, are refused before anything is written', async (t) => {
    const { mailer: newMailer, transaction, pool } = shop(t, 'none')
    const mailer = newMailer()
    for (const wrong of [pool, {}, 'BEGIN', null, { query: 1 }]) {
      const error = await rejection(mailer.enqueue(message, { transaction: wrong as never }))
      assert.deepEqual([error.code, error.issues[0]?.path], ['VALIDATION_ERROR', 'options.transaction'])
    }
    await transaction(async (client) => {
      for (const call of [
        mailer.send(message, { transaction: client }),
        mailer.plan(message, { transaction: client }),
      ]) {
        const error = await rejection(call as Promise<unknown>)
        assert.deepEqual([error.code, error.issues[0]?.path], ['VALIDATION_ERROR', 'options.transaction'])
      }
      const other = createMailer({ from: 'a@acme.example', providers: { a: scripted() }, store: memory() })
      t.after(() => other.close())
      const error = await rejection(other.enqueue(message, { transaction: client }))
      assert.ok(error instanceof MailError)
      assert.deepEqual([error.code, error.issues[0]?.path], ['UNSUPPORTED_FEATURE', 'options.transaction'])
    })
  })
})
