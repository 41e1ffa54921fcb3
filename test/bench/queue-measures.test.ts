import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { findRedis } from '../support/redis-server.ts'
import { measured } from './measured.ts'

const redis = await findRedis()
after(async () => {
  if (!('skip' in redis)) await redis.stop()
})
const withRedis = 'skip' in redis ? { skip: redis.skip } : {}

describe('the queue is measured, each little', { concurrency: 4 }, () => {
  for (const [contestant, options] of [
    ['sqlite', {}],
    ['bullmq', withRedis],
  ] as const) {
    test(`what is enqueued and worked off: ${contestant}`, options, async (t) => {
      const facts = await measured(t, 'queue-rates.ts', contestant, '20')
      assert.deepEqual(Object.keys(facts), ['enqueued', 'enqueueCpu', 'worked', 'workCpu'])
      assert.ok(Object.values(facts).every((value) => value > 0))
    })
  }

  test('how long a message waits alone, and in a crowd until that is gone', async (t) => {
    assert.equal((await measured(t, 'queue-fairness.ts', 'memory', 'alone', '0', '3')).samples, 3)
    assert.deepEqual(Object.keys(await measured(t, 'queue-fairness.ts', 'sqlite', 'crowded', '50', '3')), [
      'p50',
      'p95',
      'samples',
    ])
  })

  test('what a waiting message takes', async (t) => {
    assert.deepEqual(Object.keys(await measured(t, 'queue-memory.ts', 'memory', '50')), ['bytes'])
  })

  test('very many messages, each sent', async (t) => {
    const facts = await measured(t, 'million.ts', '40')
    assert.deepEqual(Object.keys(facts), ['rate', 'cpu', 'first', 'second', 'third', 'last', 'peak'])
  })
})
