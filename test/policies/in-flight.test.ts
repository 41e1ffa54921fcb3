import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createMailer, type MailStore, type Provider, type Window } from '../../src/index.ts'
import { handOverError } from '../../src/provider.ts'
import { memory } from '../../src/stores/memory.ts'
import { type FakeClock, fakeClock } from '../../src/testing/fake-clock.ts'
import { Chance, seedOf } from '../crash/chance.ts'
import { noAccidents } from '../support/accidents.ts'
import { everything } from '../support/scripted-provider.ts'
import { tapped } from '../support/tapped-store.ts'

noAccidents()

const seed = seedOf()
console.log(`SEED=${seed}`)

interface Arrival {
  readonly at: number
  readonly mailboxes: number
}

const pass = (clock: FakeClock, ms: number) => new Promise<void>((resolve) => clock.setTimeout(resolve, ms))

/** What a provider received, and when: somewhere between the call and its answer. */
function slow(clock: FakeClock, chance: Chance, longest: number, fails = 0) {
  const arrivals: Arrival[] = []
  const provider: Provider = {
    name: 'slow',
    capabilities: everything,
    async send({ envelope }, { signal }) {
      await pass(clock, chance.between(0, longest))
      // Who is told to stop hands nothing over any more.
      signal.throwIfAborted()
      if (chance.is(fails)) throw handOverError({ outcome: 'failed', kind: 'transient', reason: 'busy' })
      arrivals.push({ at: clock.monotonic(), mailboxes: envelope.recipients.length })
      await pass(clock, chance.between(0, longest))
      if (chance.is(fails)) throw handOverError({ outcome: 'unknown', kind: 'connection', reason: 'lost' })
      return { providerMessageId: `p-${arrivals.length}` }
    },
    close: async () => {},
  }
  return { provider, arrivals }
}

function fullest(arrivals: readonly Arrival[], per: number): number {
  const sumFrom = ({ at: from }: Arrival) =>
    arrivals.filter(({ at }) => at >= from && at < from + per).reduce((sum, { mailboxes }) => sum + mailboxes, 0)
  return Math.max(0, ...arrivals.map(sumFrom))
}

/** As a store a little way off, each call of which takes some time there and some back. */
const distant = (clock: FakeClock, chance: Chance, store: MailStore): MailStore =>
  tapped(store, {
    before: ({ name }) => (name.startsWith('limits.') ? pass(clock, chance.between(0, 20)) : undefined),
    after: ({ name }) => (name.startsWith('limits.') ? pass(clock, chance.between(0, 20)) : undefined),
  })

