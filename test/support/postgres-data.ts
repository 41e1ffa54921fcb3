import assert from 'node:assert/strict'
import type { Pool } from 'pg'

/** What must hold between the tables of a store whenever no call is under way, whatever was called in which order. */
const violations: Readonly<Record<string, string>> = {
  'work of no message': 'SELECT place FROM s.work WHERE place NOT IN (SELECT place FROM s.messages)',
  'content of no message': 'SELECT place FROM s.contents WHERE place NOT IN (SELECT place FROM s.messages)',
  'labels of no message, or not its own': `SELECT l.place FROM s.labels l LEFT JOIN s.messages m USING (place)
    WHERE m.place IS NULL OR l.created_at <> m.created_at
      OR l.label <> ALL (coalesce(m.labels, '{}') || coalesce(m.provider_labels, '{}'))`,
  'a message without one of its labels': `SELECT m.place
    FROM s.messages m, unnest(coalesce(m.labels, '{}') || coalesce(m.provider_labels, '{}')) AS own (label)
    WHERE NOT EXISTS (SELECT FROM s.labels l WHERE l.label = own.label AND l.place = m.place)`,
  'labels of what was not accepted': 'SELECT place FROM s.messages WHERE NOT accepted AND labels IS NOT NULL',
  'a settled message that will not end, or an open one that will': `SELECT place FROM s.messages m
    WHERE (phase = 2) <> (kept_until IS NOT NULL)
      AND NOT EXISTS (SELECT FROM s.work w WHERE w.place = m.place AND w.state = 3)`,
  'content that will not end': `SELECT place FROM s.messages m JOIN s.contents USING (place)
    WHERE phase > 0 AND content_until IS NULL
      AND NOT EXISTS (SELECT FROM s.work w WHERE w.place = m.place AND w.state = 3)`,
  'an end nobody looks for': `SELECT m.place FROM s.messages m
    WHERE least(kept_until, CASE WHEN EXISTS (SELECT FROM s.contents c WHERE c.place = m.place) THEN content_until END)
      < coalesce((SELECT min(e.moment) FROM s.expiries e WHERE e.place = m.place), 'infinity'::float8::numeric)
      AND NOT EXISTS (SELECT FROM s.work w WHERE w.place = m.place AND w.state = 3)`,
  'open, and neither held nor waiting nor at rest': `SELECT place FROM s.messages m
    WHERE phase = 0 AND NOT EXISTS (SELECT FROM s.work w WHERE w.place = m.place)`,
  'waiting in the wrong place': `SELECT place FROM s.messages m JOIN s.work w USING (place)
    WHERE w.state < 3 AND (m.phase <> 0 OR m.tenant <> w.tenant OR m.status <> ALL (
      CASE w.state WHEN 1 THEN '{queued}'::text[] WHEN 2 THEN '{scheduled}' ELSE '{queued,scheduled}' END))`,
}

/** @throws AssertionError that says what does not hold, and for which places. */
export async function checkPostgresData(pool: Pool, schema: string): Promise<void> {
  for (const [violation, query] of Object.entries(violations)) {
    const { rows } = await pool.query(query.replaceAll(' s.', ` "${schema}".`))
    assert.deepEqual(rows, [], violation)
  }
}
