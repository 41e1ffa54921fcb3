import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KeyedLock } from '../../src/stores/keyed-lock.ts'

test('tasks of one key run one at a time, in the order they came; those of another do not wait', async () => {
  const lock = new KeyedLock()
  const ran: string[] = []
  const gate = Promise.withResolvers<void>()
  const task = (name: string, wait?: Promise<void>) => async () => {
    ran.push(`${name} begins`)
    await wait
    ran.push(`${name} ends`)
    return name
  }
  const all = [lock.run('k', task('first', gate.promise)), lock.run('k', task('second')), lock.run('k', task('third'))]
  assert.equal(await lock.run('other', task('other')), 'other')
  assert.deepEqual(ran, ['first begins', 'other begins', 'other ends'])
  gate.resolve()
  assert.deepEqual(await Promise.all(all), ['first', 'second', 'third'])
  assert.deepEqual(ran.slice(3), ['first ends', 'second begins', 'second ends', 'third begins', 'third ends'])
})

test('a task that fails lets the next one in', async () => {
  const lock = new KeyedLock()
  const failing = lock.run('k', () => Promise.reject(new Error('no')))
  const next = lock.run('k', async () => 'next')
  await assert.rejects(failing, /no/)
  assert.equal(await next, 'next')
})

test('P10: a key nobody uses leaves nothing behind', async () => {
  const lock = new KeyedLock()
  const runs = Array.from({ length: 1_000 }, (_, i) => lock.run(`k${i % 300}`, async () => i))
  assert.equal(lock.size, 300)
  await Promise.all(runs)
  assert.equal(lock.size, 0)
})
