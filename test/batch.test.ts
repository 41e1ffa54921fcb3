import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createMailer, MailError } from '../src/index.ts'
import { noAccidents } from './support/accidents.ts'
import { loose, order, refusal, runOut, setup } from './support/mailbox.ts'
import { pending, scripted } from './support/scripted-provider.ts'

noAccidents()

const message = (i: number) => ({ ...order, to: `a${i}@example.com` })
const messages = (count: number) => Array.from({ length: count }, (_, i) => message(i))

describe('sendBatch: one result per input, in order; one bad item harms only itself (P13)', () => {
  test('counts and results', async () => {
    const { mailer, outbox } = setup({ retry: { rounds: 1 } })
    await mailer.suppressions.add({ address: 'a2@example.com' })
    outbox.failNext('unknown')
    const items = messages(6)
    const batch = [
      items[0]!,
      loose({ ...order, to: 'nobody' }),
      items[2]!,
      { message: items[3]!, options: { sandbox: true } },
      items[4]!,
      items[5]!,
    ]
    const result = await mailer.sendBatch(batch, { concurrency: 1 })
    const { results, ...counts } = result
    assert.deepEqual(counts, {
      total: 6,
      sent: 2,
      partial: 0,
      queued: 0,
      sandboxed: 1,
      suppressed: 1,
      unknown: 1,
      failed: 1,
    })
    assert.deepEqual(
      results.map(({ index, receipt, error }) => [index, receipt?.status ?? error!.code]),
      [
        [0, 'OUTCOME_UNKNOWN'],
        [1, 'VALIDATION_ERROR'],
        [2, 'RECIPIENT_SUPPRESSED'],
        [3, 'sandboxed'],
        [4, 'sent'],
        [5, 'sent'],
      ],
    )
  })

  test('order is the input’s, whatever ends first', async () => {
    const provider = scripted()
    const first = pending()
    provider.will(first)
    const mailer = createMailer({ providers: { provider }, from: 'hello@acme.example' })
    const batch = mailer.sendBatch(messages(20), { concurrency: 5 })
    await provider.called(20)
    first.answer()
    const { results } = await batch
    assert.deepEqual(
      results.map(({ index }) => index),
      [...Array(20).keys()],
    )
    assert.deepEqual(
      results.map(({ receipt }) => receipt!.recipients[0]!.address),
      messages(20).map(({ to }) => to),
    )
  })

  test('at most `concurrency` at a time', async () => {
    let now = 0
    let most = 0
    const provider = scripted()
    provider.will(
      ...Array.from({ length: 30 }, () => async () => {
        most = Math.max(most, ++now)
        await turn()
        now--
        return {}
      }),
    )
    const mailer = createMailer({ providers: { provider }, from: 'hello@acme.example' })
    await mailer.sendBatch(messages(30), { concurrency: 4 })
    assert.equal(most, 4)
  })

  test('an empty batch is an empty answer; enqueue mode queues', async () => {
    const { mailer, outbox } = setup({ queue: { work: false } })
    assert.deepEqual(await mailer.sendBatch([]), {
      total: 0,
      sent: 0,
      partial: 0,
      queued: 0,
      sandboxed: 0,
      suppressed: 0,
      unknown: 0,
      failed: 0,
      results: [],
    })
    assert.equal((await mailer.sendBatch(messages(3), { mode: 'enqueue' })).queued, 3)
    assert.equal(outbox.sent().length, 0)
  })

  test('the count is checked first: nothing is sent of a batch that is too long', async () => {
    const { mailer, outbox } = setup()
    await refusal(mailer.sendBatch(messages(101)), 'VALIDATION_ERROR')
    await refusal(mailer.sendBatch(loose(new Array(50_000_000))), 'VALIDATION_ERROR')
    assert.equal((await mailer.sendBatch(messages(100))).sent, 100)
    assert.equal(outbox.sent().length, 100)
    const small = setup({ limits: { batch: 1 } })
    await refusal(small.mailer.sendBatch(messages(2)), 'VALIDATION_ERROR')
  })

  const malformed: [string, unknown, unknown][] = [
    ['no items', undefined, undefined],
    ['text', 'abc', undefined],
    ['an iterable that is no array', new Set(messages(1)), undefined],
    ['an array-like', { length: 1, 0: message(0) }, undefined],
    ['options of null', [], null],
    ['options of text', [], 'x'],
    ['an unknown option', [], { concurency: 1 }],
    ['no concurrency', [], { concurrency: 0 }],
    ['half a concurrency', [], { concurrency: 1.5 }],
    ['endless concurrency', [], { concurrency: Number.POSITIVE_INFINITY }],
    ['a huge concurrency', [], { concurrency: 10_001 }],
    ['another mode', [], { mode: 'later' }],
    ['defaults of text', [], { defaults: 'x' }],
    ['defaults of null', [], { defaults: null }],
    ['send options of null', [], { options: null }],
    ['send options with an unknown one', [], { options: { to: 'x' } }],
    ['a throwing getter', [], Object.defineProperty({}, 'mode', { enumerable: true, get: () => assert.fail('asked') })],
    [
      'a throwing getter in options',
      [],
      { options: Object.defineProperty({}, 'route', { enumerable: true, get: () => assert.fail('asked') }) },
    ],
    ['a bad tenant', [], { options: { tenant: {} } }],
  ]
  for (const [what, items, options] of malformed) {
    test(`a malformed call rejects: ${what}`, async () => {
      const { mailer } = setup()
      const call = () => mailer.sendBatch(loose(items), options === undefined ? undefined : loose(options))
      await refusal(call)
      if (what === 'an array-like' || what === 'an iterable that is no array') return
      await refusal(async () => {
        for await (const _ of mailer.streamBatch(loose(items), options === undefined ? undefined : loose(options)))
          break
        if (what === 'a bad tenant') throw new MailError('VALIDATION_ERROR', 'an empty stream never asks for it')
      })
    })
  }

  test('hostile items are refused one by one (G5)', async () => {
    const { mailer, outbox } = setup()
    const revoked = Proxy.revocable({}, {})
    revoked.revoke()
    const items: unknown[] = [
      message(0),
      null,
      5,
      'text',
      Symbol('x'),
      () => {},
      new Map(),
      new Date(),
      [],
      Promise.resolve(message(1)),
      Promise.reject(new Error('nobody listens')),
      revoked.proxy,
      new Proxy({}, { getOwnPropertyDescriptor: () => assert.fail('asked'), ownKeys: () => assert.fail('asked') }),
      Object.defineProperty({}, 'to', { enumerable: true, get: () => assert.fail('asked') }),
      { message: message(1), optoins: {} },
      { message: message(1), options: null },
      { message: message(1), options: { signal: new AbortController().signal } },
      { message: message(1), options: { tenant: 'x' } },
      { message: null },
      { options: {} },
      {},
    ]
    items.length++
    items.push(message(2))
    for (const defaults of [undefined, order]) {
      outbox.clear()
      const { results } = await mailer.sendBatch(loose(items), defaults && { defaults })
      assert.equal(results.length, items.length)
      for (const [i, { error, receipt }] of results.entries()) {
        // With defaults, an empty object is a whole message.
        if (i === 0 || i === items.length - 1 || (defaults && i === items.length - 3)) {
          assert.equal(receipt?.status, 'sent', `item ${i}`)
          continue
        }
        assert.equal(receipt, undefined, `item ${i}`)
        assert.equal(error!.code, 'VALIDATION_ERROR', `item ${i}`)
        assert.ok(error!.issues.length > 0, `item ${i}`)
      }
      assert.equal(outbox.sent().length, defaults ? 3 : 2)
    }
  })

  test('what the caller does to the array afterwards changes nothing (P6)', async () => {
    const { mailer, outbox } = setup()
    const items = messages(5)
    const batch = mailer.sendBatch(items, { concurrency: 1 })
    items.length = 0
    items.push(message(99))
    assert.equal((await batch).sent, 5)
    assert.ok(!outbox.sent().some(({ recipients }) => recipients.includes('a99@example.com')))
  })
})

