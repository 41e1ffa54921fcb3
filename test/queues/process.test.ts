import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'

const root = new URL('../../', import.meta.url)

/** Runs a program that never calls `process.exit`, and answers what it printed once it has ended by itself. */
async function run(program: string): Promise<string> {
  const head = `
    import { createMailer } from ${JSON.stringify(new URL('src/index.ts', root).href)}
    import { memory } from ${JSON.stringify(new URL('providers/memory.ts', root).href)}
    const provider = memory()
    const mailer = createMailer({ from: 'hello@acme.example', providers: { provider } })
    const message = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' }
    process.on('exit', () => console.log('sent', provider.sent().length))
  `
  const child = spawn(process.execPath, [...process.execArgv, '--input-type=module', '--eval', head + program], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let printed = ''
  child.stdout.on('data', (chunk) => {
    printed += String(chunk)
  })
  const [code, signal] = await once(child, 'close')
  assert.deepEqual([code, signal], [0, null])
  return printed.trim()
}

test('X7: a process that sent and closed ends by itself', async () => {
  assert.equal(await run('await mailer.send(message); await mailer.enqueue(message); await mailer.close()'), 'sent 2')
})

test('X7: an idle mailer keeps no process alive, even one with a worker and one that was never closed', async () => {
  assert.equal(await run('await mailer.send(message); mailer.work()'), 'sent 1')
})

test('what is queued in memory keeps the process alive until it is sent', async () => {
  assert.equal(await run('await mailer.enqueue(message)'), 'sent 1')
  assert.equal(await run('await mailer.enqueue(message, { sendAt: Date.now() + 300 })'), 'sent 1')
})
