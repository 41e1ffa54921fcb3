import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory } from '../../providers/memory.ts'
import { createMailer, failover, type RouteFunction, roundRobin, weighted } from '../../src/index.ts'
import { rejection } from '../support/rejection.ts'
import { fails, scripted } from '../support/scripted-provider.ts'

const from = 'Acme <hello@acme.example>'
const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }

test('round robin gives each provider its turn, whatever was only looked at in between', async () => {
  const providers = { a: memory(), b: memory(), c: memory() }
  const mailer = createMailer({ from, providers, route: roundRobin('a', 'b', 'c') })
  const took: (string | undefined)[] = []
  for (let i = 0; i < 6; i++) {
    const plan = await mailer.plan(message)
    const { provider } = await mailer.send(message)
    assert.equal(plan.provider, provider, 'plan names the provider that is next, and takes no turn')
    took.push(provider)
  }
  assert.deepEqual(took, ['a', 'b', 'c', 'a', 'b', 'c'])
})

test('round robin behind a function takes one turn a message as well', async () => {
  const inTurn = roundRobin('a', 'b')
  const mailer = createMailer({ from, providers: { a: memory(), b: memory() }, route: () => inTurn })
  const took = []
  for (let i = 0; i < 4; i++) took.push((await mailer.send(message)).provider)
  assert.deepEqual(took, ['a', 'b', 'a', 'b'])
})

test('weighted follows its weights and keeps the others as fallbacks', async () => {
  const draws = [0.05, 0, 0.2, 0]
  const a = scripted('a')
  const b = scripted('b')
  const mailer = createMailer({
    from,
    providers: { a, b },
    route: weighted({ a: 1, b: 9 }),
    random: () => draws.shift() ?? 0,
  })
  assert.equal((await mailer.send(message)).provider, 'a')
  b.will(fails('configuration'))
  const receipt = await mailer.send(message)
  assert.deepEqual(
    receipt.attempts.map(({ provider, outcome }) => [provider, outcome]),
    [
      ['b', 'failed'],
      ['a', 'sent'],
    ],
  )
})

test('a route function sees message and tenant, and answers a name, names or a route', async () => {
  const providers = { a: memory(), b: memory() }
  const seen: unknown[] = []
  const route: RouteFunction = (snapshot, facts) => {
    seen.push([snapshot.subject, facts.tenant, facts.stream])
    return snapshot.subject === 'name' ? 'b' : snapshot.subject === 'names' ? ['b', 'a'] : failover('a')
  }
  const mailer = createMailer({ from, providers, tenants: { acme: { from, route } } })
  for (const [subject, provider] of [
    ['name', 'b'],
    ['names', 'b'],
    ['route', 'a'],
  ] as const) {
    assert.equal((await mailer.tenant('acme').send({ ...message, subject })).provider, provider)
  }
  assert.deepEqual(seen.at(-1), ['route', 'acme', 'transactional'])
})

test('P9: a route function that throws or answers nonsense is a MailError, before anything is kept or sent', async () => {
  const a = memory()
  const wrong: unknown[] = [
    () => {
      throw new TypeError('secret@acme.example')
    },
    async () => 'a',
    () => [],
    () => ['a', 'a'],
    () => undefined,
    () => 'nobody',
  ]
  for (const route of wrong) {
    const mailer = createMailer({ from, providers: { a }, route: route as never })
    const error = await rejection(mailer.send(message, { idempotencyKey: 'k' }))
    assert.match(error.code, /^(CONFIGURATION_ERROR|NO_PROVIDER)$/)
    assert.doesNotMatch(JSON.stringify(error), /secret/)
  }
  assert.equal(a.sent().length, 0)
})

test('factories refuse routes that cannot work', () => {
  const providers = { a: memory() }
  const refused = (make: () => unknown) => assert.throws(make, { code: 'CONFIGURATION_ERROR' })
  refused(() => failover())
  refused(() => failover('a', 'a'))
  refused(() => roundRobin())
  for (const weight of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '1' as unknown as number]) {
    refused(() => weighted({ a: weight }))
  }
  refused(() => weighted({}))
  refused(() => createMailer({ providers, route: failover('a', 'b') as never }))
  refused(() => createMailer({ providers, route: 7 as never }))
  refused(() => createMailer({ providers, route: null as never }))
})

test('options.provider and options.route stand for the route of one call', async () => {
  const providers = { a: memory(), b: memory() }
  const mailer = createMailer({ from, providers })
  assert.equal((await mailer.send(message)).provider, 'a')
  assert.equal((await mailer.send(message, { provider: 'b' })).provider, 'b')
  assert.equal((await mailer.send(message, { route: failover('b', 'a') })).provider, 'b')
  assert.equal((await rejection(mailer.send(message, { provider: 'c' as never }))).code, 'NO_PROVIDER')
})