describe('defaults and derived keys', () => {
  test('defaults fill what is absent or undefined, and are taken once', async () => {
    const { mailer, outbox } = setup()
    const defaults = { subject: 'Default', text: 'Default', tags: ['a'] }
    const batch = mailer.sendBatch(
      [{ to: 'a@example.com' }, loose({ to: 'b@example.com', subject: 'Own', text: undefined })],
      loose({ defaults, concurrency: 1 }),
    )
    defaults.subject = 'changed'
    await batch
    assert.deepEqual(
      outbox.sent().map(({ message: { subject, text, tags } }) => [subject, text, tags]),
      [
        ['Default', 'Default', ['a']],
        ['Own', 'Default', ['a']],
      ],
    )
  })

  test('a key of the batch derives one for each index; the same batch is a replay', async () => {
    const { mailer, outbox } = setup()
    const options = { idempotencyKey: 'monday' }
    const first = await mailer.sendBatch(messages(3), { options })
    const again = await mailer.sendBatch(messages(3), { options })
    assert.deepEqual(
      again.results.map(({ receipt }) => receipt!.id),
      first.results.map(({ receipt }) => receipt!.id),
    )
    assert.ok(again.results.every(({ receipt }) => receipt!.replayed))
    const grown = await mailer.sendBatch([...messages(3), message(3)], { options })
    assert.deepEqual(
      grown.results.map(({ receipt }) => receipt!.replayed),
      [true, true, true, false],
    )
    const moved = await mailer.sendBatch([message(1)], { options })
    assert.equal(moved.results[0]!.error!.code, 'IDEMPOTENCY_MISMATCH')
    assert.equal(outbox.sent().length, 4)
    assert.equal((await mailer.send(message(0), options)).replayed, false)
  })

  test('an item’s own key wins', async () => {
    const { mailer } = setup()
    const { id } = await mailer.send(message(0), { idempotencyKey: 'own' })
    const { results } = await mailer.sendBatch([{ message: message(0), options: { idempotencyKey: 'own' } }], {
      options: { idempotencyKey: 'batch' },
    })
    assert.equal(results[0]!.receipt!.id, id)
  })
})

