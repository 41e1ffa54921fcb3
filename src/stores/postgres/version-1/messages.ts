import { settings } from './shared.ts'

/** Of every function that changes a message: the lock of its row in `messages` comes first, so that none waits in a circle. */
export const messageFunctions = (schema: string): string =>
  [reading, claim, renew, settle, takeover].map((part) => part(schema)).join('\n')

const claim = (schema: string) => `
CREATE FUNCTION ${schema}.claim(
  _deadline bigint, _now bigint, _wall bigint,
  _id text, _tenant text, _created_at bigint, _accepted boolean, _status text, _phase smallint, _priority integer,
  _due_at bigint, _body text, _labels uuid[], _provider_label uuid, _content text,
  _key uuid, _key_ttl bigint, _lease bigint, _records bigint, _contents bigint, _full boolean,
  _look_keys text[], _look_scopes text[],
  OUT state text, OUT fence bigint, OUT id text, OUT body text, OUT content text, OUT leased boolean, OUT covered text
) ${settings} AS $function$
#variable_conflict use_column
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
  wall bigint := coalesce(_wall, ${schema}.server_time());
  place bigint := nextval('${schema}.numbers');
  holder ${schema}.messages;
  kept_until bigint;
  content_until bigint;
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  IF _lease IS NULL AND _phase = 2 THEN
    kept_until := greatest(now + _records, CASE WHEN _key IS NOT NULL THEN now + _key_ttl END);
  END IF;
  IF _lease IS NULL AND _phase > 0 AND _content IS NOT NULL THEN
    content_until := now + _contents;
  END IF;
  FOR attempt IN 1..5 LOOP
    IF NOT _full THEN
      INSERT INTO ${schema}.messages (
        place, created_at, fence, key_until, kept_until, content_until, phase, accepted, key, id, tenant, status, labels,
        provider_labels, body
      ) VALUES (
        place, _created_at, place, CASE WHEN _key IS NOT NULL THEN now + _key_ttl END, kept_until, content_until, _phase,
        _accepted, _key, _id, _tenant, _status, _labels,
        CASE WHEN _provider_label IS NOT NULL THEN ARRAY[_provider_label] END, _body
      ) ON CONFLICT DO NOTHING;
      IF FOUND THEN
        state := 'claimed';
        EXIT;
      END IF;
    END IF;
    -- Another holds the id or the key. It may have been committed only now, so this is a new look.
    SELECT m.* INTO holder FROM ${schema}.messages m WHERE m.id = _id;
    IF NOT FOUND THEN
      SELECT m.* INTO holder FROM ${schema}.messages m WHERE m.key = _key;
    END IF;
    IF NOT FOUND THEN
      IF _full THEN
        state := 'full';
        RETURN;
      END IF;
      CONTINUE;
    END IF;
    IF holder.kept_until <= now AND NOT ${schema}.is_leased(holder.place, now) THEN
      SELECT m.* INTO holder FROM ${schema}.messages m WHERE m.place = holder.place AND m.kept_until <= now FOR UPDATE;
      IF FOUND AND NOT ${schema}.is_leased(holder.place, now) THEN
        PERFORM ${schema}.forget(holder.place);
      END IF;
      CONTINUE;
    END IF;
    IF holder.id <> _id AND holder.phase = 2 AND holder.key_until <= now THEN
      -- The life of the key is over; its row stays.
      UPDATE ${schema}.messages m SET key = NULL
      WHERE m.place = holder.place AND m.key = _key AND m.phase = 2 AND m.key_until <= now;
      CONTINUE;
    END IF;
    state := 'held';
    id := holder.id;
    body := holder.body;
    leased := ${schema}.is_leased(holder.place, now);
    content := ${schema}.content_of(holder, leased, now);
    RETURN;
  END LOOP;
  IF state IS NULL THEN
    RAISE EXCEPTION 'busy' USING ERRCODE = '40001';
  END IF;
  fence := place;
  IF _labels IS NOT NULL OR _provider_label IS NOT NULL OR _content IS NOT NULL THEN
    PERFORM ${schema}.write_beside(place, _created_at, NULL, _labels, NULL, _provider_label, _content, true);
  END IF;
  PERFORM ${schema}.put(place, _tenant, _status, _phase, _priority, _lease, NULL, _due_at, now);
  IF least(content_until, kept_until) IS NOT NULL THEN
    INSERT INTO ${schema}.expiries (moment, place) VALUES (least(content_until, kept_until), place);
  END IF;
  IF _look_keys IS NOT NULL THEN
    covered := ${schema}.look(_tenant, _look_keys, _look_scopes, wall);
  END IF;
  -- Not in an application's transaction that keeps to its snapshot: what others have swept since would fail it.
  IF random() < 0.125 AND current_setting('transaction_isolation') = 'read committed' THEN
    PERFORM ${schema}.sweep(now, 32);
  END IF;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;
`

