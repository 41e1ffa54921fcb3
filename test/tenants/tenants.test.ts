import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMailer, failover, type Mailer, type MailerOptions, type TenantConfig } from '../../src/index.ts'
import { memory } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { rejection } from '../support/rejection.ts'
import { fails, pending, type ScriptedProvider, scripted } from '../support/scripted-provider.ts'

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }
const from = 'hello@acme.example'

function setUp(options: Partial<MailerOptions>) {
  const clock = fakeClock()
  const root = scripted('root')
  const mailer: Mailer = createMailer({
    from,
    providers: { root },
    clock,
    store: memory({ clock }),
    ...(options as object),
  })
  return { mailer, clock, root }
}

test('nothing is inherited by accident: no providers and no route is NO_PROVIDER, whatever the mailer has', async () => {
  const { mailer, root } = setUp({
    tenants: { empty: { from }, routed: { from, route: 'root' }, nameless: { route: 'root' } },
  })
  assert.equal((await rejection(mailer.tenant('empty').send(message))).code, 'NO_PROVIDER')
  assert.equal((await mailer.tenant('routed').send(message)).provider, 'root')
  assert.equal((await rejection(mailer.tenant('nameless').send(message))).code, 'VALIDATION_ERROR', 'no from either')
  assert.equal(root.calls.length, 1)
})

test('TENANT_REQUIRED, TENANT_NOT_FOUND, TENANT_BLOCKED; names that every object has are no tenants', async () => {
  const { mailer, root } = setUp({
    tenants: { acme: { route: 'root', from }, shut: { route: 'root', from, mode: 'blocked' } },
  })
  assert.equal((await rejection(mailer.send(message))).code, 'TENANT_REQUIRED')
  assert.equal((await rejection(mailer.send(message, { tenant: 'nobody' }))).code, 'TENANT_NOT_FOUND')
  assert.equal((await rejection(mailer.send(message, { tenant: 'constructor' }))).code, 'TENANT_NOT_FOUND')
  assert.equal((await rejection(mailer.send(message, { tenant: '__proto__' }))).code, 'TENANT_NOT_FOUND')
  assert.equal((await rejection(mailer.send(message, { tenant: 'shut' }))).code, 'TENANT_BLOCKED')
  assert.equal((await rejection(mailer.tenant('acme').send(message, { tenant: 'shut' }))).code, 'VALIDATION_ERROR')
  for (const id of ['', 'a b', '../x', 'x'.repeat(65), 7, null]) {
    assert.throws(() => mailer.tenant(id as string), { code: 'VALIDATION_ERROR' })
  }
  assert.equal(root.calls.length, 0)
  const free = setUp({ tenants: { acme: { route: 'root', from } }, requireTenant: false })
  assert.equal((await free.mailer.send(message)).tenant, undefined)
})

test('the `tenants` function is asked once a minute however many call at once, and again when told', async () => {
  let asked = 0
  const { mailer, clock } = setUp({
    tenants: async (id) => {
      asked++
      return id === 'acme' ? { from, route: 'root', version: 1 } : undefined
    },
  })
  await Promise.all(Array.from({ length: 20 }, () => mailer.tenant('acme').send(message)))
  assert.equal(asked, 1)
  await clock.advance(59_000)
  await mailer.tenant('acme').send(message)
  assert.equal(asked, 1)
  await clock.advance(2_000)
  await mailer.tenant('acme').send(message)
  assert.equal(asked, 2)
  mailer.tenants.invalidate('acme')
  await mailer.tenant('acme').send(message)
  assert.equal(asked, 3)
})

test('an answer that was on its way when the config was invalidated is not kept', async () => {
  const answers: ((config: TenantConfig) => void)[] = []
  const { mailer, root, clock } = setUp({
    tenants: () => new Promise<TenantConfig>((resolve) => answers.push(resolve)),
  })
  const call = mailer.tenant('acme').send(message)
  await clock.advance(1)
  mailer.tenants.invalidate('acme')
  answers[0]!({ from: 'old@acme.example', route: 'root' })
  await clock.advance(1)
  answers[1]!({ from: 'new@acme.example', route: 'root' })
  assert.equal((await call).from, 'new@acme.example')
  assert.equal((await mailer.tenant('acme').send(message)).from, 'new@acme.example')
  assert.equal(root.calls.length, 2)
})

