-- RecordError as one statement and one commit; see advance.sql for why this is fair. Of every severity, as the load
-- generator does; the blocking ones are counted in the session.
\set i random(0, 16383)
\set partition :i % 64
\set severity random(1, 3)
WITH changed AS (
  UPDATE sessions
  SET blocking_errors = blocking_errors + CASE :severity::integer WHEN 1 THEN 1 ELSE 0 END,
      updated_at = now(),
      sequence = sequence + 1,
      revision = sequence + 1
  WHERE partition = :partition
    AND id = '00000000-0000-7000-8001-' || lpad(:i::text, 12, '0')
  RETURNING partition, id, sequence, state, stage, status, gen_random_uuid() AS request,
    gen_random_uuid()::text AS error
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 19, state, state, stage, stage, status, status,
         3, 'anonymous', 'anonymous', '', request::text,
         jsonb_build_object('errors.' || error, jsonb_build_object(
           'category', 'TEMPORARY', 'error_id', error, 'severity', 'INFO', 'error_code', 'IMAGE_UNREADABLE',
           'session_id', id, 'create_time', now(),
           'user_message', 'The photo of the north gate cannot be read; upload it again', 'operation_stage', stage,
           'recovery_actions', jsonb_build_array('Upload the photo again', 'Go on without it'),
           'technical_details', jsonb_build_object('decoder', 'unexpected end of file at byte 18234')))
  FROM changed
),
recorded AS (
  INSERT INTO session_errors
  SELECT partition, id, error, :severity::smallint, :severity::smallint, stage, '', '',
         'The photo of the north gate cannot be read; upload it again',
         jsonb_build_array('Upload the photo again', 'Go on without it'),
         jsonb_build_object('decoder', 'unexpected end of file at byte 18234'), 'IMAGE_UNREADABLE', now(), NULL, '', ''
  FROM changed
)
INSERT INTO session_requests
SELECT partition, request, request, id, now(), error
FROM changed;
