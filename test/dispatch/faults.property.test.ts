import assert from 'node:assert/strict'
import { test } from 'node:test'
import { smtp } from '../../providers/smtp.ts'
import { createMailer, failover, MailError, type Receipt } from '../../src/index.ts'
import type { FaultKind, FaultPoint } from '../../src/testing/scripted-server.ts'
import { createSmtpServer, type ScriptedSmtpServer } from '../../src/testing/smtp-server.ts'
import { disposeAfterTest } from '../support/disposal.ts'

const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 1e9))
const waves = Number(process.env.WAVES ?? 12)

/** Small, seeded, good enough to vary tests (mulberry32). */
function randomFrom(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), 1 | state)
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits
    return ((bits ^ (bits >>> 14)) >>> 0) / 4_294_967_296
  }
}

const random = randomFrom(seed)
const below = (count: number) => Math.floor(random() * count)
const pick = <T>(list: readonly T[]): T => list[below(list.length)]!

const people = ['ada', 'bob', 'eve', 'joe'].map((name) => `${name}@example.com`)
const points: readonly FaultPoint[] = [
  'connect',
  'greeting',
  'hello',
  'sender',
  'envelope',
  'data',
  'midBody',
  'afterBody',
  'midAnswer',
]
const kinds: readonly FaultKind[] = ['refuse', 'reset', 'close', 'garbage', '4xx', '5xx', 'throttle', 'stall']
const cuts: readonly FaultKind[] = ['reset', 'close', 'stall']

function addFault(server: ScriptedSmtpServer, script: string[]): void {
  const at = pick(points)
  const kind = at === 'connect' || at === 'midAnswer' ? pick(cuts) : pick(kinds)
  const recipient = at === 'envelope' && random() < 0.8 ? pick(people) : undefined
  const times = 1 + below(2)
  server.fail({ at, kind, times, ...(recipient === undefined ? {} : { recipient }) })
  script.push(`${at} ${kind} x${times} ${recipient ?? ''}`)
}

/** What the server's log says: how often each mailbox got each message. */
function count(server: ScriptedSmtpServer, into: Map<string, number>): void {
  for (const { raw, recipients } of server.raw) {
    const id = /^message-id:\s*<(msg_[^@]+)@/im.exec(Buffer.from(raw).toString('latin1'))?.[1]
    for (const address of recipients) into.set(`${id} ${address}`, (into.get(`${id} ${address}`) ?? 0) + 1)
  }
}

test(`P1, P2, O5: over random faults every message settles, no mailbox gets one twice, and records agree with the servers (SEED=${seed})`, async () => {
  const main = await createSmtpServer()
  disposeAfterTest(main)
  const backup = await createSmtpServer()
  disposeAfterTest(backup)
  const quick = { connection: 400, greeting: 400, socket: 400 }
  // A machine that stands still for a while must not look like a provider that failed.
  const patient = { connection: 600_000, greeting: 600_000, socket: 600_000 }
  let moved = 0
  for (let wave = 0; wave < waves; wave++) {
    main.reset()
    backup.reset()
    const script: string[] = []
    const backupIsWell = random() < 0.5
    for (let i = 0; i < 1 + below(8); i++) addFault(main, script)
    for (let i = 0; i < 4 && !backupIsWell; i++) addFault(backup, script)
    const mailer = createMailer({
      from: 'hello@acme.example',
      providers: {
        main: smtp({ url: main.url, pool: false, timeouts: quick }),
        backup: smtp({ url: backup.url, pool: false, timeouts: backupIsWell ? patient : quick }),
      },
      route: failover('main', 'backup'),
      random,
      timeout: 600_000,
      retry: { base: 5, rounds: 3, schedule: [5, 5] },
    })
    const settled = new Map<string, PromiseWithResolvers<void>>()
    const settledOf = (id: string) => {
      const waiting = settled.get(id) ?? Promise.withResolvers<void>()
      settled.set(id, waiting)
      return waiting
    }
    mailer.on('settled', ({ id }) => settledOf(id).resolve())
    const records: Receipt[] = []
    const sendOne = async (i: number): Promise<void> => {
      const to = people.filter(() => random() < 0.5)
      const message = { to: to.length > 0 ? to : people[0]!, subject: `${wave}/${i}`, text: 'x'.repeat(below(3_000)) }
      const queued = random() < 0.3
      const call = () => mailer[queued ? 'enqueue' : 'send'](message, { idempotencyKey: `${wave}-${i}` })
      const end = await call().catch((error: unknown) => error)
      // Whoever is not sure asks again: with the same key that must never make a second mail.
      if (random() < 0.3) await call().catch(() => undefined)
      const id = end instanceof MailError ? end.id : (end as Receipt).id
      assert.ok(id !== undefined, String(end))
      await settledOf(id).promise
      const record = await mailer.messages.get(id)
      assert.ok(record)
      records.push(record)
    }
    await Promise.all(Array.from({ length: 6 }, (_, i) => sendOne(i)))
    await mailer.close()
    const truth = new Map<string, number>()
    count(main, truth)
    count(backup, truth)
    const story = () => `SEED=${seed} wave ${wave}: ${script.join('; ')}`
    for (const [who, times] of truth) assert.equal(times, 1, `${who.split(' ')[0]} taken ${times} times; ${story()}`)
    for (const { id, recipients, attempts, status } of records) {
      for (const recipient of recipients) {
        const taken = truth.get(`${id} ${recipient.address}`) ?? 0
        const where = `${recipient.status} ${attempts.map(({ provider, outcome, code }) => `${provider}:${outcome}:${code}`)}; ${story()}`
        if (recipient.status === 'sent') assert.equal(taken, 1, where)
        else if (recipient.status !== 'unknown') assert.equal(taken, 0, where)

        if (backupIsWell) assert.notEqual(recipient.status, 'failed', `never reached the backup: ${where}`)
      }
      if (attempts.some(({ outcome }) => outcome === 'failed') && status === 'sent') moved++
    }
  }
  assert.ok(moved > 0, `the faults met nobody (SEED=${seed})`)
})