describe('a limit of a provider counts what arrives', () => {
  for (const [what, longest] of [
    ['quick', 30],
    ['slow', 700],
    ['longer than the window', 3_000],
  ] as const) {
    test(`P4: never more in any window, by three mailers over one store; hand-overs are ${what} (seed ${seed})`, async () => {
      const chance = new Chance(seed, what)
      const clock = fakeClock()
      const windows: Window[] = [
        { limit: 20, per: 1_000 },
        { limit: 60, per: 5_000 },
      ]
      const { provider, arrivals } = slow(clock, chance, longest, 0.1)
      const store = memory({ clock })
      const mailers = Array.from({ length: 3 }, () =>
        createMailer({
          providers: { slow: provider },
          from: 'a@acme.example',
          store: distant(clock, chance, store),
          clock,
          limits: { providers: { slow: windows }, onLimit: chance.pick(['wait', 'reject'] as const) },
          retry: { rounds: 1 },
        }),
      )
      const ends: Promise<unknown>[] = []
      for (let i = 0; i < 400; i++) {
        const to = Array.from({ length: chance.between(1, 4) }, (_, n) => `${i}-${n}@example.com`)
        ends.push(
          chance
            .pick(mailers)
            .send({ to, subject: `${i}`, text: 'x' }, { timeout: 20_000 })
            .catch(() => {}),
        )
        await clock.advance(chance.is(0.1) ? chance.between(0, 1_500) : chance.between(0, 40))
      }
      for (let i = 0; i < 60; i++) await clock.advance(1_000)
      await Promise.all(ends)
      for (const { limit, per } of windows) {
        const most = fullest(arrivals, per)
        assert.ok(most <= limit, `${most} of ${limit} arrived in ${per} ms`)
      }
      assert.ok(arrivals.length > 40, `only ${arrivals.length} arrived`)
      assert.equal(clock.pending, 0)
      await Promise.all(mailers.map((mailer) => mailer.close()))
    })
  }

  test('P4: what was given back is given back where it counts by then, and once', async () => {
    const clock = fakeClock()
    const store = memory({ clock })
    const windows = [{ limit: 3, per: 10_000 }]
    const provider: Provider = {
      name: 'slow',
      capabilities: everything,
      async send({ envelope: { recipients } }) {
        await pass(clock, 4_900)
        return { recipients: [{ address: recipients[0]!.address, outcome: 'failed' }] }
      },
      close: async () => {},
    }
    const mailer = createMailer({
      providers: { slow: provider },
      from: 'a@acme.example',
      store,
      clock,
      limits: { providers: { slow: windows } },
      retry: { rounds: 1 },
    })
    const sending = mailer.send({ to: ['a@example.com', 'b@example.com', 'c@example.com'], subject: 'x', text: 'x' })
    await clock.advance(4_900)
    await sending
    const used = async () => (await mailer.limits.usage()).map(({ used }) => used)
    assert.deepEqual(await used(), [2])
    await clock.advance(9_000)
    assert.deepEqual(await used(), [2], 'two arrived 9 s ago')
    await clock.advance(1_400)
    assert.deepEqual(await used(), [0])
    await mailer.close()
  })

  test('P4: a part that is given back while the rest moves along is not lost sight of', async () => {
    const clock = fakeClock()
    const windows = [{ limit: 10, per: 1_000 }]
    const arrivals: Arrival[] = []
    const provider: Provider = {
      name: 'slow',
      capabilities: everything,
      async send({ envelope: { recipients } }) {
        await pass(clock, 480)
        arrivals.push({ at: clock.monotonic(), mailboxes: recipients.length - 1 })
        return recipients.length === 1 ? {} : { recipients: [{ address: recipients[0]!.address, outcome: 'failed' }] }
      },
      close: async () => {},
    }
    const mailer = createMailer({
      providers: { slow: provider },
      from: 'a@acme.example',
      store: tapped(memory({ clock }), {
        before: ({ name }) => (name === 'limits.refund' ? pass(clock, 40) : undefined),
      }),
      clock,
      limits: { providers: { slow: windows } },
      retry: { rounds: 1 },
    })
    const ten = Array.from({ length: 10 }, (_, i) => `${i}@example.com`)
    for (let at = 0; at < 4_000; at += 100) {
      mailer.send({ to: ten, subject: 'x', text: 'x' }).catch(() => {})
      await clock.advance(100)
    }
    await clock.advance(5_000)
    assert.ok(arrivals.length >= 2)
    assert.ok(fullest(arrivals, 1_000) <= 10, `${fullest(arrivals, 1_000)} of 10`)
    assert.equal(clock.pending, 0)
    await mailer.close()
  })

  test('S3, P10: a store that cannot move is warned of once, asked seldom, and nothing piles up', async () => {
    const clock = fakeClock()
    let moves = 0
    const mailer = createMailer({
      providers: { slow: slow(clock, new Chance(1, 'failing'), 40).provider },
      from: 'a@acme.example',
      store: tapped(memory({ clock }), {
        before: ({ name }) => {
          if (name !== 'limits.move') return
          moves++
          throw new Error('it has none')
        },
      }),
      clock,
      limits: {
        providers: {
          slow: [
            { limit: 1_000, per: 1_000 },
            { limit: 1_000_000, per: 60_000 },
          ],
        },
      },
    })
    const warnings: string[] = []
    mailer.on('warning', ({ code }) => warnings.push(code))
    for (let i = 0; i < 300; i++) {
      mailer.send({ to: 'a@example.com', subject: `${i}`, text: 'x' }).catch(() => {})
      await clock.advance(100)
    }
    await clock.advance(1_000)
    assert.deepEqual(warnings, ['STORE_UNAVAILABLE'])
    assert.ok(moves < 20, `${moves} tries in half a minute`)
    await clock.advance(120_000)
    assert.equal(clock.pending, 0, 'nothing is left to move')
    await mailer.close()
  })

  test('P4: a mailer that closes leaves in the store when its last mail arrived', async () => {
    const clock = fakeClock()
    const store = memory({ clock })
    const windows = [{ limit: 1, per: 10_000 }]
    const provider: Provider = {
      name: 'slow',
      capabilities: everything,
      async send() {
        await pass(clock, 1_500)
        return { providerMessageId: 'p' }
      },
      close: async () => {},
    }
    const keys: string[] = []
    const mailer = createMailer({
      providers: { slow: provider },
      from: 'a@acme.example',
      store: tapped(store, {
        before: ({ name, args }) => {
          if (name === 'limits.take') keys.push(args[0] as string)
          // What is shared stays open.
          if (name === 'close') throw new Error('shared')
        },
      }),
      clock,
      limits: { providers: { slow: windows } },
    })
    const sending = mailer.send({ to: 'a@example.com', subject: 'x', text: 'x' })
    await clock.advance(1_500)
    await sending
    await mailer.close()
    assert.equal(clock.pending, 0)
    await clock.advance(9_500)
    assert.deepEqual(await store.limits.usage(keys[0]!, windows), [1])
    await clock.advance(1_000)
    assert.deepEqual(await store.limits.usage(keys[0]!, windows), [0])
  })
})
