import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSmtpServer, type ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import { noAccidents } from '../support/accidents.ts'
import { seedOf } from './chance.ts'
import { type Engine, engine, engineNames } from './engines.ts'
import { drain, inTurns, noted, readAll } from './finish.ts'
import { type Ground, open, prepare } from './ground.ts'
import { type Call, violations } from './history.ts'
import { readCalls } from './journal.ts'
import { compileCache, Mortal } from './mortal.ts'
import { takenBy } from './post.ts'
import { type Deployed, deployedCall } from './programs/deploy.ts'
import type { Race } from './programs/one-key.ts'
import { mailerOn, type Servers } from './scenario.ts'

noAccidents()

const seed = seedOf()
const folder = mkdtempSync(join(tmpdir(), 'sendwright-rolling-'))
after(() => rmSync(folder, { recursive: true }))

for (const name of engineNames) {
  const made = await engine(name, folder)
  if ('skip' in made) {
    test(`P7: ${name}`, { skip: made.skip }, () => {})
    continue
  }
  describe(`keys outlive processes and versions on ${name}, SEED=${seed}`, () => {
    after(() => made.close())
    test('P7: a key survives kill -9, a change of provider and the way back', () => rollingDeploy(made))
    test('P2, P7: what is unknown is sent again once, however many processes ask for it', () => resends(made))
  })
}

async function rollingDeploy(made: Engine): Promise<void> {
  const keys = 60
  const ground = await made.newGround()
  await prepare(ground)
  const posts = { old: await createSmtpServer(), new: await createSmtpServer() }
  const journals: string[] = []
  const deploy = (version: 'old' | 'new'): Mortal => {
    const journal = newJournal(`${made.name}-${journals.length}-${version}`)
    journals.push(journal)
    const orders: Deployed = { ground, servers: { [version]: posts[version].url }, journal, keys }
    return new Mortal('deploy.ts', { DEPLOY: JSON.stringify(orders), ...compileCache })
  }
  const sentSoFar = (count: number, mortal: Mortal) =>
    until(() => posts.old.raw.length + posts.new.raw.length >= count, mortal)
  try {
    const first = deploy('old')
    await sentSoFar(10, first)
    const second = deploy('new')
    await sentSoFar(25, first)
    first.kill()
    await first.death
    await sentSoFar(40, second)
    second.kill()
    await second.death
    for (const version of ['new', 'old'] as const) await deploy(version).ended()
    const calls = journals.flatMap((journal, number) => readCalls(journal, `${number}`))
    await judge(ground, { new: posts.new.url }, posts, calls, keys)
  } finally {
    await Promise.all([posts.old.close(), posts.new.close()])
  }
}

async function judge(
  ground: Ground,
  servers: Servers,
  posts: Readonly<Record<string, ScriptedSmtpServer>>,
  calls: readonly Call[],
  keys: number,
): Promise<void> {
  const { store, free } = await open(ground)
  const mailer = mailerOn(store, servers)
  try {
    await drain(mailer)
    const repeats = await inTurns(
      Array.from({ length: keys }, (_, number) => number),
      (number) => {
        const { facts, message, options } = deployedCall(number)
        return noted({ process: 'last', ...facts }, () => mailer[facts.verb](message, { ...options, timeout: 10_000 }))
      },
    )
    await drain(mailer)
    const history = await readAll(mailer, posts, [...calls, ...repeats])
    assert.deepEqual(violations({ ...history, refused: new Set(), storeFailed: false }), [])
    assert.equal(history.taken.length + history.held.length >= keys, true)
    const byOld = repeats.filter(({ receipt }) => receipt?.replayed && receipt.provider === 'old')
    assert.ok(byOld.length > 0, 'the new version answers for what the old one sent')
    assert.ok(repeats.every(({ receipt, error }) => receipt?.replayed || error?.code === 'OUTCOME_UNKNOWN'))
  } finally {
    await mailer.close()
    await free()
  }
}

async function resends(made: Engine): Promise<void> {
  const keys = 20
  const ground = await made.newGround()
  await prepare(ground)
  const silent = await createSmtpServer()
  silent.fail({ at: 'midBody', kind: 'stall', times: keys })
  const well = await createSmtpServer()
  const race = (number: number, server: ScriptedSmtpServer, orders: Pick<Race, 'times' | 'timeout' | 'onUnknown'>) => {
    const journal = newJournal(`${made.name}-race-${number}`)
    const all: Race = { ground, servers: { a: server.url }, journal, number, seed, keys, atOnce: 25, ...orders }
    return { journal, mortal: new Mortal('one-key.ts', { RACE: JSON.stringify(all), ...compileCache }) }
  }
  const { store, free } = await open(ground)
  const mailer = mailerOn(store, { a: well.url })
  try {
    const first = race(0, silent, { times: 1, timeout: 3_000, onUnknown: 'hold' })
    await first.mortal.ready
    first.mortal.tell('go')
    const begun = () => silent.commands.filter((command) => command === 'DATA').length >= keys / 4
    await until(begun, first.mortal)
    first.mortal.kill()
    await first.mortal.death
    await drain(mailer)
    const { items: held } = await mailer.messages.list({ status: 'unknown' })
    assert.ok(held.length >= keys / 4)

    const racers = [1, 2, 3, 4].map((number) => race(number, well, { times: 3, timeout: 10_000, onUnknown: 'resend' }))
    await Promise.all(racers.map(({ mortal }) => mortal.ready))
    for (const { mortal } of racers) mortal.tell('go')
    for (const { mortal } of racers) await mortal.ended()

    const taken = takenBy({ well })
    assert.deepEqual(taken.map(({ key }) => key).sort(), Array.from({ length: keys }, (_, i) => `key-${i}`).sort())
    const ids = new Map(taken.map(({ key, id }) => [key, id]))
    for (const { id, subject } of held) assert.equal(ids.get(subject), id, 'the same message, and no new one')
    for (const { receipt, error, key } of racers.flatMap(({ journal }) => readCalls(journal, ''))) {
      if (receipt) assert.deepEqual([receipt.id, receipt.status], [ids.get(key), 'sent'])
      else assert.equal(error?.code, 'IDEMPOTENCY_IN_PROGRESS')
    }
  } finally {
    await mailer.close()
    await free()
    await Promise.all([silent.close(), well.close()])
  }
}

/** Waits until it is so, or the process is dead. */
async function until(isSo: () => boolean, mortal: Mortal): Promise<void> {
  let dead = false
  void mortal.death.then(() => {
    dead = true
  })
  while (!dead && !isSo()) await sleep(2)
}

function newJournal(name: string): string {
  const path = join(folder, `${name}.jsonl`)
  writeFileSync(path, '')
  return path
}
