import { createClient } from 'redis'
import { freePort, type OwnRedis, startRedis } from './redis-server.ts'

export interface OwnCluster {
  readonly ports: readonly number[]
  stop(): Promise<void>
}

const slots = 16_384

/** Starts a cluster of three nodes without replicas, on free ports of 127.0.0.1. */
export async function startCluster(): Promise<OwnCluster> {
  const nodes: OwnRedis[] = []
  for (let i = 0; i < 3; i++) {
    const bus = await freePort()
    nodes.push(await startRedis({ settings: ['--cluster-enabled', 'yes', '--cluster-port', `${bus}`] }))
  }
  const stop = async () => {
    for (const node of nodes) await node.stop()
  }
  try {
    const clients = await Promise.all(
      nodes.map(({ url }) =>
        createClient({ url })
          .on('error', () => {})
          .connect(),
      ),
    )
    const [first] = clients
    const bus = async (i: number) => (await clients[i]!.configGet('cluster-port'))['cluster-port']!
    for (const [i, client] of clients.entries()) {
      const share = [Math.ceil((slots * i) / 3), Math.ceil((slots * (i + 1)) / 3) - 1].map(String)
      await client.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', ...share])
      if (i > 0) await first!.sendCommand(['CLUSTER', 'MEET', '127.0.0.1', `${nodes[i]!.port}`, await bus(i)])
    }
    for (const client of clients) await untilWhole(client)
    for (const client of clients) client.destroy()
  } catch (error) {
    await stop()
    throw error
  }
  return { ports: nodes.map(({ port }) => port), stop }
}

async function untilWhole(client: { sendCommand(command: string[]): Promise<unknown> }): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const info = String(await client.sendCommand(['CLUSTER', 'INFO']))
    if (/cluster_state:ok/.test(info) && /cluster_known_nodes:3/.test(info)) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('the Redis cluster did not get ready')
}
