import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { json } from 'node:stream/consumers'
import { after, before, type TestContext, test } from 'node:test'
import pg from 'pg'
import { mailgun } from '../providers/mailgun.ts'
import { memory } from '../providers/memory.ts'
import { nodemailer } from '../providers/nodemailer.ts'
import { sendgrid } from '../providers/sendgrid.ts'
import { ses } from '../providers/ses.ts'
import { smtp } from '../providers/smtp.ts'
import type { Provider } from '../src/provider.ts'
import { createSmtpServer, type ScriptedSmtpServer } from '../src/testing/smtp-server.ts'
import { findPostgres } from './support/postgres-server.ts'
import { type Program, start } from './support/program.ts'
import { findRedis, removeKeys } from './support/redis-server.ts'

const root = join(import.meta.dirname, '..')
const pages = ['README.md', 'docs/providers.md', 'docs/stores.md', 'docs/testing.md', 'docs/guarantees.md']

interface Block {
  readonly page: string
  /** `README.md: Batches 2`: the page, the heading above, and which block under it. */
  readonly name: string
  readonly language: string
  readonly code: string
}

function blocksOf(page: string): Block[] {
  const blocks: Block[] = []
  const counts = new Map<string, number>()
  let heading = ''
  for (const [, title, language, code] of readFileSync(join(root, page), 'utf8').matchAll(
    /^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$/gms,
  )) {
    if (title !== undefined) heading = title
    if (code === undefined) continue
    const count = (counts.get(heading) ?? 0) + 1
    counts.set(heading, count)
    blocks.push({ page, name: `${page}: ${heading} ${count}`, language: language ?? '', code })
  }
  return blocks
}

const blocks = pages.flatMap(blocksOf)
const first = blocks[0]?.code ?? ''
const setup = first.slice(0, first.indexOf('})\n') + 3)

interface Run extends Pick<Program, 'out'> {
  readonly relay: ScriptedSmtpServer
  readonly backup: ScriptedSmtpServer
  /** What the courier of docs/providers.md was sent. */
  readonly carried: readonly unknown[]
}

interface Expectation {
  /** Starts what the block needs beside mail servers, and answers where it is, or why there is none. */
  readonly servers?: (t: TestContext) => Promise<Record<string, string> | { readonly skip: string }>
  readonly before?: (servers: Pick<Run, 'relay' | 'backup'>) => void
  readonly check: (run: Run) => Promise<void> | void
}

const subjects = async (server: ScriptedSmtpServer) => (await server.accepted()).map(({ subject }) => subject)
const lines = (out: string) => out.trimEnd().split('\n')

