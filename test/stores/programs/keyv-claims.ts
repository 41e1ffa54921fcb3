/**
 * Claims one key many times at once through a Keyv: `node keyv-claims.ts <adapter> <version> <address> <namespace> <key>`. Prints
 * `ready`, waits for a line, and prints how many of 500 claims were won; then it ends by itself.
 */
import { once } from 'node:events'
import { keyvStore } from '../../../src/stores/keyv.ts'
import { rowOf } from '../../../src/testing/stores/samples.ts'
import { type AdapterName, adapters, type VersionName, versions } from '../../support/keyv-adapters.ts'

const [adapter, version, address, namespace, key] = process.argv.slice(2) as [
  AdapterName,
  VersionName,
  string,
  string,
  string,
]
const keyv = versions[version](adapters[adapter](address), namespace)
const store = keyvStore(keyv)
await store.read('msg_none')
console.log('ready')
await once(process.stdin, 'data')
process.stdin.destroy()
const lease = { owner: String(process.pid), ms: 40_000 }
const claims = await Promise.allSettled(
  Array.from({ length: 500 }, (_, i) => store.claim(rowOf({ id: `msg_${process.pid}_${i}`, key }), { lease })),
)
// One may find a server too busy; then it has claimed nothing.
const states = claims.map((claim) => (claim.status === 'fulfilled' ? claim.value.state : claim.reason.code))
if (states.some((state) => !['claimed', 'held', 'STORE_UNAVAILABLE'].includes(state))) throw new Error(String(states))
console.log(`won ${states.filter((state) => state === 'claimed').length}`)
await store.close()
await keyv.disconnect()
