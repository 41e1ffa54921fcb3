import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sweeper } from '../../src/stores/sweeper.ts'

test('every entry is shown in every round, a few at a call, while others are added and deleted', () => {
  const map = new Map<string, number>()
  const shown = new Map<string, number>()
  const sweeper = new Sweeper(map, (key, value) => {
    shown.set(key, (shown.get(key) ?? 0) + 1)
    if (value === 0) map.delete(key)
  })
  sweeper.step()
  for (let i = 0; i < 40; i++) map.set(`k${i}`, i % 4)
  for (let calls = 0; calls < 60; calls++) {
    const before = [...shown.values()].reduce((sum, times) => sum + times, 0)
    sweeper.step()
    assert.ok([...shown.values()].reduce((sum, times) => sum + times, 0) - before <= 4)
  }
  assert.equal(map.size, 30)
  assert.equal(shown.size, 40)
  for (const key of map.keys()) assert.ok(shown.get(key)! >= 4, key)
})

test('all shows every entry at once', () => {
  const map = new Map([
    ['a', 1],
    ['b', 2],
  ])
  new Sweeper(map, (key) => map.delete(key)).all()
  assert.equal(map.size, 0)
})
