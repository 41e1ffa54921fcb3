import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { sqlite } from '../../src/stores/sqlite.ts'
import { describeStore } from '../../src/testing/describe-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

const folder = mkdtempSync(join(tmpdir(), 'sendwright-sqlite-'))
let files = 0

describeStore(
  'sqlite',
  () => {
    const clock = fakeClock()
    const store = sqlite(join(folder, `${++files}.db`), { clock })
    return { store, now: clock.now, advance: clock.advance, step: clock.step }
  },
  { describe, it },
)