/** What must have happened after each block; a block without an entry fails. */
const expectations: Record<string, Expectation> = {
  'README.md: Sendwright 1': {
    async check({ relay, out }) {
      const [mail] = await relay.accepted()
      assert.deepEqual([mail?.recipients, mail?.subject, mail?.from], [['ada@example.com'], 'Your order', acme])
      assert.match(out, /^sent msg_/)
    },
  },
  'README.md: Send 1': {
    async check({ relay, out }) {
      const [mail] = await relay.accepted()
      assert.deepEqual(mail?.recipients, ['ada@example.com', 'bob@example.com', 'archive@acme.example'])
      assert.ok(!Buffer.from(mail?.raw ?? []).includes('archive@'))
      assert.deepEqual(mail?.headers['x-order'], ['1048'])
      assert.deepEqual(mail?.metadata, { order: '1048' })
      assert.deepEqual(mail?.attachments.map(({ filename }) => filename).sort(), ['invoice.pdf', 'logo.png'])
      assert.match(out, /ada@example\.com sent\n.*Z accepted \n.* attempt relay\n.* sent relay\n$/s)
    },
  },
  'README.md: Errors 1': {
    async check({ relay, out }) {
      assert.deepEqual(await subjects(relay), [])
      assert.match(out, /^to .+\nVALIDATION_ERROR 400\n$/)
    },
  },
  'README.md: Batches 1': {
    async check({ relay, out }) {
      assert.deepEqual((await subjects(relay)).sort(), ['News for Ada', 'News for Bob'])
      assert.equal(out, '2 sent, 1 failed\n1 VALIDATION_ERROR\n')
    },
  },
  'README.md: Batches 2': {
    async check({ relay, out }) {
      assert.equal(new Set(await subjects(relay)).size, 250)
      assert.equal(relay.raw.length, 250)
      assert.equal(out, '')
    },
  },
  'README.md: Queue 1': {
    async check({ relay, out }) {
      assert.deepEqual(await subjects(relay), ['Welcome'])
      assert.equal(out, 'scheduled\ntrue sent\n0 0\n')
    },
  },
  'README.md: Stores 1': {
    async check({ relay, out }) {
      assert.deepEqual(await subjects(relay), ['Welcome'])
      assert.equal(out, 'true sent\n')
    },
  },
  'docs/stores.md: SQLite 1': {
    async check({ relay, out }) {
      assert.deepEqual(await subjects(relay), ['Hello'])
      assert.equal(out, "[ 'sent' ]\n")
    },
  },
  'docs/stores.md: Redis 1': {
    async servers(t) {
      const found = await findRedis()
      if ('skip' in found) return found
      t.after(async () => {
        await removeKeys(found.url, 'acme-mail')
        await found.stop()
      })
      return { REDIS_URL: found.url }
    },
    async check({ relay, out }) {
      assert.deepEqual(await subjects(relay), ['Order 1050'])
      assert.equal(out, 'sent\n')
    },
  },
  'docs/stores.md: PostgreSQL 1': {
    async servers(t) {
      const found = await findPostgres()
      if ('skip' in found) return found
      const pool = new pg.Pool(found.config)
      t.after(async () => {
        await pool.query('DROP SCHEMA IF EXISTS acme_mail CASCADE')
        await pool.end()
        await found.stop()
      })
      const { rows } = await pool.query('SELECT current_user, current_database(), inet_server_port() AS port')
      const { current_user, current_database, port } = rows[0]
      return { DATABASE_URL: `postgres://${current_user}@127.0.0.1:${port}/${current_database}` }
    },
    async check({ relay, out }) {
      assert.deepEqual(await subjects(relay), ['Order 1051'])
      assert.equal(out, 'sent\n')
    },
  },
  'docs/stores.md: PostgreSQL 2': {
    check({ out }) {
      assert.match(out, /CREATE SCHEMA[^;]*acme_mail/)
    },
  },
  'docs/stores.md: A Keyv 1': {
    check({ out }) {
      assert.equal(out, '3\n')
    },
  },
  'docs/stores.md: What a crash leaves 1': {
    check({ out }) {
      assert.equal(out, 'failed\n')
    },
  },
  'docs/stores.md: Writing a store 1': {
    check({ out }) {
      assert.match(out, /fail 0/)
    },
  },
  'README.md: Idempotency 1': {
    async check({ relay, out }) {
      assert.deepEqual(await subjects(relay), ['Order 1048'])
      assert.equal(out, 'true 1\n')
    },
  },
  'README.md: Idempotency 2': {
    async check({ relay, out }) {
      assert.deepEqual(await subjects(relay), ['Order 1049'])
      assert.equal(out, 'before the restart false\nafter it true\n')
    },
  },
  'README.md: Suppression 1': {
    async check({ relay, out }) {
      const [mail, ...more] = await relay.accepted()
      assert.equal(more.length, 0)
      assert.deepEqual(mail?.recipients, ['ada@example.com'])
      assert.deepEqual(
        mail?.to.map(({ address }) => address),
        ['ada@example.com'],
      )
      assert.deepEqual(
        lines(out).map((line) => line.trim().toLowerCase()),
        ['ada@example.com sent', 'bob@example.com suppressed unsubscribe'],
      )
    },
  },
  'README.md: Tenants 1': {
    async check({ relay, backup }) {
      assert.deepEqual(
        (await relay.accepted()).map(({ from }) => from.address),
        ['mail@north.example'],
      )
      assert.deepEqual(
        (await backup.accepted()).map(({ from }) => from.address),
        ['mail@south.example'],
      )
    },
  },
  'README.md: Routing and failover 1': {
    before: ({ relay }) => relay.fail({ at: 'sender', kind: '4xx' }),
    async check({ relay, backup, out }) {
      assert.deepEqual(await subjects(relay), [])
      assert.deepEqual(await subjects(backup), ['Hello'])
      assert.match(out, /^main failed 4.+\nbackup sent/)
    },
  },
  'README.md: Limits 1': {
    async check({ relay, out }) {
      assert.equal((await relay.accepted()).length, 1)
      assert.equal(out, 'SEND_LIMIT_EXCEEDED true\n')
    },
  },
  'README.md: Sandbox 1': {
    check({ relay, out }) {
      assert.equal(relay.connections, 0)
      assert.equal(out, 'sandboxed\n')
    },
  },
  'README.md: Your own policy 1': {
    async check({ relay }) {
      assert.deepEqual(await subjects(relay), ['[staging] Hello'])
    },
  },
  'README.md: Test your application 1': { check: nothingLeft },
  'docs/testing.md: Without a network 1': { check: nothingLeft },
  'docs/testing.md: With real sockets 1': { check: nothingLeft },
  'docs/providers.md: Writing a provider 1': {
    check({ carried, out }) {
      const [mail] = carried as { recipients: string[]; subject: string; reference: string }[]
      assert.deepEqual([carried.length, mail?.recipients, mail?.subject], [1, ['ada@example.com'], 'Hello'])
      assert.match(mail?.reference ?? '', /^msg_/)
      assert.equal(out, 'sent courier-1\n')
    },
  },
}

