import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory as memoryProvider } from '../providers/memory.ts'
import { smtp } from '../providers/smtp.ts'
import { Deadline } from '../src/deadline.ts'
import { createMailer, MailError, type MailerOptions, type Policy } from '../src/index.ts'
import { memory } from '../src/stores/memory.ts'
import { fakeClock } from '../src/testing/fake-clock.ts'
import { createSmtpServer } from '../src/testing/smtp-server.ts'
import { disposeAfterTest } from './support/disposal.ts'
import { rejection } from './support/rejection.ts'
import { fails, pending, type ScriptedProvider, scripted } from './support/scripted-provider.ts'
import { tapped } from './support/tapped-store.ts'

/** A signal that counts its listeners. */
function counted() {
  const { signal } = new AbortController()
  const counts = { added: 0, live: 0 }
  const { addEventListener, removeEventListener } = signal
  Object.assign(signal, {
    addEventListener(...args: Parameters<typeof addEventListener>) {
      counts.added++
      counts.live++
      addEventListener.apply(signal, args)
    },
    removeEventListener(...args: Parameters<typeof removeEventListener>) {
      counts.live--
      removeEventListener.apply(signal, args)
    },
  })
  return { signal, counts }
}

const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }

function setUp(options: Partial<MailerOptions> = {}, a: ScriptedProvider = scripted('a')) {
  const clock = fakeClock()
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a },
    clock,
    store: memory({ clock }),
    random: () => 0.9,
    ...(options as object),
  })
  return { mailer, clock, a }
}

test('close right after the first call waits for it, and refuses the next one', async () => {
  const { mailer, a } = setUp()
  const [first, second] = [mailer.send(message), mailer.close().then(() => mailer.send(message))]
  const refused = mailer.send(message)
  assert.equal((await rejection(refused)).code, 'CLOSED')
  assert.equal((await first).status, 'sent')
  assert.equal((await rejection(second)).code, 'CLOSED')
  assert.equal(a.calls.length, 1)
})

test('close lets what is under way finish, then frees the provider; a second close answers the same manifest', async () => {
  const { mailer, clock, a } = setUp()
  const slow = pending()
  a.will(slow)
  const call = mailer.send(message)
  await a.called()
  const closing = mailer.close()
  const again = mailer.close({ deadline: 0 })
  await clock.advance(10_000)
  assert.equal(a.closes, 0)
  slow.answer()
  assert.deepEqual(await closing, { settled: 1, unknown: [], pending: [] })
  assert.equal(await again, await closing)
  assert.equal((await call).status, 'sent')
  assert.equal(a.closes, 1)
  assert.equal(clock.pending, 0)
})

test('P9: after close everything is refused with CLOSED, and nothing reaches provider or store', async () => {
  const { mailer, a } = setUp()
  await mailer.close()
  const calls = {
    send: () => mailer.send(message),
    enqueue: () => mailer.enqueue(message),
    plan: () => mailer.plan(message),
    cancel: () => mailer.cancel('msg_1'),
    get: () => mailer.messages.get('msg_1'),
    suppress: () => mailer.suppressions.add({ address: 'ada@example.com' }),
    verify: () => mailer.verify(),
    work: async () => mailer.work(),
  }
  for (const [name, call] of Object.entries(calls)) assert.equal((await rejection(call())).code, 'CLOSED', name)
  const batch = await mailer.sendBatch([message])
  assert.equal(batch.results[0]?.error?.code, 'CLOSED')
  const merge = await mailer.sendMerge({ subject: 'Hi', text: 'x' }, [{ to: 'ada@example.com' }])
  assert.equal(merge.results[0]?.error?.code, 'CLOSED')
  assert.equal(a.calls.length, 0)
})

