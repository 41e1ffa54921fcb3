import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { memory } from '../../providers/memory.ts'
import { honestOutcomes } from '../../src/testing/conformance/fault-outcomes.ts'
import { describeProvider } from '../../src/testing/describe-provider.ts'
import type { Fault } from '../../src/testing/scripted-server.ts'
import { deliveryOf } from '../support/delivery.ts'
import { type MemoryServer, memoryServer } from '../support/memory-server.ts'

const outcomeOf = (fault: Fault) => honestOutcomes({ dialect: 'smtp' }, fault).at(-1) ?? 'failed'
const signal = new AbortController().signal

describeProvider('memory', {
  describe,
  it,
  dialect: 'smtp',
  secrets: [],
  server: async () => memoryServer(outcomeOf),
  provider: (server) => (server as MemoryServer).provider,
  skips: {
    partial: {
      reason: 'one plan of failNext ends all its recipients alike',
      async instead() {
        const provider = memory()
        provider.failNext({ outcome: 'rejected', recipients: ['b@example.com'] })
        const to = ['a@example.com', 'b@example.com'].map((address) => ({ address }))
        const answer = await provider.send(deliveryOf({ message: { to } }), { signal, timeout: 1_000 })
        assert.deepEqual(
          answer.recipients?.map(({ address, outcome }) => [address, outcome]),
          [['b@example.com', 'rejected']],
        )
        assert.deepEqual(provider.sent()[0]?.recipients, ['a@example.com'])
      },
    },
    abort: {
      reason: 'it answers at once, so there is no time to abort in',
      async instead() {
        const provider = memory()
        const context = { signal: AbortSignal.abort(), timeout: 1_000 }
        await assert.rejects(provider.send(deliveryOf(), context), { outcome: 'failed', kind: 'aborted' })
        assert.deepEqual(provider.sent(), [])
      },
    },
    verify: {
      reason: 'there is no account that could be wrong',
      async instead() {
        assert.equal(await memory().verify?.({}), undefined)
      },
    },
  },
})
