import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { smtp } from '../../providers/smtp.ts'
import { createSmtpServer, type Skip } from '../../src/testing/index.ts'
import { collect } from '../support/collect.ts'

let closed = 0
const harness = {
  dialect: 'smtp' as const,
  secrets: [],
  async server() {
    const server = await createSmtpServer()
    const close = server.close
    server.close = async () => {
      closed++
      await close()
    }
    return server
  },
  provider: ({ url }: { readonly url: string }) => smtp({ url }),
}

const points = ['connect', 'greeting', 'login', 'envelope', 'midBody', 'afterBody', 'midAnswer']
const kinds = ['refuse', 'reset', 'close', 'stall', 'garbage', '4xx', '5xx', 'throttle']

test('X1 the faults are seven points times eight kinds, and the points a harness adds', () => {
  const faults = (given: object) =>
    collect({ ...harness, ...given })
      .filter(({ feature }) => feature === 'faults')
      .map(({ name }) => / (\w+ at \w+) is .* told once/.exec(name)?.[1])
      .filter((name) => name !== undefined)
  const product = points.flatMap((at) => kinds.map((kind) => `${kind} at ${at}`))
  assert.deepEqual(faults({}), product)
  assert.deepEqual(faults({ dialect: 'http' }), product)
  assert.equal(faults({ points: ['tls', 'hello', 'connect'] }).length, product.length + 16)
})

test('every case has a name of its own', () => {
  const names = collect(harness).map(({ feature, name }) => `${feature} ${name}`)
  assert.equal(new Set(names).size, names.length)
})

test('a skipped feature runs what happens instead, under its reason, and nothing else of the feature', async () => {
  let ran = 0
  const instead = async () => {
    ran++
  }
  const all = collect(harness)
  const some = collect({ ...harness, skips: { faults: { reason: 'there is no wire', instead } } })
  const [skipped, ...more] = some.filter(({ feature }) => feature === 'faults')
  assert.equal(more.length, 0)
  assert.match(skipped?.name ?? '', /there is no wire/)
  await skipped?.run()
  assert.equal(ran, 1)
  assert.equal(some.length, all.length - all.filter(({ feature }) => feature === 'faults').length + 1)
})

test('a skip without a reason, without a test in its place or of an unknown feature is refused', () => {
  const instead = async () => {}
  const wrong = [
    { faults: { reason: ' ', instead } },
    { faults: { instead } },
    { faults: { reason: 'because' } },
    { fautls: { reason: 'because', instead } },
  ]
  for (const skips of wrong) {
    assert.throws(() => collect({ ...harness, skips: skips as unknown as Record<'faults', Skip> }), {
      code: 'CONFIGURATION_ERROR',
      message: /skips\.(faults|fautls)/,
    })
  }
})

test('X7 each case closes its server, also when it fails', async () => {
  const [first] = collect(harness)
  closed = 0
  await first?.run()
  assert.ok(closed > 0)
  closed = 0
  const [failing] = collect({
    ...harness,
    provider: () => {
      throw new Error('not today')
    },
  })
  await assert.rejects(async () => failing?.run(), /not today/)
  assert.ok(closed > 0)
})

test('what users import for their tests depends on no test runner', () => {
  const root = new URL('../../src/testing/', import.meta.url).pathname
  const files = globSync('**/*.ts', { cwd: root })
  assert.ok(files.length > 15)
  for (const file of files) assert.doesNotMatch(readFileSync(`${root}${file}`, 'utf8'), /['"](node:test|vitest|jest)/)
})
