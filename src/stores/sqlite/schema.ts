import type { Connection } from './connection.ts'

/** What `state` of a message says, which is also what `wake` is the time of. The numbers are written in the indexes below. */
export const rowState = {
  /** Nothing will happen by itself. */
  resting: 0,
  /** Waits in the queue, in the order of `place`. */
  ready: 1,
  /** Waits until `wake` in steady time. */
  delayed: 2,
  /** Waits until `wake` in wall time. */
  scheduled: 3,
  /** Somebody works on it until `wake` in steady time. */
  leased: 4,
  /** Its content goes at `wake` in steady time. */
  content: 5,
  /** It goes at `wake` in steady time. */
  kept: 6,
} as const

/**
 * One step per version of the schema, from an empty file on. A file of an earlier release is taken through the steps it
 * lacks; steps that were released are never changed.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE sendwright_messages (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    status TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    wake INTEGER,
    -- Given when it first waits, kept until it rests.
    place INTEGER,
    -- Of the last holder; negative once nobody holds it.
    fence INTEGER NOT NULL,
    key TEXT,
    key_until INTEGER,
    kept_until INTEGER,
    content_until INTEGER,
    has_content INTEGER NOT NULL,
    has_provider_id INTEGER NOT NULL,
    -- Provider ids before the one in the body: a JSON array.
    earlier_provider_ids TEXT,
    -- Checksum of what its labels for lists were made from.
    labels INTEGER,
    body TEXT NOT NULL
  );
  CREATE UNIQUE INDEX sendwright_messages_key ON sendwright_messages (key) WHERE key IS NOT NULL;
  CREATE INDEX sendwright_messages_list ON sendwright_messages (tenant, status, created_at) WHERE accepted = 1;
  CREATE INDEX sendwright_messages_agenda ON sendwright_messages (state, wake) WHERE wake IS NOT NULL;
  CREATE INDEX sendwright_messages_ready ON sendwright_messages (tenant, priority DESC, place) WHERE state = 1;
  CREATE INDEX sendwright_messages_waiting ON sendwright_messages (tenant, state, wake) WHERE state IN (2, 3);

  -- Apart from the messages, so that a change of status does not write it anew.
  CREATE TABLE sendwright_contents (number INTEGER PRIMARY KEY, content TEXT NOT NULL);

  -- Checksums of what messages are found by: few bytes each, since they come in no order and every one costs a page.
  CREATE TABLE sendwright_labels (
    label INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (label, created_at, number)
  ) WITHOUT ROWID;

  CREATE TABLE sendwright_suppressions (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    scope TEXT NOT NULL,
    reason TEXT NOT NULL,
    note TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (tenant, key, scope)
  ) WITHOUT ROWID;

  CREATE TABLE sendwright_windows (key TEXT PRIMARY KEY, idle_at INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE sendwright_counters (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE sendwright_once (id TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;

  CREATE TABLE sendwright_entries (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    until INTEGER,
    value TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
  );
  `,
]

/**
 * Brings the tables up to date, inside a transaction.
 *
 * @returns the version found when it is newer than this release knows; nothing was changed then.
 */
export function migrate(connection: Connection, steps: readonly string[] = migrations): number | undefined {
  connection.exec(
    `CREATE TABLE IF NOT EXISTS sendwright_store (
      one INTEGER PRIMARY KEY CHECK (one = 1),
      version INTEGER NOT NULL,
      boot TEXT NOT NULL,
      offset INTEGER NOT NULL,
      highest INTEGER NOT NULL
    )`,
  )
  connection.run(`INSERT INTO sendwright_store VALUES (1, 0, '', 0, 0) ON CONFLICT DO NOTHING`)
  const { version } = connection.get('SELECT version FROM sendwright_store') as { version: number }
  if (version > steps.length) return version
  for (const step of steps.slice(version)) connection.exec(step)
  if (version < steps.length) connection.run('UPDATE sendwright_store SET version = ?', steps.length)
  return undefined
}
