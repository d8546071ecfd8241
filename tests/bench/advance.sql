-- AdvanceSession as one statement and one commit: what a service without groups would do for each call.
--
-- Fair, and in pgbench's favour where it cannot be equal: the same three tables with all their indexes, checks and
-- triggers, values of the same size, the same rows changed (one session, one event, one request; the daemon writes a
-- second event at the last stage). Every fifth change ends the session and moves it in the indexes by status, state
-- and purge time, as every fourth of the daemon's does. It neither reads the session, nor locks the partition, nor
-- answers with the session, all of which the daemon does (it has the session in memory, or loads it); and it goes over a
-- unix socket, without gRPC. Its rows are its own, so that the two never wait for each other.
\set i random(0, 16383)
\set partition :i % 64
WITH changed AS (
  UPDATE sessions
  SET stage = (ARRAY['upload', 'processing', 'review', 'jira_export', 'completed'])[1 + sequence % 5],
      state = CASE sequence % 5 WHEN 4 THEN 6 - state ELSE state END,
      status = CASE
        WHEN sequence % 5 < 4 THEN status
        WHEN state = 2 THEN 'completed'
        ELSE 'active'
      END,
      completed_at = CASE sequence % 5 WHEN 4 THEN now() ELSE completed_at END,
      purge_at = CASE sequence % 5 WHEN 4 THEN now() + interval '7 days' ELSE purge_at END,
      updated_at = now(),
      sequence = sequence + 1,
      revision = sequence + 1
  WHERE partition = :partition
    AND id = '00000000-0000-7000-8000-' || lpad(:i::text, 12, '0')
  RETURNING partition, id, sequence, state, stage, status, gen_random_uuid() AS request
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 4, state, state, 'upload', stage, status, status,
         3, 'anonymous', 'anonymous', '', request::text, jsonb_build_object('stage', stage)
  FROM changed
)
INSERT INTO session_requests
SELECT partition, request, request, id, now()
FROM changed;
