import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import type { Mailer, SendOptions } from '../../src/index.ts'
import { noAccidents } from '../support/accidents.ts'
import { engineNames, findEngine } from './ground.ts'
import { faulty } from './outage.ts'
import { subjectsAt } from './post.ts'
import { type Ending, ending, type Stage, stageOn, timeout } from './stage.ts'

noAccidents()

const mail = (subject: string) => ({
  to: ['ada@example.com', 'bob@example.com'],
  subject,
  text: 'A secret.',
})
const mailboxes = 2

/** What a caller may do, each with a subject of its own. */
const calls: Readonly<Record<string, (mailer: Mailer, subject: string) => ReturnType<Mailer['send']>>> = {
  send: (mailer, subject) => mailer.send(mail(subject)),
  'send with a key': (mailer, subject) => mailer.send(mail(subject), keyed(subject)),
  enqueue: (mailer, subject) => mailer.enqueue(mail(subject)),
  'enqueue with a key': (mailer, subject) => mailer.enqueue(mail(subject), keyed(subject)),
  'enqueue for later': (mailer, subject) => mailer.enqueue(mail(subject), { sendAt: Date.now() + 300 }),
}
const keyed = (subject: string): SendOptions => ({ idempotencyKey: subject.replaceAll(' ', '-') })

/** INVARIANTS S3, P11: closed, and in our own words. */
function assertUnavailable({ code, error }: Ending, where: string): void {
  assert.equal(code, 'STORE_UNAVAILABLE', `${where}: ${error?.message}`)
  assert.deepEqual([error!.outcome, error!.retryable, error!.cause], [undefined, true, undefined], where)
  assert.doesNotMatch(
    `${inspect(error)} ${JSON.stringify(error)}`,
    /example\.com|secret|127\.0\.0\.1|EVALSHA|SELECT|INSERT|UPDATE/,
  )
}

const used = async ({ mailer }: Stage): Promise<number[]> => (await mailer.limits.usage()).map((one) => one.used)

for (const name of engineNames) {
  const engine = await findEngine(name)
  if ('skip' in engine) {
    test(name, { skip: engine.skip }, () => {})
    continue
  }
  const { outages, close } = await faulty(engine.newGround())
  await close()
  // What is done to a file is done to the whole process.
  describe(`a store that fails: ${name}`, { concurrency: name === 'sqlite' ? 1 : 8 }, () => {
    after(() => engine.close())

    for (const [i, outage] of outages.entries()) {
      test(`S3, P9: it ${outage.name} before the calls: they are refused, nothing is counted, and nothing happens later`, async (t) => {
        const stage = await stageOn(engine.newGround(), { queue: { work: true } })
        t.after(stage.close)
        const { mailer, place, post } = stage
        await mailer.send(mail('before'))
        const { begin, end } = place.outages[i]!
        const began = performance.now()
        await begin(stage.store)
        try {
          const endings = await Promise.all(
            Object.entries(calls).map(async ([what, call]) => [what, await ending(call(mailer, what))] as const),
          )
          for (const [what, one] of endings) assertUnavailable(one, what)
          assert.ok(performance.now() - began < timeout + 8_500, 'a call outlived its time')
        } finally {
          end()
        }
        await stage.well()
        await sleep(700)
        assert.deepEqual(subjectsAt(post), ['before'])
        assert.deepEqual(await used(stage), [mailboxes, mailboxes])

        const again = await Promise.all(Object.entries(calls).map(([what, call]) => ending(call(mailer, what))))
        assert.deepEqual(
          again.map(({ code, receipt }) => [code, receipt?.replayed]),
          [
            ['sent', false],
            ['sent', false],
            ['queued', false],
            ['queued', false],
            ['scheduled', false],
          ],
          inspect(again),
        )
        await stage.rest()
        assert.deepEqual(subjectsAt(post).toSorted(), ['before', ...Object.keys(calls)].toSorted())
        const all = mailboxes * post.raw.length
        assert.deepEqual(await used(stage), [all, all])
      })
    }
  })
}
