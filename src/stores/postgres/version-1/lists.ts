import { settings } from './shared.ts'

/**
 * Newest first, from the cursor on, which is the place (creation, id) of the last one before. What was not accepted, and what
 * is over, is left out; content is not listed. Only what was created in the same millisecond is sorted: the rest comes in the
 * order of an index.
 */
export const listFunctions = (schema: string): string => {
  const page = `m.accepted AND (m.created_at < _at OR m.id < _id)
      AND (m.kept_until IS NULL OR m.kept_until > now OR ${schema}.is_leased(m.place, now))`
  return `
CREATE FUNCTION ${schema}.list(
  _deadline bigint, _now bigint, _tenant text, _label uuid, _dispatching boolean, _since bigint, _until bigint,
  _at bigint, _id text, _most integer
) RETURNS TABLE (id text, created_at bigint, body text)
${settings} SET enable_sort = off AS $function$
#variable_conflict use_column
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
BEGIN
  IF _dispatching THEN
    -- There are never more of them than are being worked on, so they have no list of their own.
    RETURN QUERY SELECT m.id, m.created_at, m.body
    FROM ${schema}.work w JOIN ${schema}.messages m ON m.place = w.place
    WHERE w.state IN (3, 4) AND w.state <> 0 AND m.tenant = _tenant AND m.status = 'dispatching'
      AND m.created_at BETWEEN _since AND least(_at, _until) AND ${page}
    ORDER BY m.created_at DESC, m.id DESC LIMIT _most;
  ELSIF _label IS NOT NULL THEN
    RETURN QUERY SELECT m.id, m.created_at, m.body
    FROM ${schema}.labels l JOIN ${schema}.messages m ON m.place = l.place
    WHERE l.label = _label AND l.created_at BETWEEN _since AND least(_at, _until) AND ${page}
    ORDER BY l.created_at DESC, m.id DESC LIMIT _most;
  ELSE
    RETURN QUERY SELECT m.id, m.created_at, m.body
    FROM ${schema}.messages m
    WHERE m.tenant = _tenant AND m.created_at BETWEEN _since AND least(_at, _until) AND ${page}
    ORDER BY m.created_at DESC, m.id DESC LIMIT _most;
  END IF;
END
$function$;
`
}