const acme = { name: 'Acme', address: 'hello@acme.example' }

/** Blocks that assert for themselves: that they ended with 0 is the test. */
function nothingLeft({ relay }: Run): void {
  assert.equal(relay.connections, 0)
}

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'readme-'))
  await mkdir(join(folder, 'node_modules'))
  for (const name of ['@types', 'keyv', 'pg', 'postal-mime', 'redis']) {
    await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
  await symlink(root, join(folder, 'node_modules/sendwright'))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
})
after(() => rm(folder, { recursive: true }))

/** A block as a file of its own, which goes on with the first one's mailer if it makes none. */
async function writeBlock(name: string, code: string): Promise<string> {
  const file = join(folder, `${name.replace(/\W+/g, '-')}.ts`)
  await writeFile(file, code.includes('createMailer({') ? code : `${setup}${code}`)
  return file
}

test('every block compiles under strict', async () => {
  const files: string[] = []
  for (const { name, language, code } of blocks) if (language === 'ts') files.push(await writeBlock(name, code))
  const options = `--noEmit --strict --target es2023 --lib es2024,esnext.disposable --module nodenext --types node --ignoreConfig`
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const types = ['--typeRoots', join(root, 'node_modules/@types')]
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...options.split(' '), ...types, ...files], {
    encoding: 'utf8',
  })
  assert.equal(status, 0, stdout)
})

for (const { name, language, code } of blocks.filter(({ language }) => language !== 'sh')) {
  test(`${name} runs as it stands, ends by itself, and does what the page says`, async (t) => {
    const expectation = expectations[name]
    assert.ok(expectation, 'this block has no expectation: say what must have happened')
    assert.equal(language, 'ts')
    const [relay, backup, courier] = await Promise.all([createSmtpServer(), createSmtpServer(), courierServer()])
    for (const server of [relay, backup, courier]) t.after(() => server.close())
    const { carried } = courier
    expectation.before?.({ relay, backup })
    const file = await writeBlock(name, code)
    const servers = await expectation.servers?.(t)
    if (servers && 'skip' in servers) return t.skip(servers.skip)
    const environment = {
      SMTP_URL: relay.url,
      BACKUP_URL: backup.url,
      COURIER_URL: courier.url,
      // Node 22 warns about its SQLite.
      NODE_OPTIONS: '--disable-warning=ExperimentalWarning',
      ...servers,
    }
    const program = start(t, file, environment, [], await mkdtemp(join(folder, 'run-')))
    assert.equal(await program.ended, 0, program.err)
    assert.equal(program.err, '')
    await expectation.check({ relay, backup, carried, out: program.out })
  })
}

