import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { findPostgres } from '../support/postgres-server.ts'
import { findRedis } from '../support/redis-server.ts'
import { measured } from './measured.ts'

const redis = await findRedis()
const postgres = await findPostgres()
after(async () => {
  for (const found of [redis, postgres]) if (!('skip' in found)) await found.stop()
})
const engines = {
  memory: {},
  sqlite: {},
  redis: 'skip' in redis ? { skip: redis.skip } : {},
  postgres: 'skip' in postgres ? { skip: postgres.skip } : {},
}

describe('the stores are measured, each little', { concurrency: 4 }, () => {
  for (const [engine, options] of Object.entries(engines)) {
    test(`what ${engine} writes`, options, async (t) => {
      for (const contestant of engine === 'memory' ? ['ours'] : ['ours', 'raw']) {
        for (const way of contestant === 'ours' ? ['send', 'queue'] : ['queue']) {
          const facts = await measured(t, 'store-writes.ts', engine, contestant, way, '3', '20')
          assert.deepEqual(Object.keys(facts), ['rate', 'cpu', 'commits'])
          assert.ok(facts.rate! > 0)
        }
      }
    })

    test(`whole sends over ${engine}, its bytes and its round trips`, options, async (t) => {
      assert.deepEqual(Object.keys(await measured(t, 'store-sends.ts', engine, '20')), ['rate', 'cpu'])
      assert.ok((await measured(t, 'store-bytes.ts', engine, 'queue', '300')).json! > 1_500)
      if (engine === 'memory') return
      const { trips } = await measured(t, 'store-trips.ts', engine, 'key', '5')
      assert.equal(trips, 3, 'the claim, the attempt and the end')
      assert.ok((await measured(t, 'store-trips.ts', engine, 'queue', '5')).accept! > 0)
    })
  }
})
