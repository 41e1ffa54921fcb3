/** What is over is deleted in passing, a little at a time. */
export const forgetFunctions = (schema: string): string => `
CREATE FUNCTION ${schema}.is_leased(_place bigint, _moment bigint) RETURNS boolean LANGUAGE plpgsql AS $function$
BEGIN
  RETURN EXISTS (SELECT FROM ${schema}.work w WHERE w.place = _place AND w.state = 3 AND w.moment > _moment);
END
$function$;

-- Deletes a message whose row the caller has locked.
CREATE FUNCTION ${schema}.forget(_place bigint) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
  gone ${schema}.messages;
BEGIN
  DELETE FROM ${schema}.messages m WHERE m.place = _place RETURNING m.* INTO gone;
  DELETE FROM ${schema}.work w WHERE w.place = _place;
  DELETE FROM ${schema}.contents c WHERE c.place = _place;
  DELETE FROM ${schema}.labels l
  WHERE l.label = ANY (gone.labels || gone.provider_labels) AND l.created_at = gone.created_at AND l.place = _place;
END
$function$;

-- Forgets what is over, a few messages at a time. Passes over what others hold, so it never waits.
CREATE FUNCTION ${schema}.sweep(_moment bigint, _most integer) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
  hint record;
  message ${schema}.messages;
  look_again bigint;
BEGIN
  FOR hint IN
    SELECT e.ctid AS line, e.place AS place FROM ${schema}.expiries e
    WHERE e.moment <= _moment ORDER BY e.moment LIMIT _most FOR UPDATE SKIP LOCKED
  LOOP
    SELECT m.* INTO message FROM ${schema}.messages m WHERE m.place = hint.place FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      CONTINUE WHEN EXISTS (SELECT FROM ${schema}.messages m WHERE m.place = hint.place);
      look_again := NULL;
    ELSIF ${schema}.is_leased(message.place, _moment) THEN
      look_again := _moment + 60000;
    ELSIF message.kept_until <= _moment THEN
      PERFORM ${schema}.forget(message.place);
      look_again := NULL;
    ELSE
      IF message.content_until <= _moment THEN
        DELETE FROM ${schema}.contents c WHERE c.place = message.place;
        UPDATE ${schema}.messages m SET content_until = NULL WHERE m.place = message.place;
        message.content_until := NULL;
      END IF;
      look_again := least(message.content_until, message.kept_until);
    END IF;
    IF look_again IS NULL THEN
      DELETE FROM ${schema}.expiries e WHERE e.ctid = hint.line;
    ELSE
      UPDATE ${schema}.expiries e SET moment = look_again WHERE e.ctid = hint.line;
    END IF;
  END LOOP;
END
$function$;
`
