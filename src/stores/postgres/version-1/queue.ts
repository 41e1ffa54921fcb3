import { settings } from './shared.ts'

/** Tenants with something ready that one call looks at, and when to look on where more of them were left out than that. */
const lookedAtOnce = 10_000
const lookOnAfter = 100

export const queueFunctions = (schema: string): string =>
  [ripening, due, besides].map((part) => part(schema)).join('\n')

/** Rows of `work` are changed here without a lock of their message, but those that are locked are passed over. */
const ripening = (schema: string) => `
-- Makes ready what was put off (1) or scheduled (2) and has come due: first those due longest; when there are more, a few of
-- each tenant, so that none waits for another's thousands. A bounded number in all.
CREATE FUNCTION ${schema}.ripen(_state smallint, _now bigint, _turn text, _most integer) RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
  ripened integer;
  minute bigint;
  turn text := _turn;
BEGIN
  WITH ripe AS (
    SELECT w.place FROM ${schema}.work w
    WHERE w.state = _state AND w.state <> 0 AND w.moment <= _now
    ORDER BY w.state, w.moment LIMIT _most FOR UPDATE SKIP LOCKED
  )
  UPDATE ${schema}.work w SET state = 0 FROM ripe WHERE w.place = ripe.place;
  GET DIAGNOSTICS ripened = ROW_COUNT;
  IF ripened < _most THEN
    RETURN;
  END IF;
  SELECT w.moment / 60000 INTO minute FROM ${schema}.work w
  WHERE w.state = _state AND w.state <> 0 AND w.moment <= _now ORDER BY w.state, w.moment LIMIT 1;
  FOR tenants IN 1..32 LOOP
    SELECT w.moment / 60000, w.tenant INTO minute, turn FROM ${schema}.work w
    WHERE w.state = _state AND w.state IN (1, 2) AND (w.moment / 60000, w.tenant) > (minute, turn)
      AND w.moment / 60000 <= _now / 60000
    ORDER BY w.moment / 60000, w.tenant LIMIT 1;
    EXIT WHEN NOT FOUND;
    WITH ripe AS (
      SELECT w.place FROM ${schema}.work w
      WHERE w.state = _state AND w.state IN (1, 2) AND w.moment / 60000 = minute AND w.tenant = turn AND w.moment <= _now
      ORDER BY w.moment LIMIT 4 FOR UPDATE SKIP LOCKED
    )
    UPDATE ${schema}.work w SET state = 0 FROM ripe WHERE w.place = ripe.place;
  END LOOP;
END
$function$;
`

const due = (schema: string) => `
-- The last row tells \`next\`, and the tenant that had its turn last; \`_turn\` is that of the call before.
CREATE FUNCTION ${schema}.due(
  _deadline bigint, _now bigint, _wall bigint, _count integer, _lease bigint, _lost boolean, _turn text, _without text[],
  _records bigint, _contents bigint
) RETURNS TABLE (id text, fence bigint, body text, content text, tenant text, next bigint)
${settings} SET enable_sort = off AS $function$
#variable_conflict use_column
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
  wall bigint := coalesce(_wall, ${schema}.server_time());
  taken bigint[] := '{}';
  lost record;
  one bigint;
  turn text;
  last text := _turn;
  turns record;
  round text[];
  again text[];
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  FOR lost IN
    SELECT w.place AS place, m.phase AS phase FROM ${schema}.work w JOIN ${schema}.messages m ON m.place = w.place
    WHERE w.state = 3 AND w.state <> 0 AND w.moment <= now
    ORDER BY w.state, w.moment LIMIT _count FOR UPDATE OF m SKIP LOCKED
  LOOP
    -- What was read before the lock may have changed: each step looks again.
    IF lost.phase > 0 THEN
      DELETE FROM ${schema}.work w WHERE w.place = lost.place AND w.state = 3 AND w.moment <= now;
      IF FOUND THEN
        PERFORM ${schema}.let_go(lost.place, now, _records, _contents);
      END IF;
    ELSE
      UPDATE ${schema}.work w SET moment = now + _lease WHERE w.place = lost.place AND w.state = 3 AND w.moment <= now;
      IF FOUND THEN
        taken := taken || lost.place;
      END IF;
    END IF;
  END LOOP;

  IF NOT _lost THEN
    PERFORM ${schema}.ripen(1::smallint, now, _turn, 100 + 2 * _count);
    PERFORM ${schema}.ripen(2::smallint, wall, _turn, 100 + 2 * _count);
  END IF;

  -- One more than have a turn now: so much tells whether anything is left.
  turns := ${schema}.turns(_turn, _without, CASE WHEN _lost THEN 1 ELSE greatest(_count - cardinality(taken), 0) + 1 END);
  IF NOT _lost THEN
    round := turns.tenants;
    WHILE cardinality(round) > 0 AND cardinality(taken) < _count LOOP
      again := '{}';
      FOREACH turn IN ARRAY round LOOP
        EXIT WHEN cardinality(taken) >= _count;
        SELECT w.place INTO one FROM ${schema}.work w JOIN ${schema}.messages m ON m.place = w.place
        WHERE w.state = 0 AND w.tenant = turn
        ORDER BY w.tenant, w.priority DESC, w.line LIMIT 1 FOR UPDATE OF m SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        again := again || turn;
        UPDATE ${schema}.work w SET state = 3, moment = now + _lease WHERE w.place = one AND w.state = 0;
        IF FOUND THEN
          taken := taken || one;
          last := turn;
        END IF;
      END LOOP;
      round := again;
    END LOOP;
    last := coalesce(turns.ended_at, last);
  END IF;

  UPDATE ${schema}.messages m SET fence = nextval('${schema}.numbers') WHERE m.place = ANY (taken);
  RETURN QUERY
    SELECT m.id, m.fence, m.body, c.content, m.tenant, NULL::bigint
    FROM unnest(taken) WITH ORDINALITY AS one (place, position)
    JOIN ${schema}.messages m ON m.place = one.place
    LEFT JOIN ${schema}.contents c ON c.place = one.place
    ORDER BY one.position;
  id := NULL;
  tenant := last;
  next := least(
    (SELECT min(w.moment) FROM ${schema}.work w WHERE w.state = 1 AND w.state <> 0) - now,
    (SELECT min(w.moment) FROM ${schema}.work w WHERE w.state = 2 AND w.state <> 0) - wall
  );
  IF next < 0 OR EXISTS (
    SELECT FROM unnest(turns.tenants) AS one (tenant)
    WHERE EXISTS (SELECT FROM ${schema}.work w WHERE w.state = 0 AND w.tenant = one.tenant)
  ) THEN
    next := 0;
  ELSIF turns.ended_at IS NOT NULL THEN
    next := least(next, ${lookOnAfter});
  END IF;
  RETURN NEXT;
  PERFORM ${schema}.sweep(now, 16);
  PERFORM ${schema}.in_time(_deadline);
END
$function$;
`

