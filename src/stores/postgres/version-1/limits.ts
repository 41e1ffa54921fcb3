import { settings } from './shared.ts'

/**
 * The sliding windows of `window.ts`, bucket for bucket: 61 counts a window in a ring, in one array for all windows of a key.
 * Slot `s` of window `i` is element `61 * (i - 1) + s + 1`.
 */
export const limitFunctions = (schema: string): string =>
  [windows, take, besides].map((part) => part(schema)).join('\n')

const windows = (schema: string) => `
-- The windows as they stand at _now, with those of _lengths that are not there yet.
CREATE FUNCTION ${schema}.windows_at(_windows ${schema}.windows, _lengths double precision[], _now double precision)
RETURNS ${schema}.windows LANGUAGE plpgsql AS $function$
DECLARE
  lengths double precision[] := coalesce(_windows.lengths, '{}');
  newest bigint[] := coalesce(_windows.newest, '{}');
  totals double precision[] := coalesce(_windows.totals, '{}');
  counts double precision[] := coalesce(_windows.counts, '{}');
  length double precision;
  bucket bigint;
  slot integer;
BEGIN
  FOREACH length IN ARRAY _lengths LOOP
    IF array_position(lengths, length) IS NULL THEN
      lengths := lengths || length;
      newest := newest || floor(_now / (length / 60))::bigint;
      totals := totals || 0::double precision;
      counts := counts || array_fill(0::double precision, ARRAY[61]);
    END IF;
  END LOOP;
  FOR i IN 1..cardinality(lengths) LOOP
    bucket := floor(_now / (lengths[i] / 60))::bigint;
    IF bucket > newest[i] THEN
      IF totals[i] <> 0 THEN
        FOR back IN 0..least(bucket - newest[i] - 1, 60)::integer LOOP
          slot := 61 * (i - 1) + mod(mod(bucket - back, 61) + 61, 61) + 1;
          totals[i] := totals[i] - counts[slot];
          counts[slot] := 0;
        END LOOP;
      END IF;
      newest[i] := bucket;
    END IF;
  END LOOP;
  _windows.lengths := lengths;
  _windows.newest := newest;
  _windows.totals := totals;
  _windows.counts := counts;
  RETURN _windows;
END
$function$;

-- Milliseconds until the cost fits into window _i, which stands at _now; 0 when it does, infinity when it never will.
CREATE FUNCTION ${schema}.window_wait(
  _windows ${schema}.windows, _i integer, _cost double precision, _limit double precision, _now double precision
) RETURNS double precision LANGUAGE plpgsql AS $function$
DECLARE
  excess double precision := _windows.totals[_i] + _cost - _limit;
  width double precision := _windows.lengths[_i] / 60;
  wait double precision;
  bucket bigint;
BEGIN
  IF _cost > _limit THEN
    RETURN 'infinity';
  END IF;
  IF excess <= 0 THEN
    RETURN 0;
  END IF;
  -- A bucket's number is too large for the variable of such a loop.
  FOR back IN REVERSE 60..0 LOOP
    bucket := _windows.newest[_i] - back;
    excess := excess - _windows.counts[61 * (_i - 1) + mod(mod(bucket, 61) + 61, 61) + 1];
    IF excess <= 0 THEN
      -- The product may be rounded to either side of the moment at which division sees the next bucket.
      wait := greatest(1, ceil((bucket + 61) * width - _now) - 1);
      WHILE floor((_now + wait) / width) < bucket + 61 LOOP
        wait := wait + 1;
      END LOOP;
      RETURN wait;
    END IF;
  END LOOP;
  RETURN _windows.lengths[_i];
END
$function$;
`

