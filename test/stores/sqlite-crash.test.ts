import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { sqlite } from '../../src/stores/sqlite.ts'
import { randomFrom } from '../../src/testing/stores/samples.ts'
import { start } from '../support/program.ts'
import { checkSqliteData } from '../support/sqlite-data.ts'
import { newDatabase } from '../support/sqlite-files.ts'

const seed = Number(process.env.SEED) || Date.now() % 1_000_000
const cycles = Math.min(Number(process.env.CYCLES) || 4, 200)
const writers = 2

describe(`sqlite, whoever dies when (SEED=${seed})`, () => {
  it(`P1 D2: what was acknowledged is there after kill -9, and the file is whole, ${cycles} times`, async (t) => {
    const path = newDatabase()
    const random = randomFrom(seed)
    const acknowledged = new Map<string, 'claimed' | 'settled'>()
    for (let cycle = 0; cycle < cycles; cycle++) {
      for (const [id, how] of await killedWriters(t, path, cycle, random)) acknowledged.set(id, how)
      // The next writer would also find what these left, but not as closely.
      const store = sqlite(path)
      for (const [id, how] of acknowledged) {
        const row = await store.read(id)
        assert.ok(row, `${id} was ${how} and is gone, cycle ${cycle}`)
        if (how === 'settled') assert.equal(row.status, 'sent')
        assert.ok(row.status !== 'dispatching' || row.work)
      }
      await store.close()
      checkSqliteData(path)
    }
    assert.ok(acknowledged.size > cycles)
  })
})

/** What writers acknowledged that were killed at some moment after they had begun. */
async function killedWriters(t: TestContext, path: string, cycle: number, random: (below: number) => number) {
  const programs = Array.from({ length: writers }, (_, i) =>
    start(t, 'test/stores/programs/sqlite-writer.ts', {}, [path, `c${cycle}w${i}`, String(1 + random(40))]),
  )
  await Promise.all(programs.map((one) => one.printed(/settled/)))
  for (const { child } of programs) {
    await sleep(random(150))
    child.kill('SIGKILL')
  }
  await Promise.all(programs.map(({ ended }) => ended))
  assert.deepEqual(
    programs.map(({ err }) => err.replaceAll(/.*(ExperimentalWarning|--trace-warnings).*\n/g, '')),
    programs.map(() => ''),
  )
  const lines = programs.flatMap(({ out }) => out.split('\n'))
  return lines.flatMap((line) => {
    const [, how, id] = /^(claimed|settled) (\S+)$/.exec(line) ?? []
    return id === undefined ? [] : [[id, how as 'claimed' | 'settled'] as const]
  })
}

const strace = spawnSync('strace', ['-V']).status === 0
const skip = strace ? false : 'strace is not installed: apt-get install strace'

describe('X2 D3: an accept waits for the disk', { skip }, () => {
  const count = 64

  it('each of them for a flush of its own, when it comes alone, and many share few', () => {
    const events = traced('power-loss')
    const alone = between(events, 'begin', 'together')
    for (let i = 0, flushed = false; i < alone.length; i++) {
      if (alone[i] === 'one') assert.ok(flushed, 'nothing is acknowledged before a flush since the one before')
      flushed = alone[i] === 'flush'
    }
    assert.equal(alone.filter((event) => event === 'one').length, count)
    const together = between(events, 'together', 'end')
    assert.equal(together[0], 'flush', 'nothing is acknowledged before')
    const flushes = together.filter((event) => event === 'flush').length
    assert.ok(flushes <= count / 8, `${flushes} flushes for ${count} accepts`)
    assert.equal(together.filter((event) => event === 'many').length, count)
  })

  it('and for none with the lesser durability, as its guarantees say', () => {
    const events = between(traced('process-crash'), 'begin', 'end')
    assert.deepEqual(new Set(events), new Set(['one', 'together', 'many']))
  })

  type Event = 'flush' | 'begin' | 'one' | 'together' | 'many' | 'end'

  /** Flushes that ended and marks, in the order they came. */
  function traced(durability: string): Event[] {
    const log = newDatabase('trace')
    const program = 'test/stores/programs/sqlite-accepts.ts'
    const { status, stderr } = spawnSync(
      'strace',
      [
        '-f',
        '-o',
        log,
        '-e',
        'trace=fsync,fdatasync,write',
        process.execPath,
        program,
        newDatabase(),
        durability,
        `${count}`,
      ],
      { encoding: 'utf8' },
    )
    assert.equal(status, 0, stderr)
    return readFileSync(log, 'utf8')
      .split('\n')
      .flatMap((line): Event[] => {
        const [, mark] = /write\(1, "MARK-(\w+)/.exec(line) ?? []
        if (mark !== undefined) return [mark as Event]
        return /(fsync|fdatasync)(\(| resumed).*= 0$/.test(line) ? ['flush'] : []
      })
  }

  const between = (events: readonly Event[], from: Event, to: Event) =>
    events.slice(events.indexOf(from) + 1, events.indexOf(to))
})