test('P9: a `tenants` function that fails is STORE_UNAVAILABLE, one that hangs ends with the call', async () => {
  const { mailer, clock } = setUp({
    tenants: (id) => {
      if (id === 'throws') throw new Error('db://user:secret@host')
      return id === 'rejects' ? Promise.reject(new Error('secret')) : new Promise(() => undefined)
    },
  })
  for (const id of ['throws', 'rejects']) {
    const error = await rejection(mailer.tenant(id).send(message))
    assert.equal(error.code, 'STORE_UNAVAILABLE')
    assert.doesNotMatch(error.message, /secret/)
  }
  const hung = rejection(mailer.tenant('hangs').send(message, { timeout: 2_000 }))
  await clock.advance(2_000)
  assert.equal((await hung).code, 'SEND_FAILED')
  const asked = rejection(mailer.tenant('hangs').send(message))
  await clock.advance(10_000)
  assert.equal((await asked).code, 'STORE_UNAVAILABLE', 'and is asked again, not waited for by all for ever')
  assert.equal(
    (
      await rejection(
        setUp({ tenants: { bad: { route: 'nope', from } } })
          .mailer.tenant('bad')
          .send(message),
      )
    ).code,
    'CONFIGURATION_ERROR',
  )
})

test('1,000 tenants, 50 open: never more, each mail through its own account, all closed in the end', async () => {
  let open = 0
  let most = 0
  const owners = new Map<ScriptedProvider, string>()
  const opened = new Set<ScriptedProvider>()
  const config = (id: string): TenantConfig => {
    const provider = scripted(id)
    owners.set(provider, id)
    provider.will(
      ...Array(3).fill(async () => {
        if (!opened.has(provider)) {
          opened.add(provider)
          open++
          most = Math.max(most, open)
        }
        await new Promise((resolve) => setImmediate(resolve))
        return {}
      }),
    )
    const close = async () => {
      if (opened.delete(provider)) open--
    }
    return { from: `hello@${id}.example`, providers: { own: Object.assign(provider, { close }) } }
  }
  const mailer = createMailer({ providers: {}, tenants: (id) => config(id), openTenants: 50 })
  const ids = Array.from({ length: 1_000 }, (_, i) => `t${i}`)
  for (let round = 0; round < 2; round++) {
    await Promise.all(ids.map((id) => mailer.tenant(id).send({ ...message, subject: `${id}/${round}` })))
  }
  assert.ok(most <= 50, `${most} were open`)
  for (const [provider, id] of owners) {
    assert.deepEqual(
      provider.calls.map(({ tenant, message: { subject } }) => [tenant, subject]),
      [0, 1].map((round) => [id, `${id}/${round}`]),
    )
  }
  await mailer.close()
  assert.equal(open, 0)
})

test('nobody behind the cap starves: waiters of a tenant that is open go on with it', async () => {
  const busy = scripted('busy')
  const late = scripted('late')
  const first = pending()
  const steps = [pending(), pending(), pending()]
  busy.will(first)
  late.will(...steps)
  const { mailer, clock } = setUp({
    tenants: { one: { from, providers: { busy } }, two: { from, providers: { late } } },
    openTenants: 1,
  })
  const calls = [mailer.tenant('one').send(message), ...steps.map(() => mailer.tenant('two').send(message))]
  await clock.advance(10)
  assert.equal(late.calls.length, 0)
  first.answer()
  await clock.advance(10)
  assert.equal(late.calls.length, 3)
  for (const step of steps) step.answer()
  await Promise.all(calls)
})

test('a call that waits for a place ends with its signal, and leaves without a hand-over', async () => {
  const busy = scripted('busy')
  const late = scripted('late')
  const step = pending()
  busy.will(step)
  const { mailer, clock } = setUp({
    tenants: { one: { from, providers: { busy } }, two: { from, providers: { late } } },
    openTenants: 1,
  })
  const call = mailer.tenant('one').send(message)
  await clock.advance(1)
  const controller = new AbortController()
  const waiting = rejection(mailer.tenant('two').send(message, { signal: controller.signal }))
  await clock.advance(1)
  controller.abort()
  const error = await waiting
  assert.equal(error.code, 'CANCELLED')
  assert.equal(error.receipt?.attempts.length, 0)
  step.answer()
  await call
  assert.equal(late.calls.length, 0)
})

test('credentials rotated in the middle of a batch: nothing in flight is lost, old accounts are closed when idle', async () => {
  let version = 0
  const made: ScriptedProvider[] = []
  const current = () => {
    if (!made[version]) made[version] = scripted(`v${version}`)
    return { from, providers: { own: made[version]! }, version }
  }
  const { mailer, clock } = setUp({ tenants: current })
  const slow = pending()
  current().providers.own.will(slow)
  const results = mailer.tenant('acme').sendBatch(
    Array.from({ length: 60 }, (_, i) => ({ ...message, subject: `${i}` })),
    { concurrency: 3 },
  )
  await made[0]!.called(10)
  version = 1
  mailer.tenants.invalidate('acme')
  await clock.advance(10)
  assert.equal(made[0]!.closes, 0, 'one is still in flight through the old account')
  slow.answer()
  const batch = await results
  assert.equal(batch.sent, 60)
  assert.equal(made[0]!.calls.length + made[1]!.calls.length, 60)
  assert.ok(made[1]!.calls.length > 0)
  assert.equal(made[0]!.closes, 1)
  assert.equal(made[1]!.closes, 0)
})