describe('streamBatch: any iterable, bounded memory (P13, P10)', () => {
  test('a consumer that waits holds the source back: pulled minus yielded stays bounded', async () => {
    const { mailer } = setup()
    for (const total of [200, 1_600]) {
      let pulled = 0
      let most = 0
      let yielded = 0
      const source = (function* () {
        for (; pulled < total; pulled++) yield message(pulled)
      })()
      const seen = new Set<number>()
      for await (const { index } of mailer.streamBatch(source, { concurrency: 5 })) {
        seen.add(index)
        yielded++
        if (yielded % 50 === 0) for (let i = 0; i < 20; i++) await turn()
        most = Math.max(most, pulled - yielded)
      }
      assert.equal(seen.size, total)
      assert.ok(most <= 11, `${most} between source and consumer`)
    }
  })

  test('nothing is pulled before the first result is asked for', async () => {
    const { mailer } = setup()
    let pulled = 0
    const stream = mailer.streamBatch(
      (function* () {
        for (;;) yield message(pulled++)
      })(),
    )
    for (let i = 0; i < 5; i++) await turn()
    assert.equal(pulled, 0)
    await stream.return()
    assert.equal(pulled, 0)
  })

  test('break stops the intake of an endless source and tells it, once', async () => {
    const { mailer, outbox } = setup()
    for (const make of [endless, endlessAsync]) {
      outbox.clear()
      const source = make()
      let yielded = 0
      for await (const _ of mailer.streamBatch(source.items, { concurrency: 3 })) if (++yielded === 10) break
      const { pulled } = source
      for (let i = 0; i < 20; i++) await turn()
      assert.equal(source.pulled, pulled)
      assert.equal(source.returned, 1)
      assert.ok(outbox.sent().length <= yielded + 2 * 3, `${outbox.sent().length} sent`)
    }
  })

  test('break waits for what is under way, and nothing begins afterwards', async () => {
    const provider = scripted()
    const held = pending()
    provider.will(() => ({}), held, held)
    const mailer = createMailer({ providers: { provider }, from: 'hello@acme.example' })
    let left = false
    const consumer = (async () => {
      for await (const _ of mailer.streamBatch(endless().items, { concurrency: 2 })) break
      left = true
    })()
    await provider.called(3)
    for (let i = 0; i < 10; i++) await turn()
    assert.equal(left, false)
    held.answer()
    await consumer
    const { length } = provider.calls
    for (let i = 0; i < 20; i++) await turn()
    assert.equal(provider.calls.length, length)
    assert.ok(length <= 4)
  })

  test('a source that hangs does not hold results back, nor a consumer that leaves', async () => {
    const { mailer } = setup()
    let returned = 0
    const hanging = {
      [Symbol.asyncIterator]() {
        let i = 0
        return {
          next: () => (i < 3 ? Promise.resolve({ done: false, value: message(i++) }) : new Promise<never>(() => {})),
          return: () => {
            returned++
            return new Promise<never>(() => {})
          },
        }
      },
    }
    const seen: number[] = []
    for await (const { index } of mailer.streamBatch(loose(hanging))) {
      seen.push(index)
      if (seen.length === 3) break
    }
    assert.deepEqual(seen.sort(), [0, 1, 2])
    assert.equal(returned, 1)
  })

  test('a source that throws: what came before is handled, then one typed error with the cause', async () => {
    const { mailer, outbox } = setup()
    const thrown = new Error('database gone')
    const sync = function* () {
      yield message(0)
      yield message(1)
      throw thrown
    }
    const rejecting = async function* () {
      yield* sync()
    }
    for (const source of [sync(), rejecting()]) {
      const seen: number[] = []
      const error = await refusal(async () => {
        for await (const { index } of mailer.streamBatch(source)) seen.push(index)
      }, 'VALIDATION_ERROR')
      assert.deepEqual(seen.sort(), [0, 1])
      assert.equal(error.cause, thrown)
      assert.ok(!JSON.stringify(error).includes('database'))
    }
    assert.equal(outbox.sent().length, 4)
  })

  test('sources that break their contract are one typed error', async () => {
    const { mailer } = setup()
    const broken: unknown[] = [
      { [Symbol.iterator]: () => ({}) },
      { [Symbol.iterator]: () => ({ next: () => undefined }) },
      { [Symbol.iterator]: () => assert.fail('opened') },
      { [Symbol.asyncIterator]: () => undefined },
      { [Symbol.asyncIterator]: () => ({ next: async () => null }) },
    ]
    for (const source of broken) {
      await refusal(async () => {
        for await (const _ of mailer.streamBatch(loose(source)));
      })
    }
    const rude = {
      [Symbol.iterator]: () => ({ next: () => ({ value: message(0) }), return: () => assert.fail('will not stop') }),
    }
    for await (const _ of mailer.streamBatch(loose(rude))) break
  })

  test('a source that ends or throws is not told to stop', async () => {
    const { mailer } = setup()
    let returned = 0
    const source = (last: () => IteratorResult<unknown>) => ({
      [Symbol.iterator]() {
        let i = 0
        return {
          next: () => (i++ === 0 ? { done: false, value: message(0) } : last()),
          return: () => {
            returned++
            return { done: true, value: undefined }
          },
        }
      },
    })
    for await (const _ of mailer.streamBatch(loose(source(() => ({ done: true, value: undefined })))));
    await refusal(async () => {
      for await (const _ of mailer.streamBatch(loose(source(() => assert.fail('thrown')))));
    })
    assert.equal(returned, 0)
  })

  test('3,000 messages, each exactly once', async () => {
    const { mailer, outbox } = setup()
    let sum = 0
    const source = (async function* () {
      for (let i = 0; i < 3_000; i++) yield message(i)
    })()
    for await (const { index, receipt } of mailer.streamBatch(source, { concurrency: 50 })) {
      assert.equal(receipt!.recipients[0]!.address, `a${index}@example.com`)
      sum += index
    }
    assert.equal(sum, (2_999 * 3_000) / 2)
    assert.equal(new Set(outbox.sent().map(({ recipients }) => recipients[0])).size, 3_000)
  })
})

