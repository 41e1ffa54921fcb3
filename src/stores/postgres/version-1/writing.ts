/** What a write of a message does to the tables beside `messages`. The caller has locked its row there. */
export const writeFunctions = (schema: string): string => `
-- Puts a message where it is held, waits or rests.
CREATE FUNCTION ${schema}.put(
  _place bigint, _tenant text, _status text, _phase smallint, _priority integer, _lease bigint, _delay bigint,
  _due_at bigint, _now bigint
) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
  target smallint := CASE
    WHEN _lease IS NOT NULL THEN 3
    WHEN _status = 'queued' AND _delay > 0 THEN 1
    WHEN _status = 'queued' THEN 0
    WHEN _status = 'scheduled' THEN 2
    WHEN _phase = 0 THEN 4
  END;
BEGIN
  IF target IS NULL THEN
    DELETE FROM ${schema}.work w WHERE w.place = _place;
    RETURN;
  END IF;
  INSERT INTO ${schema}.work AS w (place, moment, priority, state, tenant, line)
  VALUES (
    _place,
    CASE target WHEN 2 THEN _due_at WHEN 3 THEN _now + _lease WHEN 4 THEN 0 ELSE _now + coalesce(_delay, 0) END,
    _priority, target, _tenant, CASE WHEN target < 3 THEN nextval('${schema}.numbers') END
  )
  ON CONFLICT (place) DO UPDATE
  SET moment = excluded.moment, priority = excluded.priority, state = excluded.state,
    line = CASE WHEN target < 4 THEN coalesce(w.line, excluded.line) END;
END
$function$;

-- Brings the labels of a message from one set to another.
CREATE FUNCTION ${schema}.relabel(_place bigint, _created_at bigint, _old uuid[], _new uuid[]) RETURNS void
LANGUAGE plpgsql AS $function$
BEGIN
  IF _old IS NOT DISTINCT FROM _new THEN
    RETURN;
  END IF;
  IF _old IS NOT NULL THEN
    DELETE FROM ${schema}.labels l
    WHERE l.label = ANY (_old) AND l.label <> ALL (coalesce(_new, '{}')) AND l.created_at = _created_at
      AND l.place = _place;
  END IF;
  INSERT INTO ${schema}.labels (label, created_at, place)
  SELECT added.label, _created_at, _place FROM unnest(_new) AS added (label)
  WHERE added.label <> ALL (coalesce(_old, '{}'));
END
$function$;

-- Writes what the tables beside the messages hold of it; answers the ids of providers it is found by now.
CREATE FUNCTION ${schema}.write_beside(
  _place bigint, _created_at bigint, _old_labels uuid[], _labels uuid[], _provider_labels uuid[], _provider_label uuid,
  _content text, _same_content boolean
) RETURNS uuid[] LANGUAGE plpgsql AS $function$
BEGIN
  PERFORM ${schema}.relabel(_place, _created_at, _old_labels, _labels);
  IF _content IS NOT NULL THEN
    INSERT INTO ${schema}.contents (place, content) VALUES (_place, _content)
    ON CONFLICT (place) DO UPDATE SET content = excluded.content;
  ELSIF NOT _same_content THEN
    DELETE FROM ${schema}.contents c WHERE c.place = _place;
  END IF;
  IF _provider_label IS NULL OR _provider_label = ANY (_provider_labels) THEN
    RETURN _provider_labels;
  END IF;
  INSERT INTO ${schema}.labels (label, created_at, place) VALUES (_provider_label, _created_at, _place);
  RETURN array_append(_provider_labels, _provider_label);
END
$function$;
`
