import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { MailStore, Row } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { seedOf } from './chance.ts'
import { runCycles } from './cycles.ts'
import { servedEngine } from './engines.ts'
import type { Kind } from './history.ts'

const seed = seedOf()

/** A store of which one promise is broken, and what must be found then. */
const broken: readonly (readonly [string, Kind, (store: MailStore) => Partial<MailStore>])[] = [
  [
    'forgets that a hand-over begins',
    'doubled',
    (store) => ({
      renew: async (row, fence, leaseMs, look) => {
        const { attempts } = row
        return store.renew({ ...row, attempts: attempts.slice(0, -1), status: 'queued' }, fence, leaseMs, look)
      },
    }),
  ],
  [
    'lets two have the same key',
    'two effects',
    (store) => ({ claim: (row, options) => store.claim(withoutKey(row), options) }),
  ],
  [
    'promises what it does not keep',
    'lost',
    (store) => ({
      settle: (row, fence, options) =>
        store.settle(row, fence, { ...options, remove: row.status === 'queued' || options?.remove === true }),
    }),
  ],
  [
    'forgets how a hand-over ended',
    'lost',
    (store) => ({ settle: (row, fence, options) => row.status === 'sent' || store.settle(row, fence, options) }),
  ],
]

const replaced = (store: MailStore, verbs: Partial<MailStore>): MailStore =>
  new Proxy(store, {
    get(_, name) {
      const value: unknown = Reflect.get(verbs, name) ?? Reflect.get(store, name)
      return typeof value === 'function' ? value.bind(store) : value
    },
  })

const withoutKey = ({ key: _, ...row }: Row): Row => row

describe(`what the same run finds when a store is broken (X3), SEED=${seed}`, { concurrency: true }, () => {
  for (const [fault, kind, breaking] of broken) {
    test(`one that ${fault}: ${kind}`, async () => {
      const made = servedEngine('broken', () => {
        const store = memory()
        return replaced(store, breaking(store))
      })
      try {
        const kinds = new Set<Kind>()
        // Whether anybody dies where it matters is chance.
        for (let more = 0; more < 5 && !kinds.has(kind); more++) {
          const { found } = await runCycles({ engine: made, seed: seed + more, cycles: 8, patience: 6_000 })
          for (const violation of found) kinds.add(violation.kind)
        }
        assert.ok(kinds.has(kind), `${kind} is not among ${[...kinds].join(', ') || 'no violations'} (SEED=${seed})`)
      } finally {
        await made.close()
      }
    })
  }
})
