import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Cluster } from 'ioredis'
import { createCluster } from 'redis'
import { type RedisClient, redis } from '../../src/stores/redis.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { type OwnCluster, startCluster } from '../support/redis-cluster.ts'
import { hasRedisServer } from '../support/redis-server.ts'

if (!hasRedisServer()) it('redis on a cluster', { skip: 'install redis-server' }, () => {})
else {
  let cluster: OwnCluster
  let prefixes = 0
  const drivers: Record<string, { client: RedisClient; end(): unknown }> = {}
  before(async () => {
    cluster = await startCluster()
    const nodes = cluster.ports.map((port) => ({ host: '127.0.0.1', port }))
    const nodeRedis = createCluster({ rootNodes: cluster.ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })) })
    nodeRedis.on('error', () => {})
    await nodeRedis.connect()
    const ioredis = new Cluster(nodes).on('error', () => {})
    drivers['node-redis'] = { client: nodeRedis, end: () => nodeRedis.destroy() }
    drivers.ioredis = { client: ioredis, end: () => ioredis.disconnect() }
  })
  after(async () => {
    for (const { end } of Object.values(drivers)) await end()
    await cluster.stop()
  })

  for (const name of ['node-redis', 'ioredis']) {
    describeStore(
      `redis on a cluster over ${name}`,
      () => {
        const clock = fakeClock()
        const { client } = drivers[name]!
        const store = redis({ client, prefix: `p${++prefixes}`, clock })
        return { store, now: clock.now, advance: clock.advance, step: clock.step }
      },
      { describe, it },
    )
  }

  describe('a cluster', () => {
    it('prefixes spread over its nodes', async () => {
      const { client } = drivers['node-redis']!
      const nodes = client as ReturnType<typeof createCluster>
      const masters = new Set<string>()
      for (let i = 1; i <= prefixes; i++) {
        const { slots } = nodes
        const slot = await nodes.sendCommand<number>(undefined, true, ['CLUSTER', 'KEYSLOT', `{p${i}}:version`])
        masters.add(slots[slot]!.master.id)
      }
      assert.equal(masters.size, 3)
    })
  })
}