const take = (schema: string) => `
-- \`refused\` is the position, from 0, of the window that takes longest to fit; null when the cost was taken.
CREATE FUNCTION ${schema}.take(
  _deadline bigint, _now bigint, _key text, _lengths double precision[], _limits double precision[],
  _cost double precision, OUT taken_at bigint, OUT used double precision[], OUT refused integer,
  OUT retry_after double precision
) ${settings} AS $function$
DECLARE
  now bigint;
  kept ${schema}.windows;
  slot integer;
  wait double precision;
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  -- First without a lock: what does not fit is refused without a write, however many ask.
  FOR look IN 1..4 LOOP
    IF look = 1 THEN
      SELECT w.* INTO kept FROM ${schema}.windows w WHERE w.key = _key;
    ELSE
      SELECT w.* INTO kept FROM ${schema}.windows w WHERE w.key = _key FOR UPDATE;
    END IF;
    now := coalesce(_now, ${schema}.server_time());
    kept := ${schema}.windows_at(kept, _lengths, now);
    retry_after := 0;
    FOR i IN 1..cardinality(_lengths) LOOP
      wait := ${schema}.window_wait(kept, array_position(kept.lengths, _lengths[i]), _cost, _limits[i], now);
      IF wait > retry_after THEN
        retry_after := wait;
        refused := i - 1;
      END IF;
    END LOOP;
    IF refused IS NOT NULL THEN
      RETURN;
    END IF;
    IF kept.key IS NULL THEN
      -- Nobody counted under this key yet, or it was swept: a row to lock, empty.
      INSERT INTO ${schema}.windows (key, lengths, newest, totals, counts, idle_at)
      VALUES (_key, '{}', '{}', '{}', '{}', now + 60000) ON CONFLICT DO NOTHING;
    ELSIF look > 1 THEN
      FOR i IN 1..cardinality(kept.lengths) LOOP
        slot := 61 * (i - 1) + mod(mod(kept.newest[i], 61) + 61, 61) + 1;
        kept.counts[slot] := kept.counts[slot] + _cost;
        kept.totals[i] := kept.totals[i] + _cost;
      END LOOP;
      PERFORM ${schema}.keep_windows(kept, now);
      taken_at := now;
      used := ${schema}.windows_used(kept, _lengths);
      PERFORM ${schema}.in_time(_deadline);
      RETURN;
    END IF;
  END LOOP;
  RAISE EXCEPTION 'busy' USING ERRCODE = '40001';
END
$function$;
`