test('close at every phase of a send: it settles with the right code, and nothing leaves after the manifest', async () => {
  const gates = { accept: Promise.withResolvers<void>(), dispatch: Promise.withResolvers<void>() }
  const gate =
    (at: 'accept' | 'dispatch'): Policy =>
    (next) =>
    async (delivery) => {
      await gates[at].promise
      return next(delivery)
    }
  const phases: Record<
    string,
    { options: Partial<MailerOptions>; plan?: (a: ScriptedProvider) => void; code: string }
  > = {
    'in a custom accept policy': { options: { policies: { accept: [gate('accept')] } }, code: 'CANCELLED' },
    'in a custom dispatch policy': { options: { policies: { dispatch: [gate('dispatch')] } }, code: 'CANCELLED' },
    'in backoff': { options: { retry: { base: 20_000 } }, plan: (a) => a.will(fails()), code: 'CANCELLED' },
    'in the wait for a limit': {
      options: { limits: { providers: { a: { limit: 0, per: 20_000 } }, onLimit: 'wait' } },
      code: 'SEND_LIMIT_EXCEEDED',
    },
    'in the tenants function': {
      options: { tenants: () => new Promise(() => undefined), requireTenant: true },
      code: 'CANCELLED',
    },
    'in flight, deaf': { options: {}, plan: (a) => a.will(pending()), code: 'OUTCOME_UNKNOWN' },
    'in flight, obedient': {
      options: {},
      plan: (a) =>
        a.will((delivery, context) => {
          const { promise, reject } = Promise.withResolvers<never>()
          context.signal.addEventListener('abort', () => {
            try {
              fails('aborted')(delivery, context)
            } catch (error) {
              reject(error)
            }
          })
          return promise
        }),
      code: 'CANCELLED',
    },
  }
  for (const [name, { options, plan, code }] of Object.entries(phases)) {
    const { mailer, clock, a } = setUp(options)
    plan?.(a)
    const call = mailer.send(message, options.tenants ? { tenant: 'acme' } : {}).catch((error: MailError) => error)
    await clock.advance(100)
    const before = a.calls.length
    const closing = mailer.close({ deadline: 1_000 })
    await clock.advance(5_000)
    const manifest = await closing
    if (name.endsWith('accept policy')) gates.accept.resolve()
    if (name.endsWith('dispatch policy')) gates.dispatch.resolve()
    await clock.advance(60_000)
    const error = await call
    assert.ok(error instanceof MailError, `${name}: resolved`)
    assert.equal(error.code, code, name)
    assert.deepEqual(manifest.unknown, code === 'OUTCOME_UNKNOWN' ? [error.id] : [], name)
    assert.equal(a.calls.length, before, `${name}: nothing left after close`)
    assert.equal(clock.pending, 0, `${name}: no timer is left`)
  }
})

test('a send that is still reading its input when close has ended is refused and opens nothing again', async () => {
  const { mailer, clock, a } = setUp()
  const content = Promise.withResolvers<void>()
  async function* slow() {
    await content.promise
    yield Buffer.from('late')
  }
  const call = rejection(mailer.send({ ...message, attachments: [{ filename: 'a.txt', content: slow() }] }))
  await clock.advance(10)
  const closing = mailer.close({ deadline: 100 })
  await clock.advance(5_000)
  await closing
  content.resolve()
  await clock.advance(10)
  assert.match((await call).code, /^(CANCELLED|CLOSED|VALIDATION_ERROR)$/)
  assert.equal(a.calls.length, 0)
})

test('close empties a queue that would die with it, and names what it could not', async () => {
  const { mailer, clock, a } = setUp({ queue: { concurrency: 1 } })
  const first = pending()
  const deaf = pending()
  a.will(first, deaf)
  const ids: string[] = []
  for (let i = 0; i < 4; i++) ids.push((await mailer.enqueue(message)).id)
  const later = await mailer.enqueue(message, { sendAt: clock.now() + 3_600_000 })
  await a.called()
  const closing = mailer.close({ deadline: 5_000 })
  first.answer()
  await a.called(2)
  await clock.advance(20_000)
  const manifest = await closing
  assert.equal(manifest.settled, 1)
  assert.deepEqual(manifest.unknown, [ids[1]])
  assert.deepEqual([...manifest.pending].sort(), [ids[2], ids[3], later.id].sort())
  assert.equal(a.calls.length, 2, 'nothing was begun after the deadline')
  await clock.advance(3_600_000)
  assert.equal(a.calls.length, 2)
})

