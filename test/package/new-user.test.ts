import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { start } from '../support/program.ts'

const root = join(import.meta.dirname, '../..')
const run = promisify(execFile)
let folder = ''
let block = ''

/** An empty folder with the packed files and the dependencies the package names: no more than an install would bring. */
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'new-user-'))
  const { stdout } = await run('npm', ['pack', root, '--json', '--ignore-scripts'], { cwd: folder })
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }]
  const installed = join(folder, 'node_modules/sendwright')
  await mkdir(installed, { recursive: true })
  await run('tar', ['-xzf', filename, '-C', installed, '--strip-components=1'], { cwd: folder })
  const { dependencies } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'))
  for (const name of Object.keys(dependencies)) {
    await mkdir(dirname(join(folder, 'node_modules', name)), { recursive: true })
    await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
  block = /^```ts\n(.*?)^```$/ms.exec(await readFile(join(installed, 'README.md'), 'utf8'))?.[1] ?? ''
})
after(() => rm(folder, { recursive: true }))

const required = (code: string) =>
  `async function main() {\n${code.replace(/^import (.+) from (.+)$/gm, 'const $1 = require($2)')}\n}\nmain()\n`

for (const { kind, file, codeOf } of [
  { kind: 'an ES module', file: 'first.mjs', codeOf: (code: string) => code },
  { kind: 'CommonJS', file: 'first.cjs', codeOf: required },
]) {
  test(`the README’s first block, in ${kind} beside the packed package, sends`, async (t) => {
    const server = await createSmtpServer()
    t.after(() => server.close())
    await writeFile(join(folder, file), codeOf(block))
    const program = start(t, join(folder, file), { SMTP_URL: server.url })
    assert.equal(await program.ended, 0, program.err)
    assert.equal(program.err, '')
    assert.match(program.out, /^sent msg_/)
    const [mail, ...more] = await server.accepted()
    assert.equal(more.length, 0)
    assert.deepEqual(mail?.recipients, ['ada@example.com'])
    assert.equal(mail?.text?.trim(), 'It is on its way.')
  })
}