const renew = (schema: string) => `
CREATE FUNCTION ${schema}.renew(
  _deadline bigint, _now bigint, _wall bigint,
  _id text, _tenant text, _accepted boolean, _status text, _phase smallint, _priority integer, _body text,
  _labels uuid[], _provider_label uuid, _content text, _same_content boolean, _fence bigint, _lease bigint,
  _look_keys text[], _look_scopes text[], OUT renewed boolean, OUT covered text
) ${settings} AS $function$
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
  wall bigint := coalesce(_wall, ${schema}.server_time());
  old ${schema}.messages;
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  SELECT m.* INTO old FROM ${schema}.messages m WHERE m.id = _id AND m.fence = _fence FOR UPDATE;
  renewed := FOUND AND NOT (coalesce(old.kept_until <= now, false) AND NOT ${schema}.is_leased(old.place, now));
  IF NOT renewed THEN
    RETURN;
  END IF;
  old.provider_labels := ${schema}.write_beside(
    old.place, old.created_at, old.labels, _labels, old.provider_labels, _provider_label, _content, _same_content
  );
  UPDATE ${schema}.messages m
  SET accepted = _accepted, status = _status, phase = _phase, body = _body, labels = _labels,
    provider_labels = old.provider_labels,
    kept_until = CASE WHEN _phase = 2 THEN m.kept_until END, content_until = CASE WHEN _phase > 0 THEN m.content_until END
  WHERE m.place = old.place;
  PERFORM ${schema}.put(old.place, old.tenant, _status, _phase, _priority, _lease, NULL, NULL, now);
  IF _look_keys IS NOT NULL THEN
    covered := ${schema}.look(_tenant, _look_keys, _look_scopes, wall);
  END IF;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;
`

const settle = (schema: string) => `
CREATE FUNCTION ${schema}.settle(
  _deadline bigint, _now bigint,
  _id text, _accepted boolean, _status text, _phase smallint, _priority integer, _due_at bigint, _body text,
  _labels uuid[], _provider_label uuid, _content text, _same_content boolean, _fence bigint,
  _release boolean, _remove boolean, _delay bigint, _records bigint, _contents bigint, _full boolean, OUT state text
) ${settings} AS $function$
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
  old ${schema}.messages;
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  SELECT m.* INTO old FROM ${schema}.messages m WHERE m.id = _id AND m.fence = _fence FOR UPDATE;
  IF NOT FOUND OR (coalesce(old.kept_until <= now, false) AND NOT ${schema}.is_leased(old.place, now)) THEN
    state := 'lost';
    RETURN;
  END IF;
  IF _remove THEN
    PERFORM ${schema}.forget(old.place);
  ELSIF _full AND (NOT old.accepted OR old.phase > 0) THEN
    -- What the queue has begun it may also take back, however full it is.
    state := 'full';
    RETURN;
  ELSE
    IF _release THEN
      old.key := NULL;
    END IF;
    old.kept_until := CASE
      WHEN _phase = 2 THEN greatest(now + _records, CASE WHEN old.key IS NOT NULL THEN old.key_until END)
    END;
    old.content_until := CASE WHEN _phase > 0 AND (_content IS NOT NULL OR _same_content) THEN now + _contents END;
    old.provider_labels := ${schema}.write_beside(
      old.place, old.created_at, old.labels, _labels, old.provider_labels, _provider_label, _content, _same_content
    );
    UPDATE ${schema}.messages m
    SET fence = NULL, accepted = _accepted, status = _status, phase = _phase, body = _body, labels = _labels,
      provider_labels = old.provider_labels, key = old.key, kept_until = old.kept_until,
      content_until = old.content_until
    WHERE m.place = old.place;
    PERFORM ${schema}.put(old.place, old.tenant, _status, _phase, _priority, NULL, _delay, _due_at, now);
    IF least(old.content_until, old.kept_until) IS NOT NULL THEN
      INSERT INTO ${schema}.expiries (moment, place) VALUES (least(old.content_until, old.kept_until), old.place);
    END IF;
  END IF;
  state := 'settled';
  PERFORM ${schema}.in_time(_deadline);
END
$function$;
`