const besides = (schema: string) => `
-- When all are surely idle is rounded up by the longest of them, so that it seldom changes, and its index with it.
CREATE FUNCTION ${schema}.keep_windows(_windows ${schema}.windows, _now bigint) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
  longest bigint := (SELECT coalesce(ceil(max(one.length)), 0) FROM unnest(_windows.lengths) AS one (length));
  step bigint := greatest(60000, longest);
BEGIN
  UPDATE ${schema}.windows w
  SET lengths = _windows.lengths, newest = _windows.newest, totals = _windows.totals, counts = _windows.counts,
    idle_at = ((_now + longest) / step + 2) * step
  WHERE w.key = _windows.key;
  DELETE FROM ${schema}.windows WHERE ctid = ANY (ARRAY(
    SELECT w.ctid FROM ${schema}.windows w WHERE w.idle_at <= _now ORDER BY w.idle_at LIMIT 2 FOR UPDATE SKIP LOCKED
  ));
END
$function$;

CREATE FUNCTION ${schema}.windows_used(_windows ${schema}.windows, _lengths double precision[])
RETURNS double precision[] LANGUAGE plpgsql AS $function$
DECLARE
  used double precision[] := '{}';
  length double precision;
BEGIN
  FOREACH length IN ARRAY _lengths LOOP
    used := used || coalesce(_windows.totals[array_position(_windows.lengths, length)], 0);
  END LOOP;
  RETURN used;
END
$function$;

CREATE FUNCTION ${schema}.usage(
  _deadline bigint, _now bigint, _key text, _lengths double precision[], OUT used double precision[]
) ${settings} AS $function$
DECLARE
  kept ${schema}.windows;
BEGIN
  SELECT w.* INTO kept FROM ${schema}.windows w WHERE w.key = _key;
  kept := ${schema}.windows_at(kept, '{}', coalesce(_now, ${schema}.server_time()));
  used := ${schema}.windows_used(kept, _lengths);
END
$function$;

-- The windows, which stand at their newest buckets, without what _cost counts at _at in window _i.
CREATE FUNCTION ${schema}.windows_without(
  _windows ${schema}.windows, _i integer, _cost double precision, _at bigint
) RETURNS ${schema}.windows LANGUAGE plpgsql AS $function$
DECLARE
  bucket bigint := floor(_at / (_windows.lengths[_i] / 60))::bigint;
  slot integer := 61 * (_i - 1) + mod(mod(bucket, 61) + 61, 61) + 1;
  returned double precision;
BEGIN
  IF bucket BETWEEN _windows.newest[_i] - 60 AND _windows.newest[_i] THEN
    returned := least(_cost, _windows.counts[slot]);
    _windows.counts[slot] := _windows.counts[slot] - returned;
    _windows.totals[_i] := _windows.totals[_i] - returned;
  END IF;
  RETURN _windows;
END
$function$;

CREATE FUNCTION ${schema}.refund(
  _deadline bigint, _now bigint, _key text, _lengths double precision[], _cost double precision, _taken_at bigint,
  OUT refunded boolean
) ${settings} AS $function$
DECLARE
  now bigint;
  kept ${schema}.windows;
  length double precision;
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  SELECT w.* INTO kept FROM ${schema}.windows w WHERE w.key = _key FOR UPDATE;
  refunded := FOUND;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  now := coalesce(_now, ${schema}.server_time());
  kept := ${schema}.windows_at(kept, '{}', now);
  FOREACH length IN ARRAY _lengths LOOP
    IF array_position(kept.lengths, length) IS NOT NULL THEN
      kept := ${schema}.windows_without(kept, array_position(kept.lengths, length), _cost, _taken_at);
    END IF;
  END LOOP;
  PERFORM ${schema}.keep_windows(kept, now);
  PERFORM ${schema}.in_time(_deadline);
END
$function$;

CREATE FUNCTION ${schema}.move(
  _deadline bigint, _now bigint, _key text, _lengths double precision[], _costs double precision[], _froms bigint[],
  _tos bigint[], OUT moved boolean
) ${settings} AS $function$
DECLARE
  now bigint;
  kept ${schema}.windows;
  length double precision;
  i integer;
  bucket bigint;
  slot integer;
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  FOR look IN 1..4 LOOP
    SELECT w.* INTO kept FROM ${schema}.windows w WHERE w.key = _key FOR UPDATE;
    EXIT WHEN kept.key IS NOT NULL;
    -- It was swept: a row to lock, empty.
    INSERT INTO ${schema}.windows (key, lengths, newest, totals, counts, idle_at)
    VALUES (_key, '{}', '{}', '{}', '{}', coalesce(_now, ${schema}.server_time()) + 60000) ON CONFLICT DO NOTHING;
  END LOOP;
  IF kept.key IS NULL THEN
    RAISE EXCEPTION 'busy' USING ERRCODE = '40001';
  END IF;
  now := coalesce(_now, ${schema}.server_time());
  kept := ${schema}.windows_at(kept, _lengths, now);
  FOREACH length IN ARRAY _lengths LOOP
    i := array_position(kept.lengths, length);
    FOR n IN 1..cardinality(_costs) LOOP
      kept := ${schema}.windows_without(kept, i, _costs[n], _froms[n]);
      bucket := least(floor(_tos[n] / (length / 60))::bigint, kept.newest[i]);
      CONTINUE WHEN bucket < kept.newest[i] - 60;
      slot := 61 * (i - 1) + mod(mod(bucket, 61) + 61, 61) + 1;
      kept.counts[slot] := kept.counts[slot] + _costs[n];
      kept.totals[i] := kept.totals[i] + _costs[n];
    END LOOP;
  END LOOP;
  PERFORM ${schema}.keep_windows(kept, now);
  moved := true;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;
`
