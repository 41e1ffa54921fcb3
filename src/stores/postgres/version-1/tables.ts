/**
 * Moments are milliseconds since 1970 of the server's clock. Columns that change with every write of a message are in no
 * index, so that such a write touches none (HOT), and what must be found by time stands in narrow tables beside it.
 */
export const tables = (schema: string): string => `
-- Fences, the places of messages in the order of their claims, and those in the line that waits.
CREATE SEQUENCE ${schema}.numbers;

CREATE TABLE ${schema}.messages (
  place bigint PRIMARY KEY,
  created_at bigint NOT NULL,
  -- Who may write; null when nobody may.
  fence bigint,
  key_until bigint,
  -- Of a settled message: gone from then on, unless somebody works on it.
  kept_until bigint,
  -- Of a settled or unknown one: its content is gone from then on.
  content_until bigint,
  -- 0 for work, 1 for unknown, 2 for settled.
  phase smallint NOT NULL,
  accepted boolean NOT NULL,
  key uuid,
  id text COLLATE "C" NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  labels uuid[],
  provider_labels uuid[],
  -- The row as JSON after a checksum.
  body text NOT NULL
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX messages_id ON ${schema}.messages (id);
CREATE UNIQUE INDEX messages_key ON ${schema}.messages (key) WHERE key IS NOT NULL;
CREATE INDEX messages_time ON ${schema}.messages (tenant, created_at);

CREATE TABLE ${schema}.contents (
  place bigint PRIMARY KEY,
  content text NOT NULL
);

-- Recipients, tags, statuses and the ids of providers, as hashes: one index for every list.
CREATE TABLE ${schema}.labels (
  label uuid NOT NULL,
  created_at bigint NOT NULL,
  place bigint NOT NULL,
  PRIMARY KEY (label, created_at, place)
);

-- What is to be done: 0 ready since its moment, 1 put off until it, 2 scheduled for it (on the wall clock), 3 held until
-- it, 4 at rest without an end. A settled or unknown message has none.
CREATE TABLE ${schema}.work (
  place bigint PRIMARY KEY,
  moment bigint NOT NULL,
  priority integer NOT NULL,
  state smallint NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  -- Where it stands among those that wait: a number it is given when it first does, and keeps until it rests.
  line bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX work_ready ON ${schema}.work (tenant, priority DESC, line) WHERE state = 0;
CREATE INDEX work_moments ON ${schema}.work (state, moment) WHERE state <> 0;
CREATE INDEX work_waiting ON ${schema}.work (state, (moment / 60000), tenant, moment) WHERE state IN (1, 2);

-- When to look at a message again because it, or its content, may be over.
CREATE TABLE ${schema}.expiries (
  moment bigint NOT NULL,
  place bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX expiries_moment ON ${schema}.expiries (moment);

CREATE TABLE ${schema}.suppressions (
  tenant text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  scope text COLLATE "C" NOT NULL,
  reason text NOT NULL,
  note text,
  created_at double precision NOT NULL,
  expires_at double precision,
  PRIMARY KEY (tenant, key, scope)
);
CREATE INDEX suppressions_expiry ON ${schema}.suppressions (expires_at) WHERE expires_at IS NOT NULL;

-- Of each window its length, its newest bucket, what it holds in all, and a ring of 61 buckets; see window.ts.
CREATE TABLE ${schema}.windows (
  key text COLLATE "C" PRIMARY KEY,
  lengths double precision[] NOT NULL,
  newest bigint[] NOT NULL,
  totals double precision[] NOT NULL,
  counts double precision[] NOT NULL,
  idle_at bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX windows_idle ON ${schema}.windows (idle_at);

CREATE TABLE ${schema}.counters (
  key text COLLATE "C" PRIMARY KEY,
  amount double precision NOT NULL,
  kept_until bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX counters_end ON ${schema}.counters (kept_until);

CREATE TABLE ${schema}.events_seen (
  id text COLLATE "C" PRIMARY KEY,
  until bigint NOT NULL
);
CREATE INDEX events_seen_end ON ${schema}.events_seen (until);

-- The application's own data, through Keyv. The name is the key, or the beginning and the hash of a long one.
CREATE TABLE ${schema}.entries (
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  key text COLLATE "C",
  value text NOT NULL,
  until bigint,
  PRIMARY KEY (namespace, name)
);
CREATE INDEX entries_end ON ${schema}.entries (until) WHERE until IS NOT NULL;
`