test('a message that was accepted under the old config opens it for itself only', async () => {
  let version = 0
  const made = [scripted('old'), scripted('new')]
  const { mailer, clock } = setUp({
    tenants: () => ({ from, providers: { own: made[version]! }, version }),
    retry: { base: 10_000 },
    random: () => 0.9,
  })
  made[0]!.will(fails())
  const call = mailer.tenant('acme').send(message)
  await made[0]!.called()
  version = 1
  mailer.tenants.invalidate('acme')
  await mailer.tenant('acme').send(message)
  assert.equal(made[0]!.closes, 1)
  await clock.advance(30_000)
  assert.equal((await call).status, 'sent')
  assert.equal(made[0]!.closes, 2, 'closed again after its last message')
})

test('P8, X8: two tenants with colliding ids, keys and addresses leave the traces each leaves alone', async () => {
  const trace = async (who: readonly string[]) => {
    let made = 0
    const clock = fakeClock()
    const shared = scripted('shared')
    const own: Record<string, ScriptedProvider> = { one: scripted('x'), two: scripted('x') }
    const mailer = createMailer({
      providers: { shared },
      tenants: (id) => ({
        from,
        providers: { x: own[id]! },
        route: failover('x', 'shared'),
        limits: { quota: { limit: 4, per: 60_000 } },
      }),
      clock,
      store: memory({ clock }),
      random: () => 0,
      ids: () => `msg_0${++made}`,
    })
    const traces: Record<string, unknown[]> = {}
    for (const id of who) traces[id] = []
    const note = async (id: string, call: Promise<unknown>) =>
      traces[id]!.push(
        await call.then(
          (value) => JSON.parse(JSON.stringify(value ?? null)),
          ({ code }) => code,
        ),
      )
    const steps: ((id: string) => Promise<unknown>)[] = [
      (id) => mailer.tenant(id).send(message, { idempotencyKey: 'k' }),
      (id) => mailer.tenant(id).send(message, { idempotencyKey: 'k' }),
      (id) => mailer.tenant(id).send({ ...message, text: id }, { idempotencyKey: 'k' }),
      (id) => (id === 'one' ? mailer.tenant(id).suppressions.add({ address: 'bob@example.com' }) : Promise.resolve()),
      (id) => mailer.tenant(id).send({ ...message, to: ['ada@example.com', 'bob@example.com'] }),
      (id) => mailer.tenant(id).suppressions.list(),
      (id) => {
        own[id]!.will(fails('login'))
        return id === 'two' ? mailer.tenant(id).send(message) : Promise.resolve()
      },
      (id) => mailer.tenant(id).send(message),
      (id) => mailer.tenant(id).send(message),
    ]
    for (const step of steps) for (const id of who) await note(id, step(id))
    return traces
  }
  const plain = (value: unknown) => JSON.stringify(value).replaceAll(/msg_0\d+|p-\d+/g, 'id')
  const together = await trace(['one', 'two'])
  assert.equal(plain(together.one), plain((await trace(['one'])).one))
  assert.equal(plain(together.two), plain((await trace(['two'])).two))
})

test('P8: messages and suppressions of one tenant do not exist for another, or for the mailer', async () => {
  const { mailer } = setUp({
    tenants: { one: { from, route: 'root' }, two: { from, route: 'root' } },
    requireTenant: false,
  })
  const { id, messageId, providerMessageId } = await mailer.tenant('one').send(message)
  assert.equal((await mailer.tenant('one').messages.get(id))?.id, id)
  assert.equal((await mailer.messages.get(id, { tenant: 'one' }))?.id, id)
  for (const other of [mailer.tenant('two'), mailer]) {
    assert.equal(await other.messages.get(id), undefined)
    assert.equal(await other.messages.find({ messageId }), undefined)
    assert.equal(await other.messages.find({ providerMessageId: providerMessageId! }), undefined)
  }
  assert.equal(await mailer.tenant('two').messages.get(id, { tenant: 'one' }), undefined)
  await mailer.tenant('one').suppressions.add({ address: 'ada@example.com' })
  assert.deepEqual(await mailer.tenant('two').suppressions.get('ada@example.com'), [])
  assert.equal((await mailer.tenant('two').send(message)).status, 'sent')
  assert.equal((await mailer.send(message)).status, 'sent')
  assert.equal((await rejection(mailer.tenant('one').send(message))).code, 'RECIPIENT_SUPPRESSED')
})

test('a sandboxed tenant sends nothing, and no call can talk it out of that', async () => {
  const { mailer, root } = setUp({ tenants: { toy: { from, route: 'root', mode: 'sandbox' } } })
  for (const sandbox of [undefined, true, false]) {
    const receipt = await mailer.tenant('toy').send(message, sandbox === undefined ? {} : { sandbox })
    assert.equal(receipt.status, 'sandboxed')
  }
  assert.equal(root.calls.length, 0)
})
