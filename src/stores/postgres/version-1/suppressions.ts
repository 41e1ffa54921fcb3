import { settings } from './shared.ts'

export const suppressionFunctions = (schema: string): string => `
-- Of each key that is covered, as JSON: its position and the entry, in the first of the scopes that has one.
CREATE FUNCTION ${schema}.look(_tenant text, _keys text[], _scopes text[], _wall bigint) RETURNS text
LANGUAGE plpgsql AS $function$
BEGIN
  RETURN (
    SELECT json_agg(json_build_array(
      asked.position - 1, entry.scope, entry.reason, entry.note, entry.created_at, entry.expires_at
    ))
    FROM unnest(_keys) WITH ORDINALITY AS asked (key, position)
    CROSS JOIN LATERAL (
      SELECT s.* FROM ${schema}.suppressions s
      WHERE s.tenant = _tenant AND s.key = asked.key AND s.scope = ANY (_scopes)
        AND (s.expires_at IS NULL OR s.expires_at > _wall)
      ORDER BY array_position(_scopes, s.scope) LIMIT 1
    ) AS entry
  );
END
$function$;

CREATE FUNCTION ${schema}.suppressed(
  _deadline bigint, _wall bigint, _tenant text, _keys text[], _scopes text[], OUT covered text
) ${settings} AS $function$
BEGIN
  covered := ${schema}.look(_tenant, _keys, _scopes, coalesce(_wall, ${schema}.server_time()));
END
$function$;

-- The arrays hold one entry after the other, in the order of the primary key, so that no two calls wait for each other.
CREATE FUNCTION ${schema}.suppress(
  _deadline bigint, _wall bigint, _tenants text[], _keys text[], _scopes text[], _reasons text[], _notes text[],
  _created double precision[], _expires double precision[], OUT added boolean
) ${settings} AS $function$
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  INSERT INTO ${schema}.suppressions (tenant, key, scope, reason, note, created_at, expires_at)
  SELECT * FROM unnest(_tenants, _keys, _scopes, _reasons, _notes, _created, _expires)
  ON CONFLICT (tenant, key, scope) DO UPDATE
  SET reason = excluded.reason, note = excluded.note, created_at = excluded.created_at, expires_at = excluded.expires_at;
  DELETE FROM ${schema}.suppressions WHERE ctid = ANY (ARRAY(
    SELECT s.ctid FROM ${schema}.suppressions s
    WHERE s.expires_at <= coalesce(_wall, ${schema}.server_time())
    ORDER BY s.expires_at LIMIT 16 FOR UPDATE SKIP LOCKED
  ));
  added := true;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;

CREATE FUNCTION ${schema}.unsuppress(
  _deadline bigint, _wall bigint, _tenant text, _key text, _scope text, OUT removed integer
) ${settings} AS $function$
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  WITH gone AS (
    DELETE FROM ${schema}.suppressions s
    WHERE s.tenant = _tenant AND s.key = _key AND (_scope IS NULL OR s.scope = _scope)
    RETURNING s.expires_at
  )
  SELECT count(*) FILTER (WHERE gone.expires_at IS NULL OR gone.expires_at > coalesce(_wall, ${schema}.server_time()))
  INTO removed FROM gone;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;

-- Of one mailbox when there is a key, else of the tenant: those after (_after_key, _after_scope).
CREATE FUNCTION ${schema}.suppressions_of(
  _deadline bigint, _wall bigint, _tenant text, _key text, _after_key text, _after_scope text, _limit integer
) RETURNS SETOF ${schema}.suppressions ${settings} AS $function$
DECLARE
  wall bigint := coalesce(_wall, ${schema}.server_time());
BEGIN
  IF _key IS NOT NULL THEN
    RETURN QUERY SELECT s.* FROM ${schema}.suppressions s
    WHERE s.tenant = _tenant AND s.key = _key AND (s.expires_at IS NULL OR s.expires_at > wall)
    ORDER BY s.scope;
  ELSE
    RETURN QUERY SELECT s.* FROM ${schema}.suppressions s
    WHERE s.tenant = _tenant AND (s.key, s.scope) > (_after_key, _after_scope)
      AND (s.expires_at IS NULL OR s.expires_at > wall)
    ORDER BY s.key, s.scope LIMIT _limit;
  END IF;
END
$function$;
`
