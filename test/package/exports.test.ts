import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '../..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: Record<string, string> }
const entryPoints = Object.entries(manifest.exports).filter(([, file]) => file.endsWith('.js'))

/** What a fresh process loads for one statement, as URLs; the statement stands in for a user's first line. */
function loadedBy(statement: string): string[] {
  const script = `
    import { createRequire, registerHooks } from 'node:module'
    const require = createRequire(import.meta.url)
    const loaded = []
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context) } })
    ${statement}
    console.log(JSON.stringify(loaded))`
  const printed = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { cwd: root })
  return JSON.parse(printed.toString()) as string[]
}

test('every export names a built file with its types, made from a source file', () => {
  assert.ok(entryPoints.length > 5)
  for (const [name, file] of entryPoints) {
    assert.ok(existsSync(join(root, file)), `${name}: ${file} was not built`)
    assert.ok(existsSync(join(root, file.replace(/\.js$/, '.d.ts'))), `${name}: ${file} has no types`)
    assert.ok(existsSync(join(root, file.replace('dist/', '').replace(/\.js$/, '.ts'))), `${name}: ${file} is stale`)
  }
})

test('every provider is exported, and no file of its inside', () => {
  const providers = globSync('providers/*.ts', { cwd: root }).map(
    (file) => `./${file.slice(0, -3).replaceAll('\\', '/')}`,
  )
  const exported = Object.keys(manifest.exports).filter((name) => name.startsWith('./providers/'))
  assert.deepEqual(exported.sort(), providers.sort())
})

for (const [name] of entryPoints) {
  const specifier = name.replace('.', 'sendwright')

  test(`importing ${specifier} loads no package: no SDK, validator, queue or transport`, () => {
    const loaded = loadedBy(`await import('${specifier}')`)
    assert.ok(loaded.some((url) => url.includes('/dist/')))
    assert.deepEqual(
      loaded.filter((url) => !url.startsWith('node:') && !url.includes('/dist/')),
      [],
    )
  })

  test(`CommonJS can require ${specifier}`, () => {
    assert.ok(loadedBy(`require('${specifier}')`).some((url) => url.includes('/dist/')))
  })
}

test('importing sendwright loads few files; the first call loads the rest (PERF 8, row 11)', () => {
  const own = (statement: string) => loadedBy(statement).filter((url) => url.includes('/dist/')).length
  const use = "await createMailer({ providers: { none: { send() {}, capabilities: {} } } }).messages.get('msg_1')"
  const atImport = own("await import('sendwright')")
  const withCall = own(`const { createMailer } = await import('sendwright'); ${use}`)
  // Each file takes about 0.6 ms, and all of them as long as nodemailer.
  assert.ok(atImport <= 34, `${atImport} files are loaded by the import`)
  assert.ok(withCall > 2 * atImport, `${withCall} files are loaded by the import and the first call`)
})

test('the check of what is loaded sees a package that is loaded', () => {
  assert.ok(loadedBy("await import('nodemailer')").some((url) => url.includes('/node_modules/nodemailer/')))
  assert.ok(loadedBy("require('mailgun.js')").some((url) => url.includes('/node_modules/mailgun.js/')))
})
