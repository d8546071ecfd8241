-- StartTask and CompleteTask by turns, each as one statement and one commit; see advance.sql for why this is fair. A
-- client keeps its session from the one to the other. `running` is given by `-D`: 0 at first.
\if :running
\set running 0
WITH changed AS (
  UPDATE sessions
  SET updated_at = now(),
      sequence = sequence + 1,
      revision = sequence + 1
  WHERE partition = :partition
    AND id = '00000000-0000-7000-8001-' || lpad(:i::text, 12, '0')
  RETURNING partition, id, sequence, state, stage, status, gen_random_uuid() AS request
),
task AS (
  UPDATE session_tasks
  SET status = 2,
      completed_at = now(),
      result = '{"tickets": 5}'
  WHERE partition = :partition
    AND session_id = '00000000-0000-7000-8001-' || lpad(:i::text, 12, '0')
  RETURNING task_id
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 15, state, state, stage, stage, status, status,
         3, 'anonymous', 'anonymous', '', request::text,
         jsonb_build_object('current_task.result', jsonb_build_object('tickets', 5),
                            'current_task.status', 'COMPLETED', 'current_task.complete_time', now())
  FROM changed
)
INSERT INTO session_requests
SELECT partition, request, request, id, now(), task_id
FROM changed, task;
\else
\set running 1
\set i random(0, 16383)
\set partition :i % 64
WITH changed AS (
  UPDATE sessions
  SET updated_at = now(),
      sequence = sequence + 1,
      revision = sequence + 1
  WHERE partition = :partition
    AND id = '00000000-0000-7000-8001-' || lpad(:i::text, 12, '0')
  RETURNING partition, id, sequence, state, stage, status, gen_random_uuid() AS request,
    gen_random_uuid()::text AS task
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 13, state, state, stage, stage, status, status,
         3, 'anonymous', 'anonymous', '', request::text,
         jsonb_build_object('current_task', jsonb_build_object(
           'status', 'RUNNING', 'task_id', task, 'task_type', 'processing', 'session_id', id, 'start_time', now(),
           'max_retries', 3, 'heartbeat_time', now()))
  FROM changed
),
started AS (
  INSERT INTO session_tasks
  SELECT partition, id, 'processing', task, 1, now(), NULL, NULL, NULL, 0, 3, 0, now(), NULL, NULL, NULL
  FROM changed
  ON CONFLICT (partition, session_id) DO UPDATE
  SET task_type         = excluded.task_type,
      task_id           = excluded.task_id,
      status            = excluded.status,
      started_at        = excluded.started_at,
      completed_at      = excluded.completed_at,
      failed_at         = excluded.failed_at,
      cancelled_at      = excluded.cancelled_at,
      retry_count       = excluded.retry_count,
      max_retries       = excluded.max_retries,
      heartbeat_timeout = excluded.heartbeat_timeout,
      heartbeat_at      = excluded.heartbeat_at,
      progress          = excluded.progress,
      result            = excluded.result,
      failure_context   = excluded.failure_context
)
INSERT INTO session_requests
SELECT partition, request, request, id, now(), task
FROM changed;
\endif