describe('sendMerge: each alone in the mail', () => {
  test('hostile recipients harm only themselves', async () => {
    const { mailer, outbox, clock } = setup()
    const recipients: unknown[] = [
      { to: 'a@example.com' },
      null,
      5,
      {},
      { to: ['a@example.com', 'b@example.com'] },
      { to: 'nobody' },
      { to: 'b@example.com', metadata: 'abc' },
      { to: 'b@example.com', headers: null },
      { to: 'b@example.com', cc: 'c@example.com' },
      new Map(),
    ]
    recipients.length++
    recipients.push({ to: 'z@example.com' })
    const { to: _, ...content } = order
    const result = await runOut(clock, mailer.sendMerge(content, loose(recipients)), 1_000, 10)
    assert.deepEqual([result.total, result.sent, result.failed], [12, 2, 10])
    assert.deepEqual(
      outbox.sent().map(({ recipients: mailed }) => mailed),
      [['a@example.com'], ['z@example.com']],
    )
  })

  test('keys derive from the mailbox, in any spelling and order', async () => {
    const { mailer, outbox, clock } = setup()
    const { to: _, ...content } = order
    const options = { idempotencyKey: 'news-7' }
    const merge = (...to: string[]) =>
      runOut(
        clock,
        mailer.sendMerge(
          content,
          to.map((one) => ({ to: one })),
          options,
        ),
        1_000,
        10,
      )
    await merge('a@example.com', 'b@example.com')
    const again = await merge('b@EXAMPLE.com', 'a@example.com')
    assert.ok(again.results.every(({ receipt }) => receipt!.replayed))
    assert.equal(outbox.sent().length, 2)
  })
})

interface Source {
  readonly items: never
  pulled: number
  returned: number
}

function endless(): Source {
  const source = {
    pulled: 0,
    returned: 0,
    items: loose({
      [Symbol.iterator]: () => ({
        next: () => ({ done: false, value: message(source.pulled++) }),
        return() {
          source.returned++
          return { done: true, value: undefined }
        },
      }),
    }),
  }
  return source
}

function endlessAsync(): Source {
  const source = {
    pulled: 0,
    returned: 0,
    items: loose({
      [Symbol.asyncIterator]: () => ({
        next: async () => ({ done: false, value: message(source.pulled++) }),
        async return() {
          source.returned++
          return { done: true, value: undefined }
        },
      }),
    }),
  }
  return source
}
