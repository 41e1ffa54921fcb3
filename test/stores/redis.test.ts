import { after, before, describe, it } from 'node:test'
import { Redis } from 'ioredis'
import { Redis as Valkey } from 'iovalkey'
import { createClient } from 'redis'
import { redis } from '../../src/stores/redis.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { findRedis, removeKeys, runPrefix } from '../support/redis-server.ts'

const server = await findRedis()
let made = 0
const nextPrefix = () => `${runPrefix}-${++made}`

if ('skip' in server) {
  it('redis', { skip: server.skip }, () => {})
} else {
  const { url } = server
  const nodeRedis = createClient({ url }).on('error', () => {})
  const ioredis = new Redis(url, { lazyConnect: true }).on('error', () => {})
  const iovalkey = new Valkey(url, { lazyConnect: true }).on('error', () => {})
  before(() => nodeRedis.connect())
  after(async () => {
    await removeKeys(url)
    nodeRedis.destroy()
    ioredis.disconnect()
    iovalkey.disconnect()
    await server.stop()
  })
  for (const [name, client] of Object.entries({ 'node-redis': nodeRedis, ioredis, iovalkey })) {
    describeStore(
      `redis over ${name}`,
      () => {
        const clock = fakeClock()
        return {
          store: redis({ client, prefix: nextPrefix(), clock }),
          now: clock.now,
          advance: clock.advance,
          step: clock.step,
        }
      },
      { describe, it },
    )
  }
}
