/**
 * How every function runs that is called from outside: names resolve to nothing the caller could put in their place, locks
 * are waited for a second at most, and plans use the indexes however small a table was when they were made.
 */
export const settings = `LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' SET jit = off
  SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
  SET enable_hashjoin = off SET enable_mergejoin = off`

export const sharedFunctions = (schema: string): string => `
CREATE FUNCTION ${schema}.server_time() RETURNS bigint LANGUAGE sql VOLATILE AS $function$
  SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
$function$;

-- What was asked with a deadline must not happen after it. Called first, and last, when all locks were waited for.
CREATE FUNCTION ${schema}.in_time(_deadline bigint) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
  IF ${schema}.server_time() > _deadline THEN
    RAISE EXCEPTION 'late' USING ERRCODE = 'SW001', DETAIL = ${schema}.server_time();
  END IF;
END
$function$;
`