const takeover = (schema: string) => `
CREATE FUNCTION ${schema}.takeover(
  _deadline bigint, _now bigint, _id text, _states text[], _lease bigint,
  OUT id text, OUT fence bigint, OUT body text, OUT content text
) ${settings} AS $function$
#variable_conflict use_column
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
  message ${schema}.messages;
BEGIN
  PERFORM ${schema}.in_time(_deadline);
  -- First without a lock: of many that come too late none waits, and none writes.
  FOR look IN 1..2 LOOP
    IF look = 1 THEN
      SELECT m.* INTO message FROM ${schema}.messages m WHERE m.id = _id;
    ELSE
      SELECT m.* INTO message FROM ${schema}.messages m WHERE m.id = _id FOR UPDATE;
    END IF;
    IF NOT FOUND OR message.status <> ALL (_states) OR message.kept_until <= now
      OR ${schema}.is_leased(message.place, now)
    THEN
      RETURN;
    END IF;
  END LOOP;
  content := ${schema}.content_of(message, false, now);
  IF message.content_until <= now THEN
    DELETE FROM ${schema}.contents c WHERE c.place = message.place;
    message.content_until := NULL;
  END IF;
  UPDATE ${schema}.messages m
  SET fence = nextval('${schema}.numbers'), content_until = message.content_until WHERE m.place = message.place
  RETURNING m.fence INTO fence;
  INSERT INTO ${schema}.work (place, moment, priority, state, tenant)
  VALUES (message.place, now + _lease, 0, 3, message.tenant)
  ON CONFLICT (place) DO UPDATE SET moment = excluded.moment, state = excluded.state;
  id := message.id;
  body := message.body;
  PERFORM ${schema}.in_time(_deadline);
END
$function$;
`

const reading = (schema: string) => `
CREATE FUNCTION ${schema}.content_of(_message ${schema}.messages, _leased boolean, _now bigint) RETURNS text
LANGUAGE plpgsql AS $function$
BEGIN
  IF _message.content_until <= _now AND NOT _leased THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT c.content FROM ${schema}.contents c WHERE c.place = _message.place);
END
$function$;

-- By its id, or by the label of what a provider called it: the newest of several.
CREATE FUNCTION ${schema}.read(
  _deadline bigint, _now bigint, _id text, _provider_label uuid, OUT id text, OUT body text, OUT content text
) ${settings} AS $function$
#variable_conflict use_column
DECLARE
  now bigint := coalesce(_now, ${schema}.server_time());
  message ${schema}.messages;
  leased boolean := false;
BEGIN
  IF _id IS NOT NULL THEN
    SELECT m.* INTO message FROM ${schema}.messages m WHERE m.id = _id;
  ELSE
    SELECT m.* INTO message FROM ${schema}.labels l JOIN ${schema}.messages m ON m.place = l.place
    WHERE l.label = _provider_label ORDER BY l.label DESC, l.created_at DESC, l.place DESC LIMIT 1;
  END IF;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF least(message.kept_until, message.content_until) <= now THEN
    leased := ${schema}.is_leased(message.place, now);
  END IF;
  IF message.kept_until <= now AND NOT leased THEN
    RETURN;
  END IF;
  id := message.id;
  body := message.body;
  content := ${schema}.content_of(message, leased, now);
END
$function$;
`
