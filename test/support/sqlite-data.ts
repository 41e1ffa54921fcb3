import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { rowOfRecord } from '../../src/stores/row-record.ts'
import { isWaiting } from '../../src/stores/row-status.ts'
import { listLabels, providerLabel } from '../../src/stores/sqlite/labels.ts'
import { rowState } from '../../src/stores/sqlite/schema.ts'
import type { StoredRow, WithBody } from '../../src/stores/sqlite/stored-row.ts'
import { settledStatuses } from '../../src/stores/store.ts'

/** Runs `look` on a connection of its own, beside whatever stores are open. */
export function onFile<T>(path: string, look: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(path, { timeout: 5_000 })
  try {
    return look(database)
  } finally {
    database.close()
  }
}

export function execOnFile(path: string, sql: string): void {
  onFile(path, (database) => database.exec(sql))
}

/** Rows in each table of the store. */
export function tableSizes(path: string): Record<string, number> {
  return onFile(path, (database) => {
    const tables = database
      .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'sendwright_%'`)
      .all() as { name: string }[]
    return Object.fromEntries(
      tables.map(({ name }) => [
        name.slice('sendwright_'.length),
        (database.prepare(`SELECT count(*) AS count FROM ${name}`).get() as { count: number }).count,
      ]),
    )
  })
}

/** What must hold in the file at any time: columns agree with bodies, and what leads to a row is there, once, and no more. */
export function checkSqliteData(path: string): void {
  onFile(path, (database) => {
    const { integrity_check } = database.prepare('PRAGMA integrity_check').get() as { integrity_check: string }
    assert.equal(integrity_check, 'ok')
    const rows = database.prepare('SELECT * FROM sendwright_messages').all() as unknown as WithBody[]
    for (const stored of rows) checkRow(stored)
    const contents = database.prepare('SELECT number FROM sendwright_contents').all() as { number: number }[]
    const withContent = rows.filter(({ has_content }) => has_content).map(({ number }) => number)
    assert.deepEqual(contents.map(({ number }) => number).toSorted(), withContent.toSorted())
    const labels = database.prepare('SELECT label, created_at, number FROM sendwright_labels').all()
    assert.deepEqual(
      (labels as unknown as Label[]).map(labelText).sort(),
      rows.flatMap(labelsOfStored).map(labelText).sort(),
    )
  })
}

interface Label {
  readonly label: number
  readonly created_at: number
  readonly number: number
}

const labelText = ({ label, created_at, number }: Label) => JSON.stringify([label, created_at, number])

function labelsOfStored(stored: WithBody): Label[] {
  const row = rowOfRecord(stored.id, stored)
  const earlier = JSON.parse(stored.earlier_provider_ids ?? '[]') as string[]
  const providerIds = [...(row.providerMessageId === undefined ? [] : [row.providerMessageId]), ...earlier]
  const labels = new Set([...(row.accepted ? listLabels(row) : []), ...providerIds.map(providerLabel)])
  return [...labels].map((label) => ({ label, created_at: row.createdAt, number: stored.number }))
}

function checkRow(stored: WithBody & { readonly place?: number | null }): void {
  const row = rowOfRecord(stored.id, stored)
  const { state, wake, place } = stored
  assert.equal(stored.tenant, row.tenant === undefined ? '' : `=${row.tenant}`)
  assert.equal(stored.status, row.status)
  assert.equal(stored.accepted, Number(row.accepted))
  assert.equal(stored.created_at, row.createdAt)
  assert.equal(wake === null, state === rowState.resting || state === rowState.ready, `wake of state ${state}`)
  if (state === rowState.leased) return
  const waits = [rowState.ready, rowState.delayed, rowState.scheduled].some((one) => one === state)
  assert.equal(waits, isWaiting(row), `${row.status} in state ${state}`)
  assert.equal(typeof place === 'number', waits)
  if (settledStatuses.has(row.status)) checkEnd(stored)
}

function checkEnd({ state, wake, kept_until, content_until, has_content }: StoredRow): void {
  assert.ok(kept_until !== null)
  if (state === rowState.kept) assert.equal(wake, kept_until)
  else assert.ok(state === rowState.content && has_content === 1 && wake === content_until)
}
