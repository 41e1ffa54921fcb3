import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { violations } from '../../scripts/check-imports.ts'

/** What the check says of a tree of these files. */
function check(files: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'imports-'))
  try {
    for (const [name, source] of Object.entries(files)) {
      mkdirSync(dirname(join(root, name)), { recursive: true })
      writeFileSync(join(root, name), source)
    }
    return violations(root)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

test('imports that keep to the arrows pass', () => {
  const found = check({
    'src/provider.ts': "import type { E } from './errors.ts'\n",
    'src/errors.ts': "import { inspect } from 'node:util'\n",
    'src/stores/store.ts': "import type { E } from '../errors.ts'\n",
    'src/ledger/ledger.ts': "import { s } from '../stores/store.ts'\n// import { m } from '../mailer.ts'\n",
    'src/policies/quota.ts': "import { l } from '../ledger/ledger.ts'\n",
    'src/mailer.ts': "import { q } from './policies/quota.ts'\n",
    'src/testing/suite.ts': "import { createMailer } from '../mailer.ts'\n",
    'providers/shared/load.ts': "import { p } from '../../src/provider.ts'\n",
    'providers/smtp/pool.ts': "import { p } from '../../src/provider.ts'\nimport { l } from '../shared/load.ts'\n",
    'providers/smtp.ts': "import { p } from './smtp/pool.ts'\nconst sdk = () => import('nodemailer')\n",
  })
  assert.deepEqual(found, [])
})

for (const [what, files, expected] of [
  [
    'a cycle',
    { 'src/a.ts': "import { b } from './b.ts'\n", 'src/b.ts': "import {\n  type A,\n} from './a.ts'\n" },
    'cycle: src/a.ts → src/b.ts → src/a.ts',
  ],
  [
    'a file that imports itself by import()',
    { 'src/a.ts': "const again = () => import('./a.ts')\n" },
    'cycle: src/a.ts → src/a.ts',
  ],
  [
    'src that imports a provider',
    { 'src/mailer.ts': "import { smtp } from '../providers/smtp.ts'\n" },
    'src/mailer.ts may not import providers/smtp.ts',
  ],
  [
    'src that loads a provider later',
    { 'src/mailer.ts': "  const { smtp } = await import('../providers/smtp.ts')\n" },
    'src/mailer.ts may not import providers/smtp.ts',
  ],
  [
    'src that imports what is for tests',
    { 'src/mailer.ts': "export * from './testing/index.ts'\n" },
    'src/mailer.ts may not import src/testing/index.ts',
  ],
  [
    'a provider that imports another',
    { 'providers/ses.ts': "import { smtp } from './smtp.ts'\n" },
    'providers/ses.ts may not import providers/smtp.ts',
  ],
  [
    'a provider that imports from a room of another',
    { 'providers/ses.ts': "import { pool } from './smtp/pool.ts'\n" },
    'providers/ses.ts may not import providers/smtp/pool.ts',
  ],
  [
    'a provider that imports more of src than the contract',
    { 'providers/ses.ts': "import '../src/errors.ts'\n" },
    'providers/ses.ts may not import src/errors.ts',
  ],
  [
    'a provider that imports the package by its name',
    { 'providers/ses.ts': "import { MailError } from 'sendwright'\n" },
    'providers/ses.ts may not import sendwright',
  ],
  [
    'a store that knows the ledger',
    { 'src/stores/memory.ts': "export { l } from '../ledger/ledger.ts'\n" },
    'upwards: src/stores/memory.ts → src/ledger/ledger.ts',
  ],
  [
    'a ledger that reaches the dispatch by way of another file',
    {
      'src/ledger/row.ts': "import { c } from '../call.ts'\n",
      'src/call.ts': "import { r } from './dispatch/route.ts'\n",
    },
    'upwards: src/ledger/row.ts → src/call.ts → src/dispatch/route.ts',
  ],
] as const satisfies readonly [string, Record<string, string>, string][]) {
  test(`the import check catches ${what}`, () => assert.deepEqual(check(files), [expected]))
}
