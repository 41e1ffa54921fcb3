import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { smtp } from '../../providers/smtp.ts'
import { createMailer, MailError, type Receipt } from '../../src/index.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { Chance } from '../crash/chance.ts'
import { start } from '../support/program.ts'
import { type Ground, open, until } from './ground.ts'
import type { Orders } from './programs/worker.ts'

const first = Number(process.env.SEED ?? Date.now() % 1_000_000)
const kills = Number(process.env.KILLS ?? 4)
/** Kills over one store, before what they left is looked at. */
const mostPerStore = 20

/** Workers are killed under load; what becomes of the messages is the ledger's to answer for, whatever the engine does. */
export function killTests(newGround: () => Ground): void {
  for (let done = 0, seed = first; done < kills; done += mostPerStore, seed++) {
    killTest(newGround, seed, Math.min(mostPerStore, kills - done))
  }
}

function killTest(newGround: () => Ground, seed: number, planned: number): void {
  test(`P1, P2: workers killed with -9 under load: nothing lost, nothing twice (SEED=${seed}, ${planned} kills)`, async (t) => {
    const chance = new Chance(seed, 'kills')
    const ground = newGround()
    const post = await createSmtpServer()
    t.after(() => post.close())
    const { store, engine, free } = await open(ground)
    const options = { from: 'Acme <hello@acme.example>', providers: { relay: smtp({ url: post.url }) }, timeout: 1_000 }
    const sender = createMailer({ ...options, store, queue: { engine, work: false } })
    t.after(async () => {
      await sender.close({ deadline: 0 })
      await free()
    })
    const accepted: Receipt[] = []
    let calls = 0
    let refused = 0
    let loading = true
    const load = async () => {
      while (loading) {
        const subject = `message ${++calls}`
        const sendAt = chance.is(0.2) ? { sendAt: Date.now() + chance.between(50, 1_000) } : {}
        const priority = chance.between(-10, 11)
        const message = { to: 'ada@example.com', subject, text: 'Hello' }
        try {
          accepted.push(await sender.enqueue(message, { ...sendAt, priority }))
        } catch (error) {
          // A machine under load may take longer than a call has; then nobody was promised anything.
          if (!(error instanceof MailError)) throw error
          refused++
        }
        await sleep(chance.between(0, 6))
      }
    }
    const ORDERS = JSON.stringify({ ground, smtpUrl: post.url } satisfies Orders)
    const newWorker = () => start(t, 'test/queues/programs/worker.ts', { ORDERS })
    const workers = [newWorker(), newWorker()]
    const loads = Promise.all([load(), load(), load()])
    let kills = 0
    for (let slot = 0; kills < planned; slot = 1 - slot) {
      const worker = workers[slot]!
      await worker.printed(/ready/)
      await sleep(chance.between(100, 700))
      worker.child.kill('SIGKILL')
      await worker.ended
      kills++
      if (kills < planned) workers[slot] = newWorker()
    }
    loading = false
    await loads
    for (const { child } of workers) child.kill('SIGKILL')
    await Promise.all(workers.map(({ ended }) => ended))

    const last = await open(ground)
    // Without the engine: what the ledger alone still knows must do.
    const finisher = createMailer({ ...options, store: last.store, queue: { work: true, concurrency: 20 } })
    t.after(async () => {
      await finisher.close({ deadline: 0 })
      await last.free()
    })
    const statuses = new Map<string, string | undefined>()
    await until(
      'everything settled',
      async () => {
        for (const { id } of accepted) {
          if (['sent', 'unknown'].includes(statuses.get(id) ?? '')) continue
          statuses.set(id, (await finisher.messages.get(id))?.status)
        }
        return [...statuses.values()].every((status) => status === 'sent' || status === 'unknown')
      },
      60_000,
    )
    const taken = Map.groupBy(await post.accepted(), ({ subject }) => subject)
    const of = (status: string) => accepted.filter(({ id }) => statuses.get(id) === status)
    const doubled = [...taken].filter(([, mails]) => mails.length > 1)
    const lost = of('sent').filter(({ subject }) => !taken.has(subject))
    t.diagnostic(`${accepted.length} accepted, ${refused} refused, ${kills} kills, ${of('unknown').length} unknown`)
    assert.deepEqual(doubled, [])
    assert.deepEqual(lost, [])
    assert.ok(of('sent').length > accepted.length / 2)
    assert.ok(of('unknown').length <= 5 * (kills + 2), 'only what was being handed over')
  })
}