test('close leaves the queue of a durable store where it is', async () => {
  const clock = fakeClock()
  const kept = memory({ clock })
  const durable = Object.assign(tapped(kept, {}), {})
  const store = new Proxy(durable, {
    get: (target, property) =>
      property === 'guarantees'
        ? { scope: 'host', durability: 'power-loss', list: true }
        : property === 'close'
          ? () => undefined
          : Reflect.get(target, property),
  })
  const { mailer, a } = setUp({ store, clock, queue: { work: true, concurrency: 1 } })
  const first = pending()
  a.will(first)
  const ids: string[] = []
  for (let i = 0; i < 3; i++) ids.push((await mailer.enqueue(message)).id)
  await a.called()
  const closing = mailer.close({ deadline: 1_000 })
  first.answer()
  await clock.advance(10)
  assert.equal((await closing).settled, 1)
  assert.equal(a.calls.length, 1)
  const other = setUp({ store, clock, queue: { work: false } })
  other.mailer.work()
  await clock.advance(10)
  assert.equal(other.a.calls.length, 2, 'another worker has them at once, without waiting for a lease')
})

test('P9: close settles whatever providers and store do about it', async () => {
  const odd = [
    () => {
      throw new Error('at once')
    },
    () => Promise.reject(new Error('later')),
    () => new Promise<void>(() => undefined),
  ]
  for (const close of odd) {
    const { mailer, clock } = setUp({}, Object.assign(scripted('a'), { close }))
    const closing = mailer.close({ deadline: 100 })
    await clock.advance(10_000)
    assert.deepEqual(await closing, { settled: 0, unknown: [], pending: [] })
  }
  for (const verb of ['list', 'close', 'due']) {
    const clock = fakeClock()
    const store = tapped(memory({ clock }), {
      before: ({ name }) => {
        if (name === verb) throw new Error('down')
      },
    })
    const { mailer, a } = setUp({ clock, store })
    await mailer.enqueue(message)
    const closing = mailer.close({ deadline: 100 })
    await clock.advance(10_000)
    await closing
    assert.equal(a.closes, 1, verb)
  }
})

test('a deadline that is none is refused, and the mailer stays open', async () => {
  const { mailer } = setUp()
  for (const deadline of [-1, Number.NaN, '5' as never, null as never]) {
    assert.equal((await rejection(mailer.close({ deadline }))).code, 'VALIDATION_ERROR')
  }
  assert.equal((await mailer.send(message)).status, 'sent')
})

test('X7: after close no socket, timer or listener of ours is left', async () => {
  const server = await createSmtpServer()
  disposeAfterTest(server)
  const { signal, counts } = counted()
  const kinds = () => process.getActiveResourcesInfo().filter((kind) => /Timeout|TCPSocket/.test(kind))
  const before = kinds()
  const mailer = createMailer({ from: 'hello@acme.example', providers: { smtp: smtp({ url: server.url }) } })
  await Promise.all(Array.from({ length: 20 }, () => mailer.send(message, { signal })))
  await mailer.enqueue(message, { signal })
  await mailer.verify()
  await mailer.close()
  // The other ends close in their own time.
  while (server.open > 0) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(counts.live, 0)
  assert.ok(counts.added > 0)
  assert.deepEqual(kinds(), before)
})

test('any number of calls share one listener on a signal, and the last takes it away', async () => {
  const { signal, counts } = counted()
  const clock = fakeClock()
  const deadlines = Array.from({ length: 100_000 }, () => new Deadline(clock, 1_000, signal))
  assert.deepEqual(counts, { added: 1, live: 1 })
  for (const deadline of deadlines) deadline.end()
  assert.deepEqual(counts, { added: 1, live: 0 })

  const mailer = createMailer({ from: 'hello@acme.example', providers: { memory: memoryProvider() } })
  await Promise.all(Array.from({ length: 1_000 }, () => mailer.send(message, { signal })))
  assert.deepEqual(counts, { added: 2, live: 0 })
})

test('P1: memory names what is lost with the process, whoever it belongs to', async () => {
  const config = { from: 'hello@acme.example', route: 'a' } as const
  const clock = fakeClock()
  const mailer = createMailer({
    from: 'hello@acme.example',
    providers: { a: scripted('a') },
    tenants: { t: config, u: config },
    requireTenant: false,
    clock,
  })
  const message = { to: 'ada@example.com', subject: 'Hi', text: 'x' }
  const later = { sendAt: clock.now() + 3_600_000 }
  const ids: string[] = []
  for (const face of [mailer, mailer.tenant('t'), mailer.tenant('u')]) ids.push((await face.enqueue(message, later)).id)
  assert.deepEqual([...(await mailer.close()).pending].sort(), ids.sort())
})
