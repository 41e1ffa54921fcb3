/**
 * Looks at the package as a stranger gets it: packs what `dist` holds, reads the tarball's list, runs publint and attw on
 * it, and installs it into a CommonJS project (`test/package/consumer`) that compiles under every resolution, runs, and
 * tests with Jest. Needs the npm registry. Ends with `package: N passed, N failed`.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const work = mkdtempSync(join(tmpdir(), 'sendwright-package-'))
const project = join(work, 'consumer')

/** Runs a command in the consumer's folder and answers what it printed; throws that when the command fails. */
function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: project,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 180_000,
  })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${error?.message ?? ''}${stdout}${stderr}`)
  return stdout
}

const ours = (name: string): string => join(root, 'node_modules/.bin', name)
const theirs = (name: string): string => join(project, 'node_modules/.bin', name)

cpSync(join(root, 'test/package/consumer'), project, { recursive: true })
for (const extension of ['mts', 'cts']) copyFileSync(join(project, 'app.ts'), join(project, `app.${extension}`))

interface Packed {
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}
const [packed] = JSON.parse(run('npm', ['pack', root, '--json', '--ignore-scripts', '--pack-destination', work])) as [
  Packed,
]
const tarball = join(work, packed.filename)
const paths = packed.files.map(({ path }) => path)

const steps: Record<string, () => void> = {
  'the tarball holds what a user needs and nothing else'() {
    const wanted =
      /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|docs\/.+\.md|dist\/(src|providers)\/.+\.(js|d\.ts))$/
    const stray = paths.filter((path) => !wanted.test(path))
    const untyped = paths.filter((path) => path.endsWith('.js') && !paths.includes(path.replace(/\.js$/, '.d.ts')))
    const missing = ['README.md', 'LICENSE', 'CHANGELOG.md'].filter((path) => !paths.includes(path))
    if (stray.length + untyped.length + missing.length > 0) {
      throw new Error(`stray: ${stray}\nwithout types: ${untyped}\nmissing: ${missing}`)
    }
  },
  'the lock file names no download address'() {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { resolved?: string }>
    }
    const named = Object.keys(lock.packages).filter((name) => lock.packages[name]?.resolved !== undefined)
    if (named.length > 0) throw new Error(`resolved is given for ${named.join(', ')}`)
  },
  'publint has nothing to say'() {
    const said = run(ours('publint'), ['run', tarball, '--strict'])
    if (!said.includes('All good!')) throw new Error(said)
  },
  'attw finds no wrong types'() {
    run(ours('attw'), [tarball, '--profile', 'esm-only', '--no-color'])
  },
  'it installs into a CommonJS project without its optional peers'() {
    run('npm', ['install', '--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund', tarball])
  },
}

const resolutions = [
  { name: 'ESM under bundler', file: 'app.mts', module: 'esnext', resolution: 'bundler' },
  { name: 'ESM under node16', file: 'app.mts', module: 'node16', resolution: 'node16' },
  { name: 'CommonJS under nodenext', file: 'app.cts', module: 'nodenext', resolution: 'nodenext' },
]
const compilers = { 'TypeScript 7': ours('tsc'), 'TypeScript 5.9': theirs('tsc') }
for (const { name, file, module, resolution } of resolutions) {
  for (const [compiler, tsc] of Object.entries(compilers)) {
    const options = `--module ${module} --moduleResolution ${resolution} --target es2022 --types node --strict --outDir out`
    steps[`its types compile as ${name} with ${compiler}`] = () => {
      run(tsc, [file, ...options.split(' ')])
    }
  }
}

Object.assign(steps, {
  'it sends from an ES module'() {
    run('node', ['out/app.mjs'])
  },
  'it sends from CommonJS, required'() {
    run('node', ['out/app.cjs'])
  },
  'it sends under Jest, required'() {
    run(theirs('jest'), ['--ci'], { NODE_OPTIONS: '--experimental-vm-modules' })
  },
})

let failed = 0
for (const [name, step] of Object.entries(steps)) {
  try {
    step()
    console.log(`✔ ${name}`)
  } catch (error) {
    failed += 1
    console.log(`✖ ${name}\n${(error as Error).message.replace(/^/gm, '  ')}`)
  }
}
rmSync(work, { recursive: true, force: true })
console.log(`package: ${Object.keys(steps).length - failed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
