import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { Receipt } from '../../src/index.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { noAccidents } from '../support/accidents.ts'
import { seedOf } from './chance.ts'
import { type Engine, engine, engineNames } from './engines.ts'
import { prepare } from './ground.ts'
import type { Call } from './history.ts'
import { readCalls } from './journal.ts'
import { compileCache, Mortal } from './mortal.ts'
import { takenBy } from './post.ts'
import type { Race } from './programs/one-key.ts'

noAccidents()

const seed = seedOf()
const processes = 4
const keys = 300
const atOnce = 25
const once = { times: 1, timeout: 30_000, onUnknown: 'hold' } as const
const folder = mkdtempSync(join(tmpdir(), 'sendwright-one-key-'))
after(() => rmSync(folder, { recursive: true }))

describe(`one key, one mail between processes (P7, D4), SEED=${seed}`, () => {
  for (const name of engineNames) {
    test(`${processes} processes send the same ${keys} keys, ${atOnce} at a time, on ${name}`, async (t) => {
      const made = await engine(name, folder)
      if ('skip' in made) return t.skip(made.skip)
      try {
        await race(made)
      } finally {
        await made.close()
      }
    })
  }
})

async function race(made: Engine): Promise<void> {
  const server = await createSmtpServer()
  try {
    const ground = await made.newGround()
    await prepare(ground)
    const runs = Array.from({ length: processes }, (_, number) => {
      const journal = join(folder, `${made.name}-${number}.jsonl`)
      writeFileSync(journal, '')
      const orders: Race = { ground, servers: { a: server.url }, journal, number, seed, keys, atOnce, ...once }
      return { journal, mortal: new Mortal('one-key.ts', { RACE: JSON.stringify(orders), ...compileCache }) }
    })
    await Promise.all(runs.map(({ mortal }) => mortal.ready))
    for (const { mortal } of runs) mortal.tell('go')
    for (const { mortal } of runs) await mortal.ended()

    const calls = runs.flatMap(({ journal }, number) => readCalls(journal, `${number}`))
    assert.equal(calls.length, processes * keys)
    const taken = takenBy({ a: server })
    assert.equal(taken.length, keys)
    assert.equal(new Set(taken.map(({ key }) => key)).size, keys)
    for (const [key, own] of Map.groupBy(calls, (call) => call.key!)) {
      sameReceipts(own, `${key} on ${made.name}, SEED=${seed}`)
      assert.equal(own.find(({ receipt }) => receipt)?.receipt?.id, taken.find((one) => one.key === key)?.id)
    }
  } finally {
    await server.close()
  }
}

/** One call sent it; all others say the same, or that the first has not finished. */
function sameReceipts(calls: readonly Call[], where: string): void {
  const receipts = calls.flatMap(({ receipt }) => receipt ?? [])
  const firsts = receipts.filter(({ replayed }) => !replayed)
  assert.equal(firsts.length, 1, where)
  const facts = ({ replayed: _, ...rest }: Receipt) => rest
  for (const receipt of receipts) assert.deepEqual(facts(receipt), facts(firsts[0]!), where)
  for (const { receipt, error } of calls) if (!receipt) assert.equal(error?.code, 'IDEMPOTENCY_IN_PROGRESS', where)
}