test('every expectation belongs to a block', () => {
  const names = new Set(blocks.map(({ name }) => name))
  assert.deepEqual(
    Object.keys(expectations).filter((name) => !names.has(name)),
    [],
  )
})

test('every command on the pages is one that exists', () => {
  const { scripts, name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const commands = blocks.filter(({ language }) => language === 'sh').flatMap(({ code }) => code.split(/\n|&&/))
  const known = [
    'npm ci',
    'npm test',
    `npm install ${name}`,
    ...Object.keys(scripts).map((script) => `npm run ${script}`),
  ]
  const unknown = commands.map((command) => command.trim()).filter((command) => command && !known.includes(command))
  assert.ok(commands.length > 3)
  assert.deepEqual(unknown, [])
})

test('every link on the pages leads to a file', () => {
  for (const page of pages) {
    for (const [, target = ''] of readFileSync(join(root, page), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)) {
      assert.ok(existsSync(join(root, dirname(page), target)), `${page}: ${target}`)
    }
  }
})

test('the flag the README names for Jest is the one the package check runs Jest with', () => {
  const [, flag = 'none'] =
    /NODE_OPTIONS: '(--[\w-]+)'/.exec(readFileSync(join(root, 'scripts/check-package.ts'), 'utf8')) ?? []
  assert.ok(readFileSync(join(root, 'README.md'), 'utf8').includes(`\`NODE_OPTIONS=${flag}\``), flag)
})

/** One of each, with options that open nothing. */
const providers: Record<string, Provider> = {
  smtp: smtp({ host: 'smtp.example.com' }),
  ses: ses({ region: 'eu-west-1' }),
  sendgrid: sendgrid({ apiKey: 'SG.x.y' }),
  mailgun: mailgun({ apiKey: 'key', domain: 'acme.example' }),
  nodemailer: nodemailer({ transport: 'smtp://127.0.0.1:1' }),
  memory: memory(),
}

function providerTable(): string {
  const count = (value: number | false) =>
    value === false ? 'no' : value === Number.POSITIVE_INFINITY ? 'any' : value.toLocaleString('en')
  const rows = Object.entries(providers).map(([name, { capabilities: can }]) => [
    `\`sendwright/providers/${name}\``,
    count(can.recipients),
    can.bytes === Number.POSITIVE_INFINITY ? 'any' : `${can.bytes / 1_000_000} MB`,
    can.attachments ? (can.inline ? 'yes, inline too' : 'yes') : 'no',
    can.calendar ? 'yes' : 'no',
    count(can.tags),
    { events: 'in events', header: 'as a header', false: 'no' }[String(can.metadata)] ?? '',
    { always: 'yes', negotiated: 'if the server does', never: 'no' }[can.nonAsciiLocalPart],
    can.bulk > 1 ? count(can.bulk) : '–',
  ])
  const heading = [
    'Import',
    'Recipients',
    'Size',
    'Attachments',
    'Calendar',
    'Tags',
    'Metadata',
    'Non-ASCII mailboxes',
    'Bulk call',
  ]
  return [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

test('the README’s provider table says what the providers’ capabilities say (UPDATE=1 writes it)', () => {
  const files = globSync('providers/*.ts', { cwd: root }).map((file) => file.slice('providers/'.length, -'.ts'.length))
  assert.deepEqual(Object.keys(providers).sort(), files.sort())
  const between = /(?<=<!-- providers -->\n).*(?=<!-- \/providers -->)/s
  const page = readFileSync(join(root, 'README.md'), 'utf8')
  const updated = page.replace(between, `${providerTable()}\n`)
  if (process.env.UPDATE) writeFileSync(join(root, 'README.md'), updated)
  else assert.equal(page, updated)
})

/** The API docs/providers.md speaks to. */
async function courierServer() {
  const carried: unknown[] = []
  const server = createServer(async (request, response) => {
    carried.push(await json(request))
    response.end(JSON.stringify({ id: `courier-${carried.length}` }))
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return {
    carried,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mails`,
    async close() {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}