const besides = (schema: string) => `
-- Up to \`_most\` tenants that have something ready, in the order of names and around from \`_turn\` on, leaving out those of
-- \`_without\`. \`ended_at\` is where the look ended before it had seen all.
CREATE FUNCTION ${schema}.turns(_turn text, _without text[], _most integer, OUT tenants text[], OUT ended_at text)
LANGUAGE plpgsql AS $function$
DECLARE
  start text := _turn;
  looked integer := 0;
  one record;
BEGIN
  tenants := '{}';
  LOOP
    FOR one IN
      WITH RECURSIVE ready (tenant) AS (
        (SELECT w.tenant FROM ${schema}.work w WHERE w.state = 0 AND w.tenant > start ORDER BY w.tenant LIMIT 1)
        UNION ALL
        SELECT later.tenant FROM ready CROSS JOIN LATERAL (
          SELECT w.tenant FROM ${schema}.work w WHERE w.state = 0 AND w.tenant > ready.tenant ORDER BY w.tenant LIMIT 1
        ) AS later
      )
      SELECT r.tenant AS tenant, r.tenant IN (SELECT unnest(_without)) AS left_out, start = '' AND r.tenant > _turn AS seen
      FROM ready r
    LOOP
      IF one.seen AND _turn <> '' THEN
        RETURN;
      END IF;
      IF NOT one.left_out THEN
        tenants := tenants || one.tenant;
        IF cardinality(tenants) = _most THEN
          RETURN;
        END IF;
      END IF;
      looked := looked + 1;
      IF looked = ${lookedAtOnce} THEN
        ended_at := one.tenant;
        RETURN;
      END IF;
    END LOOP;
    IF start = '' THEN
      RETURN;
    END IF;
    start := '';
  END LOOP;
END
$function$;

-- A settled or unknown message whose holder vanished: nobody's work, and over when it would have been, or in due time.
CREATE FUNCTION ${schema}.let_go(_place bigint, _now bigint, _records bigint, _contents bigint) RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
  look_again bigint;
BEGIN
  UPDATE ${schema}.messages m
  SET content_until = coalesce(m.content_until, _now + _contents),
    kept_until = CASE WHEN m.phase = 2 THEN coalesce(
      m.kept_until, greatest(_now + _records, CASE WHEN m.key IS NOT NULL THEN m.key_until END)
    ) END
  WHERE m.place = _place RETURNING least(m.content_until, m.kept_until) INTO look_again;
  INSERT INTO ${schema}.expiries (moment, place) VALUES (look_again, _place);
END
$function$;

-- A message that cannot be read: nobody is to work on it again. It keeps its key.
CREATE FUNCTION ${schema}.set_aside(_deadline bigint, _id text, _fence bigint, OUT done boolean)
${settings} AS $function$
DECLARE
  damaged bigint;
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  SELECT m.place INTO damaged FROM ${schema}.messages m WHERE m.id = _id AND m.fence = _fence FOR UPDATE;
  done := FOUND;
  UPDATE ${schema}.messages m SET fence = NULL WHERE m.place = damaged;
  DELETE FROM ${schema}.work w WHERE w.place = damaged;
END
$function$;

-- How many wait, counted no further than \`_most\`.
CREATE FUNCTION ${schema}.waiting(_deadline bigint, _most bigint, OUT waiting bigint) ${settings} AS $function$
BEGIN
  SELECT count(*) INTO waiting FROM (
    SELECT FROM (
      SELECT FROM ${schema}.work w WHERE w.state = 0
      UNION ALL SELECT FROM ${schema}.work w WHERE w.state = 1 AND w.state <> 0
      UNION ALL SELECT FROM ${schema}.work w WHERE w.state = 2 AND w.state <> 0
    ) AS every LIMIT _most
  ) AS counted;
END
$function$;
`
