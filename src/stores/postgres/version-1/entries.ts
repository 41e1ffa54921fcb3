import { settings } from './shared.ts'

export const entryFunctions = (schema: string): string => [events, entries].map((part) => part(schema)).join('\n')

const events = (schema: string) => `
CREATE FUNCTION ${schema}.once(_deadline bigint, _now bigint, _id text, _life bigint, OUT first boolean)
${settings} AS $function$
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  INSERT INTO ${schema}.events_seen AS seen (id, until) VALUES (_id, now + _life)
  ON CONFLICT (id) DO UPDATE SET until = excluded.until WHERE seen.until <= now;
  first := FOUND;
  DELETE FROM ${schema}.events_seen WHERE ctid = ANY (ARRAY(
    SELECT s.ctid FROM ${schema}.events_seen s WHERE s.until <= now ORDER BY s.until LIMIT 4 FOR UPDATE SKIP LOCKED
  ));
  PERFORM ${schema}.in_time(_deadline);
END
$function$;

-- A counter that nobody adds to is forgotten after its life, rounded up to days so that its index seldom changes.
CREATE FUNCTION ${schema}.count(
  _deadline bigint, _now bigint, _key text, _amount double precision, _life bigint, OUT counted boolean
) ${settings} AS $function$
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  INSERT INTO ${schema}.counters AS counter (key, amount, kept_until)
  VALUES (_key, _amount, ((now + _life) / 86400000 + 1) * 86400000)
  ON CONFLICT (key) DO UPDATE SET amount = counter.amount + excluded.amount, kept_until = excluded.kept_until;
  DELETE FROM ${schema}.counters WHERE ctid = ANY (ARRAY(
    SELECT c.ctid FROM ${schema}.counters c
    WHERE c.kept_until <= now ORDER BY c.kept_until LIMIT 2 FOR UPDATE SKIP LOCKED
  ));
  counted := true;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;

CREATE FUNCTION ${schema}.counted(_deadline bigint, _keys text[]) RETURNS TABLE (amount double precision)
${settings} AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT coalesce(c.amount, 0)
  FROM unnest(_keys) WITH ORDINALITY AS asked (key, position)
  LEFT JOIN ${schema}.counters c ON c.key = asked.key ORDER BY asked.position;
END
$function$;
`

const entries = (schema: string) => `
CREATE FUNCTION ${schema}.entries_of(_deadline bigint, _now bigint, _namespace text, _names text[])
RETURNS TABLE (value text) ${settings} AS $function$
#variable_conflict use_column
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
BEGIN
  RETURN QUERY SELECT e.value
  FROM unnest(_names) WITH ORDINALITY AS asked (name, position)
  LEFT JOIN ${schema}.entries e
    ON e.namespace = _namespace AND e.name = asked.name AND (e.until IS NULL OR e.until > now)
  ORDER BY asked.position;
END
$function$;

-- The arrays are in the order of the names, so that no two calls wait for each other.
CREATE FUNCTION ${schema}.set_entries(
  _deadline bigint, _now bigint, _namespace text, _names text[], _keys text[], _values text[], _lives bigint[],
  OUT done boolean
) ${settings} AS $function$
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  INSERT INTO ${schema}.entries (namespace, name, key, value, until)
  SELECT _namespace, given.name, given.key, given.value, now + given.life
  FROM unnest(_names, _keys, _values, _lives) AS given (name, key, value, life)
  ON CONFLICT (namespace, name) DO UPDATE SET value = excluded.value, until = excluded.until;
  DELETE FROM ${schema}.entries WHERE ctid = ANY (ARRAY(
    SELECT e.ctid FROM ${schema}.entries e WHERE e.until <= now ORDER BY e.until LIMIT 4 + 2 * cardinality(_names)
    FOR UPDATE SKIP LOCKED
  ));
  done := true;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;

-- Answers the names that were there.
CREATE FUNCTION ${schema}.delete_entries(_deadline bigint, _now bigint, _namespace text, _names text[])
RETURNS TABLE (name text) ${settings} AS $function$
#variable_conflict use_column
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  RETURN QUERY WITH gone AS (
    DELETE FROM ${schema}.entries e WHERE e.namespace = _namespace AND e.name = ANY (_names) RETURNING e.name, e.until
  ) SELECT gone.name FROM gone WHERE gone.until IS NULL OR gone.until > now;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;

-- Deletes up to _most entries after a name; answers the last one it deleted, or null when none was left.
CREATE FUNCTION ${schema}.clear_entries(_deadline bigint, _namespace text, _after text, _most integer, OUT last text)
${settings} AS $function$
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  WITH part AS (
    SELECT e.name FROM ${schema}.entries e WHERE e.namespace = _namespace AND e.name > _after
    ORDER BY e.name LIMIT _most
  ), gone AS (
    DELETE FROM ${schema}.entries e USING part WHERE e.namespace = _namespace AND e.name = part.name
  )
  SELECT max(part.name) INTO last FROM part;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;

CREATE FUNCTION ${schema}.scan_entries(_deadline bigint, _now bigint, _namespace text, _after text, _most integer)
RETURNS TABLE (key text, value text) ${settings} AS $function$
#variable_conflict use_column
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
BEGIN
  RETURN QUERY SELECT coalesce(e.key, e.name), e.value FROM ${schema}.entries e
  WHERE e.namespace = _namespace AND e.name > _after AND (e.until IS NULL OR e.until > now)
  ORDER BY e.name LIMIT _most;
END
$function$;
`
