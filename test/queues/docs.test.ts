import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { postgresMigration } from '../../src/stores/postgres.ts'
import { createSmtpServer } from '../../src/testing/smtp-server.ts'
import { query, reasonNotToStart, startPostgres } from '../support/postgres-server.ts'
import { start } from '../support/program.ts'
import { hasRedisServer, startRedis } from '../support/redis-server.ts'
import { urlOf } from './ground.ts'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/queues.md'), 'utf8')
/** One a section, by its heading. */
const blocks = page.split(/^## /m).flatMap((section) => {
  const name = section.slice(0, section.indexOf('\n'))
  const code = /^```ts\n(.*?)^```$/ms.exec(section)?.[1]
  return code === undefined ? [] : [{ name, code }]
})

describe('docs/queues.md', {
  skip: hasRedisServer() ? (reasonNotToStart() ?? false) : 'no redis-server installed',
}, () => {
  let folder = ''
  const fileOf = (name: string) => join(folder, `${name.replace(/\W+/g, '-')}.ts`)
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'queues-md-'))
    await mkdir(join(folder, 'node_modules'))
    for (const name of ['@types', 'pg', 'pg-boss', 'redis']) {
      await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name))
    }
    await symlink(root, join(folder, 'node_modules/sendwright'))
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
    for (const { name, code } of blocks) await writeFile(fileOf(name), code)
  })
  after(() => rm(folder, { recursive: true }))

  test('every block compiles under strict', async () => {
    assert.deepEqual(
      blocks.map(({ name }) => name),
      ['BullMQ', 'pg-boss', 'In your own transaction'],
    )
    const options =
      '--noEmit --strict --target es2023 --lib es2024 --module nodenext --types node --skipLibCheck --ignoreConfig'
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const files = (await readdir(folder)).filter((name) => name.endsWith('.ts')).map((name) => join(folder, name))
    const types = ['--typeRoots', join(root, 'node_modules/@types')]
    const { status, stdout } = spawnSync(process.execPath, [tsc, ...options.split(' '), ...types, ...files], {
      encoding: 'utf8',
    })
    assert.equal(status, 0, stdout)
  })

  test('every block runs as it stands against real servers, and ends by itself', async (t) => {
    const smtp = await createSmtpServer()
    t.after(() => smtp.close())
    const redis = await startRedis({ appendonly: 'everysec' })
    t.after(() => redis.stop())
    const postgres = await startPostgres()
    t.after(() => postgres.stop())
    // On a busy machine it takes longer than a call waits.
    await query(postgres.config, postgresMigration())
    const env = { SMTP_URL: smtp.url, REDIS_URL: redis.url, DATABASE_URL: urlOf(postgres.config) }
    const expected: Record<string, string> = {
      BullMQ: 'queued\nsent\n',
      'pg-boss': 'queued\nsent\n',
      'In your own transaction': '',
    }
    for (const { name } of blocks) {
      const program = start(t, fileOf(name), env)
      assert.equal(await program.ended, 0, `${name}: ${program.err}`)
      assert.deepEqual([program.out, program.err], [expected[name], ''], name)
    }
    assert.deepEqual(
      (await smtp.accepted()).map(({ subject }) => subject),
      ['Welcome', 'Welcome'],
    )
    const waiting = await query(
      postgres.config,
      "SELECT count(*) AS count FROM sendwright.messages WHERE status = 'queued'",
    )
    assert.equal(Number(waiting[0]!.count), 1)
  })

  test('every link on the page leads somewhere', () => {
    const anchors = new Set(
      [...page.matchAll(/^#+ (.+)$/gm)].map(([, title]) => title!.toLowerCase().replaceAll(' ', '-')),
    )
    for (const [, target] of page.matchAll(/\]\(([^)]+)\)/g)) {
      if (target!.startsWith('#')) assert.ok(anchors.has(target!.slice(1)), target)
      else readFileSync(join(root, 'docs', target!))
    }
  })
})
