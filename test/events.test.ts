import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { type Logger, MailError } from '../src/index.ts'
import { noAccidents } from './support/accidents.ts'
import { loose, order, refusal, setup } from './support/mailbox.ts'

noAccidents()

describe('events', () => {
  test('tell the way of a message in order, with its id and nothing about people (L1)', async () => {
    const { mailer } = setup()
    const heard: unknown[] = []
    for (const type of ['accepted', 'attempt', 'outcome', 'settled', 'health', 'warning'] as const) {
      mailer.on(type, (event) => heard.push({ type, ...event }))
    }
    const { id } = await mailer.send(order)
    assert.deepEqual(heard, [
      { type: 'accepted', id, status: 'dispatching', recipients: 1 },
      { type: 'attempt', id, provider: 'outbox', number: 1 },
      { type: 'outcome', id, provider: 'outbox', number: 1, outcome: 'sent', duration: 0 },
      { type: 'settled', id, status: 'sent', provider: 'outbox' },
    ])
  })

  test('a listener that throws, rejects or hangs is a warning and harms no mail (P9)', async () => {
    const { mailer } = setup()
    const warnings: string[] = []
    mailer.on('warning', ({ code }) => void warnings.push(code))
    mailer.on('warning', () => assert.fail('a listener of warnings may throw too'))
    mailer.on('settled', () => assert.fail('thrown'))
    mailer.on('settled', async () => assert.fail('rejected'))
    mailer.on('settled', () => new Promise(() => {}))
    assert.equal((await mailer.send(order)).status, 'sent')
    await turn()
    assert.deepEqual(warnings, ['LISTENER_FAILED', 'LISTENER_FAILED'])
  })

  test('a listener cannot change what the next one hears', async () => {
    const { mailer } = setup()
    let heard = ''
    mailer.on('settled', (event) => Object.assign(event, { status: 'failed' }))
    mailer.on('settled', ({ status }) => {
      heard = status
    })
    await mailer.send(order)
    assert.equal(heard, 'sent')
  })

  test('a removed listener hears nothing; removing twice is harmless', async () => {
    const { mailer } = setup()
    let count = 0
    const remove = mailer.on('settled', () => count++)
    await mailer.send(order)
    remove()
    remove()
    await mailer.send(order)
    assert.equal(count, 1)
    assert.throws(() => mailer.on('settled', loose(undefined)), MailError)
  })

  test('a logger gets the same facts, and one that throws decides nothing', async () => {
    const lines: [string, object][] = []
    const logger: Logger = {
      info: (facts, message) => lines.push([message!, facts]),
      warn: () => assert.fail('thrown'),
      error: () => assert.fail('thrown'),
    }
    const { mailer, outbox } = setup({ logger })
    const { id } = await mailer.send(order)
    assert.deepEqual(lines, [['mail settled', { id, status: 'sent', provider: 'outbox' }]])
    outbox.failNext({ outcome: 'failed', kind: 'login' })
    await refusal(mailer.send(order))
  })
})
